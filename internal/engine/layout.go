package engine

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/lamina-llm/lamina/decode"
	"github.com/lamina-llm/lamina/decode/planes"
	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/loader"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/weights"
)

// Names of the four matrices of a layer, in file and visiting order.
var layerMatrices = [4]string{"qkv", "out", "gate_up", "down"}

// headUnit is the unit that holds the output head: the matrices of all layers come
// first.
func headUnit(c llama.Config) int { return len(layerMatrices) * c.Layers }

// embedUnit is the unit that holds the embedding.
func embedUnit(c llama.Config) int {
	if c.Tied {
		return headUnit(c)
	}
	return headUnit(c) + 1
}

// layout lists the units of a model: the matrices of its layers, then the one
// that holds the output head, then what is read at other times. Norms folded into
// matrices are absent.
func layout(config []byte) ([]loader.Need, error) {
	c, err := llama.ParseConfig(config)
	if err != nil {
		return nil, err
	}
	var needs []loader.Need
	for i := range c.Layers {
		u := fmt.Sprintf("layers.%d", i)
		for _, m := range layerMatrices {
			needs = append(needs, loader.Need{Unit: u, Part: u + "." + m, Tensors: []string{u + "." + m}})
		}
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
	tensor string
	spans  []weights.Span // chunks
	base   int64          // of the unit in the file
	chunks [][]byte

	file    *loader.Model // checks chunks late; nil if attach gets what was checked
	checked []bool        // chunks, since attach
}

// attach points the matrix at its chunks inside the unit's bytes.
func (p *part) attach(coded []byte) error {
	clear(p.checked)
	for i, s := range p.spans {
		p.chunks[i] = coded[s.Off-p.base : s.End()-p.base]
	}
	err := p.Attach(p.chunks)
	if err != nil && p.file != nil { // most likely they are not the bytes that were written
		for i := range p.chunks {
			if bad := p.check(i); bad != nil {
				return bad
			}
		}
	}
	return err
}

// checkLate has the chunks checked when a product first comes upon them.
func (p *part) checkLate(f *loader.Model) {
	p.file, p.checked = f, make([]bool, len(p.chunks))
	p.CheckChunks(p.check)
}

// check checks chunk i unless that was done since attach.
func (p *part) check(i int) error {
	if p.checked[i] {
		return nil
	}
	err := p.file.CheckSpan(p.tensor, p.spans[i], p.chunks[i])
	p.checked[i] = err == nil
	return err
}

// unit is what one residency unit holds: a matrix.
type unit struct {
	parts   []part
	factors *decode.Factors // what the parts are joined by; nil: one part is all
}

// norms are the norms of a layer.
type norms struct{ attn, ffn []float32 }

// readUnits reads the side information of every unit, the norms of every layer, and
// the last one.
func readUnits(ctx context.Context, m *loader.Model, c llama.Config) (units []unit, layers []norms, norm []float32, err error) {
	ones := make([]float32, c.Hidden)
	for i := range ones {
		ones[i] = 1
	}
	units, layers = make([]unit, headUnit(c)+2), make([]norms, c.Layers)
	dims := layerDims(c)
	for i := range c.Layers {
		name := fmt.Sprintf("layers.%d.", i)
		for k, mat := range layerMatrices {
			at := i*len(layerMatrices) + k
			if err := units[at].read(ctx, m, at, name+mat, dims[k][0], dims[k][1]); err != nil {
				return nil, nil, nil, err
			}
		}
		l := &layers[i]
		l.attn, l.ffn = ones, ones
		for _, n := range []struct {
			name string
			dst  *[]float32
		}{{"attn_norm", &l.attn}, {"ffn_norm", &l.ffn}} {
			if m.Tensor(name+n.name) == nil {
				continue // folded into the matrix that follows
			}
			if *n.dst, err = readVector(ctx, m, name+n.name, c.Hidden); err != nil {
				return nil, nil, nil, err
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
		p, err := readPart(ctx, m, headUnit(c)+k, name, c.Vocab, c.Hidden)
		if err != nil {
			return nil, nil, nil, err
		}
		units[headUnit(c)+k].parts = []part{p}
	}
	norm, err = readVector(ctx, m, "norm", c.Hidden)
	return units, layers, norm, err
}

// layerDims are outputs and inputs of a layer's matrices.
func layerDims(c llama.Config) [len(layerMatrices)][2]int {
	return [...][2]int{{c.QKV(), c.Hidden}, {c.Hidden, c.Heads * c.HeadDim}, {2 * c.Intermediate, c.Hidden}, {c.Hidden, c.Intermediate}}
}

// read reads the side information of unit i.
func (u *unit) read(ctx context.Context, m *loader.Model, i int, name string, rows, cols int) error {
	t := m.Tensor(name)
	if t.Codec == decode.FactoredCodec {
		return u.readFactored(ctx, m, i, t, rows, cols)
	}
	p, err := readPart(ctx, m, i, name, rows, cols)
	if err != nil {
		return err
	}
	u.parts = []part{p}
	return nil
}

// readFactored is read for a tensor in parts.
func (u *unit) readFactored(ctx context.Context, m *loader.Model, i int, t *weights.Tensor, rows, cols int) error {
	fail := func(err error) error {
		return fmt.Errorf("%s: tensor %s: %w", m.Name(), t.Name, err)
	}
	if t.Rows != rows || t.Cols != cols {
		return fail(misfit(t, rows, cols))
	}
	head, err := readSpan(ctx, m, t.Spans[0])
	if err != nil {
		return err
	}
	f, err := decode.ParseFactors(rows, cols, head)
	if err != nil {
		return fail(err)
	}
	shapes, spans := f.Shapes(), t.Spans[1:]
	for k, s := range shapes {
		if len(spans) == 0 {
			return fail(fmt.Errorf("%w: spans for %d matrices, want %d", rans.ErrCorrupt, k, len(shapes)))
		}
		p, err := readMatrix(ctx, m, i, t.Name, decode.NewMatrix, spans, s[0], s[1])
		if err != nil {
			return fail(fmt.Errorf("matrix %d: %w", k, err))
		}
		u.parts, spans = append(u.parts, p), spans[1+len(p.spans):]
	}
	if len(spans) > 0 {
		return fail(fmt.Errorf("%w: %d spans too many", rans.ErrCorrupt, len(spans)))
	}
	u.factors = f
	return nil
}

// readPart reads the side information of a matrix of unit u.
func readPart(ctx context.Context, m *loader.Model, u int, name string, rows, cols int) (p part, err error) {
	t := m.Tensor(name)
	spans := t.Spans
	switch {
	case t.Rows != rows || t.Cols != cols:
		err = misfit(t, rows, cols)
	case t.Codec == "rans1":
		p, err = readMatrix(ctx, m, u, name, decode.NewMatrix, t.Spans, rows, cols)
	case t.Codec == planes.Codec:
		p, err = readMatrix(ctx, m, u, name, decode.NewPlanes, t.Spans, rows, cols)
	case t.Codec == decode.TransformCodec && len(spans) > 1:
		var description []byte
		if description, err = readSpan(ctx, m, spans[0]); err == nil {
			spans = spans[1:]
			p, err = readMatrix(ctx, m, u, name, func(rows, cols int, side []byte) (*decode.Matrix, error) {
				return decode.NewTransformed(rows, cols, description, side)
			}, spans, rows, cols)
		}
	case t.Codec == decode.FactoredCodec:
		err = fmt.Errorf("codec %q is for the matrices of layers", t.Codec)
	default:
		err = fmt.Errorf("codec %q is unknown to this version of lamina", t.Codec)
	}
	if n := len(spans) - 1 - len(p.spans); err == nil && n > 0 {
		err = fmt.Errorf("%d spans too many", n)
	}
	if err != nil {
		return p, fmt.Errorf("%s: tensor %s: %w", m.Name(), name, err)
	}
	return p, nil
}

// misfit says that t has another shape than the configuration wants.
func misfit(t *weights.Tensor, rows, cols int) error {
	return fmt.Errorf("shape %d x %d, the configuration wants %d x %d", t.Rows, t.Cols, rows, cols)
}

func readSpan(ctx context.Context, m *loader.Model, s weights.Span) ([]byte, error) {
	data := make([]byte, s.Len)
	return data, m.ReadSpan(ctx, data, s)
}

// readMatrix reads the side information of a matrix of unit u from the first of
// spans; its chunks follow.
func readMatrix(ctx context.Context, m *loader.Model, u int, name string, open func(rows, cols int, side []byte) (*decode.Matrix, error), spans []weights.Span, rows, cols int) (part, error) {
	side, err := readSpan(ctx, m, spans[0])
	if err != nil {
		return part{}, err
	}
	mat, err := open(rows, cols, side)
	if err != nil {
		return part{}, err
	}
	got, want := len(spans)-1, mat.Chunks()
	if got < want {
		return part{}, fmt.Errorf("%d chunks, want %d", got, want)
	}
	return part{Matrix: mat, tensor: name, spans: spans[1 : 1+want], base: m.Units()[u].Off, chunks: make([][]byte, want)}, nil
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
