package report

import (
	"context"
	"fmt"
	"slices"

	"github.com/lamina-llm/lamina/decode"
	"github.com/lamina-llm/lamina/decode/planes"
	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/tile"
	"github.com/lamina-llm/lamina/weights"
)

// Histogram counts the levels of all tensors of one class.
type Histogram struct {
	Class   string
	Weights int64 // all of them
	count   [2*maxLevel + 1]int64
}

// maxLevel bounds the levels that are counted apart: decoders give 0 to 127
// unsigned, and what lies beyond is rare.
const maxLevel = 128

// Part returns the part of the weights that have a level, which counts in steps
// from zero.
func (h *Histogram) Part(level int) float64 {
	if h.Weights == 0 || level < -maxLevel || level > maxLevel {
		return 0
	}
	return float64(h.count[level+maxLevel]) / float64(h.Weights)
}

// Levels decodes all of a packed file, a chunk at a time, and counts its levels
// by class, in order of appearance; those of factors are their product's.
// Tensors without levels are passed over.
func Levels(ctx context.Context, f *weights.File) ([]Histogram, error) {
	var list []Histogram
	var s scratch
	for i := range f.Tensors() {
		t := &f.Tensors()[i]
		switch t.Codec {
		case ransCodec, planes.Codec, decode.FactoredCodec, decode.TransformCodec:
		default:
			continue
		}
		k := slices.IndexFunc(list, func(h Histogram) bool { return h.Class == Class(t.Name) })
		if k < 0 {
			k, list = len(list), append(list, Histogram{Class: Class(t.Name)})
		}
		if err := list[k].tensor(ctx, f, t, &s); err != nil {
			return nil, fmt.Errorf("report: %s: tensor %s: %w", f.Name(), t.Name, err)
		}
	}
	return list, nil
}

const ransCodec = "rans1"

// scratch is working memory.
type scratch struct {
	rans   rans.Scratch
	planes planes.Scratch
	buf    []byte
	levels [][]uint8
}

// coded is a matrix of any codec.
type coded interface {
	Layout() tile.Layout
	Band(b int) (r0, r1 int)
	Blocks() int
	Block(b int) (p0, p1 int)
	Chunks() int
	AttachChunk(i int, data []byte) error
}

// tensor counts the levels of t.
func (h *Histogram) tensor(ctx context.Context, f *weights.File, t *weights.Tensor, s *scratch) error {
	shapes, spans := [][2]int{{t.Rows, t.Cols}}, t.Spans
	if t.Codec == decode.FactoredCodec && len(spans) > 0 {
		description := make([]byte, spans[0].Len)
		if err := f.ReadSpan(description, spans[0]); err != nil {
			return err
		}
		factors, err := decode.ParseFactors(t.Rows, t.Cols, description)
		if err != nil {
			return err
		}
		shapes, spans = factors.Shapes(), spans[1:]
	}
	if t.Codec == decode.TransformCodec && len(spans) > 0 {
		spans = spans[1:] // levels are those of the transformed matrix
	}
	for _, shape := range shapes {
		if len(spans) == 0 {
			return fmt.Errorf("too few spans")
		}
		rest, err := h.matrix(ctx, f, spans, shape, t.Codec, s)
		if err != nil {
			return err
		}
		spans = rest
	}
	if len(spans) > 0 {
		return fmt.Errorf("%d spans too many", len(spans))
	}
	return nil
}

// matrix counts the levels of the matrix at the front of spans and returns the
// spans that are left.
func (h *Histogram) matrix(ctx context.Context, f *weights.File, spans []weights.Span, shape [2]int, codec string, s *scratch) ([]weights.Span, error) {
	side := make([]byte, spans[0].Len)
	if err := f.ReadSpan(side, spans[0]); err != nil {
		return nil, err
	}
	var m coded
	var zero int
	var levels func(i int, add func(p, row, col int, delta int32)) error
	if codec == planes.Codec {
		x, err := decode.NewPlanes(shape[0], shape[1], side)
		if err != nil {
			return nil, err
		}
		p := x.Planes()
		m, zero = p, planes.ZeroLevel
		levels = func(i int, add func(p, row, col int, delta int32)) error {
			return p.Levels(i, s.levels, add, &s.planes)
		}
	} else {
		x, err := decode.NewMatrix(shape[0], shape[1], side)
		if err != nil {
			return nil, err
		}
		r := x.Rans()
		m, zero = r, int(r.Zero())
		levels = func(i int, add func(p, row, col int, delta int32)) error { return r.Levels(i, s.levels, add, &s.rans) }
	}
	if len(spans)-1 < m.Chunks() {
		return nil, fmt.Errorf("%d chunks, want %d", len(spans)-1, m.Chunks())
	}
	for i := range m.Chunks() {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		span := spans[1+i]
		s.buf = slices.Grow(s.buf[:0], span.Len+rans.Slack)[:span.Len]
		if err := f.ReadSpan(s.buf, span); err != nil {
			return nil, err
		}
		if err := m.AttachChunk(i, s.buf); err != nil {
			return nil, fmt.Errorf("chunk %d: %w", i, err)
		}
		if err := h.chunk(m, i, zero, s, levels); err != nil {
			return nil, fmt.Errorf("chunk %d: %w", i, err)
		}
	}
	return spans[1+m.Chunks():], nil
}

// chunk counts the levels of chunk i, padding columns left out.
func (h *Histogram) chunk(m coded, i, zero int, s *scratch, levels func(i int, add func(p, row, col int, delta int32)) error) error {
	l := m.Layout()
	r0, r1 := m.Band(i / m.Blocks())
	p0, p1 := m.Block(i % m.Blocks())
	for len(s.levels) < p1-p0 {
		s.levels = append(s.levels, nil)
	}
	for p := p0; p < p1; p++ {
		c0, c1 := l.Columns(p)
		n := (r1 - r0 + 15) / 16 * 16 * (c1 - c0) // whole blocks of 16 rows are written
		s.levels[p-p0] = slices.Grow(s.levels[p-p0][:0], n)[:n]
	}
	type outlier struct {
		p, at int
		delta int32
	}
	var outliers []outlier
	if err := levels(i, func(p, row, col int, delta int32) {
		c0, c1 := l.Columns(p0 + p)
		outliers = append(outliers, outlier{p, row*(c1-c0) + col, delta})
	}); err != nil {
		return err
	}
	for p := p0; p < p1; p++ {
		c0, c1 := l.Columns(p)
		width, used := c1-c0, min(c1, l.Cols)-c0
		for r := range r1 - r0 {
			for _, u := range s.levels[p-p0][r*width : r*width+used] {
				h.count[int(u)-zero+maxLevel]++
			}
		}
		h.Weights += int64(r1-r0) * int64(used)
	}
	for _, o := range outliers {
		level := int(s.levels[o.p][o.at]) - zero
		h.count[level+maxLevel]--
		h.count[min(max(level+int(o.delta), -maxLevel), maxLevel)+maxLevel]++
	}
	return nil
}
