package engine

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/lamina-llm/lamina/decode"
	"github.com/lamina-llm/lamina/decode/planes"
	"github.com/lamina-llm/lamina/loader"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/weights"
)

// Names of the four matrices of a layer, in file and visiting order.
var layerMatrices = [4]string{"qkv", "out", "gate_up", "down"}

// layout lists the units of a model: layers, then the one that holds the
// output head, then what is read at other times. Norms folded into matrices
// are absent.
func layout(config []byte) ([]loader.Need, error) {
	c, err := llama.ParseConfig(config)
	if err != nil {
		return nil, err
	}
	var needs []loader.Need
	for i := range c.Layers {
		n := loader.Need{Unit: fmt.Sprintf("layers.%d", i)}
		for _, m := range layerMatrices {
			n.Tensors = append(n.Tensors, n.Unit+"."+m)
		}
		needs = append(needs, n)
	}
	embed, head := loader.Need{Unit: "embed", Tensors: []string{"embed"}}, loader.Need{Unit: "head", Tensors: []string{"norm"}}
	if c.Tied {
		return append(needs, embed, head), nil
	}
	head.Tensors = append(head.Tensors, "head")
	return append(needs, head, embed), nil
}

// part is one coded matrix of a unit: side information that stays in memory,
// and where its chunks lie within the unit.
type part struct {
	*decode.Matrix
	spans  []weights.Span // chunks, with offsets relative to the unit
	chunks [][]byte
}

// attach points the matrix at its chunks inside the unit's bytes.
func (p *part) attach(coded []byte) error {
	for i, s := range p.spans {
		p.chunks[i] = coded[s.Off : s.Off+int64(s.Len)]
	}
	return p.Attach(p.chunks)
}

// unit is what one residency unit holds.
type unit struct {
	parts    []part
	attnNorm []float32
	ffnNorm  []float32
}

// readUnits reads the side information and norms of every unit.
func readUnits(ctx context.Context, m *loader.Model, c llama.Config) (units []unit, norm []float32, err error) {
	ones := make([]float32, c.Hidden)
	for i := range ones {
		ones[i] = 1
	}
	units = make([]unit, c.Layers+2)
	dims := [4][2]int{{c.QKV(), c.Hidden}, {c.Hidden, c.Heads * c.HeadDim}, {2 * c.Intermediate, c.Hidden}, {c.Hidden, c.Intermediate}}
	for i := range c.Layers {
		u := &units[i]
		name := fmt.Sprintf("layers.%d.", i)
		for k, mat := range layerMatrices {
			p, err := readPart(ctx, m, i, name+mat, dims[k][0], dims[k][1])
			if err != nil {
				return nil, nil, err
			}
			u.parts = append(u.parts, p)
		}
		u.attnNorm, u.ffnNorm = ones, ones
		for _, n := range []struct {
			name string
			dst  *[]float32
		}{{"attn_norm", &u.attnNorm}, {"ffn_norm", &u.ffnNorm}} {
			if m.Tensor(name+n.name) == nil {
				continue // folded into the matrix that follows
			}
			if *n.dst, err = readVector(ctx, m, name+n.name, c.Hidden); err != nil {
				return nil, nil, err
			}
		}
	}
	last := []string{"embed", "head"}
	if !c.Tied {
		last = []string{"head", "embed"}
	}
	for k, name := range last {
		if c.Tied && name == "head" {
			continue
		}
		p, err := readPart(ctx, m, c.Layers+k, name, c.Vocab, c.Hidden)
		if err != nil {
			return nil, nil, err
		}
		units[c.Layers+k].parts = []part{p}
	}
	norm, err = readVector(ctx, m, "norm", c.Hidden)
	return units, norm, err
}

// readPart reads the side information of a matrix of unit u.
func readPart(ctx context.Context, m *loader.Model, u int, name string, rows, cols int) (part, error) {
	t := m.Tensor(name)
	fail := func(err error) (part, error) {
		return part{}, fmt.Errorf("%s: tensor %s: %w", m.Name(), name, err)
	}
	switch {
	case t.Codec != "rans1" && t.Codec != planes.Codec:
		return fail(fmt.Errorf("codec %q is unknown to this version of lamina", t.Codec))
	case t.Rows != rows || t.Cols != cols:
		return fail(fmt.Errorf("shape %d x %d, the configuration wants %d x %d", t.Rows, t.Cols, rows, cols))
	}
	side := make([]byte, t.Spans[0].Len)
	if err := m.ReadSpan(ctx, side, t.Spans[0]); err != nil {
		return part{}, err
	}
	open := decode.NewMatrix
	if t.Codec == planes.Codec {
		open = decode.NewPlanes
	}
	mat, err := open(rows, cols, side)
	if err != nil {
		return fail(err)
	}
	if got, want := len(t.Spans)-1, mat.Chunks(); got != want {
		return fail(fmt.Errorf("%d chunks, want %d", got, want))
	}
	p := part{Matrix: mat, chunks: make([][]byte, len(t.Spans)-1)}
	base := m.Units()[u].Tensors[0].Spans[0].Off
	for _, s := range t.Spans[1:] {
		s.Off -= base
		p.spans = append(p.spans, s)
	}
	return p, nil
}

// readVector reads a float32 tensor of n elements.
func readVector(ctx context.Context, m *loader.Model, name string, n int) ([]float32, error) {
	t := m.Tensor(name)
	if t.Codec != "f32" || t.Rows*t.Cols != n || len(t.Spans) != 1 || t.Spans[0].Len != 4*n {
		return nil, fmt.Errorf("%s: tensor %s: want %d float32 values in one span", m.Name(), name, n)
	}
	buf := make([]byte, 4*n)
	if err := m.ReadSpan(ctx, buf, t.Spans[0]); err != nil {
		return nil, err
	}
	v := make([]float32, n)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(buf[4*i:]))
	}
	return v, nil
}
