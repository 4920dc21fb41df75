package pack

import (
	"context"
	"math"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/tile"
	"github.com/lamina-llm/lamina/pack/quant"
)

// encode quantises and codes one matrix and appends it to w.
func (p *packer) encode(ctx context.Context, w tensorWriter, m *matrix, role string, step float64) (*TensorReport, error) {
	fit, err := m.fit(p.opt.kind(), step, 1, 3)
	if err != nil {
		return nil, err
	}
	side := &rans.Side{
		Mode: p.opt.Mode, Planes: uint8(fit.planes), Band: m.band, Depth: m.depth,
		Row: m.row, Col: rans.Scales{Base: 1}, Tables: fit.tables,
	}
	side.Row.Base = float32(float64(m.row.Base) * step)
	enc, err := rans.NewEncoder(m.rows, m.cols, side)
	if err != nil {
		return nil, err
	}
	blob, err := side.AppendTo(nil, tile.Layout{Rows: m.rows, Cols: m.cols})
	if err != nil {
		return nil, err
	}
	if err = m.begin(w, role); err == nil {
		err = w.Span(blob)
	}
	if err != nil {
		return nil, err
	}
	r := &TensorReport{Name: m.name, Rows: m.rows, Cols: m.cols, Bytes: int64(len(blob)), Planes: fit.planes}
	geo, loss := enc.Matrix(), 0.0
	for band := range geo.Bands() {
		r0, r1 := geo.Band(band)
		values := make([]float32, (r1-r0)*m.cols)
		if err := p.read(m, r0, r1, values); err != nil {
			return nil, err
		}
		chunks := make([][]byte, geo.Blocks())
		losses := make([]float64, geo.Blocks())
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(p.opt.Workers)
		for block := range chunks {
			g.Go(func() (err error) {
				if err := ctx.Err(); err != nil {
					return err
				}
				q := quantisers.Get().(*quantiser)
				defer quantisers.Put(q)
				chunks[block], losses[block], err = q.chunk(enc, fit, side, values, band, block)
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return nil, err
		}
		for i, c := range chunks {
			if err := w.Span(c); err != nil {
				return nil, err
			}
			r.Bytes += int64(len(c))
			loss += losses[i]
		}
	}
	r.Bits = float64(r.Bytes) * 8 / float64(m.weights())
	if m.energy > 0 {
		r.Error = math.Sqrt(loss / m.energy)
	}
	return r, nil
}

// quantiser is the working memory of one chunk.
type quantiser struct {
	trellis  quant.Trellis
	col, rec []float32
	level    []uint8
}

var quantisers = sync.Pool{New: func() any { return new(quantiser) }}

// chunk quantises and codes one chunk of a band whose weights are values
// (rows x cols). It also returns the squared error.
func (q *quantiser) chunk(enc *rans.Encoder, fit *coderFit, side *rans.Side, values []float32, band, block int) ([]byte, float64, error) {
	geo := enc.Matrix()
	l := geo.Layout()
	r0, r1 := geo.Band(band)
	p0, p1 := geo.Block(block)
	rows := r1 - r0
	scale, inv := make([]float32, rows), make([]float32, rows)
	for r := range rows {
		scale[r] = side.Row.Value(r0 + r)
		inv[r] = 1 / scale[r]
	}
	q.col, q.rec = slices.Grow(q.col[:0], rows)[:rows], slices.Grow(q.rec[:0], rows)[:rows]
	q.level = slices.Grow(q.level[:0], rows)[:rows]
	index, outliers := make([][]uint8, p1-p0), make([][]rans.Outlier, p1-p0)
	loss := 0.0
	for p := p0; p < p1; p++ {
		c0, c1 := l.Columns(p)
		width := c1 - c0
		idx := make([]uint8, rows*width)
		var list []rans.Outlier
		for j := c0; j < min(c1, l.Cols); j++ {
			for r := range rows {
				v, delta := fit.coder.Split(values[r*l.Cols+j] * inv[r])
				q.col[r] = v
				if delta != 0 {
					list = append(list, rans.Outlier{Row: r, Col: j - c0, Delta: delta})
				}
			}
			if side.Mode == rans.DQ {
				q.trellis.Column(fit.coder, q.col, q.level, q.rec)
			} else {
				for r, v := range q.col {
					q.level[r], q.rec[r] = fit.coder.Scalar(v)
				}
			}
			for r, u := range q.level {
				idx[r*width+j-c0] = u
				d := float64((q.rec[r] - q.col[r]) * scale[r])
				loss += d * d
			}
		}
		slices.SortFunc(list, func(a, b rans.Outlier) int { return (a.Row*width + a.Col) - (b.Row*width + b.Col) })
		index[p-p0], outliers[p-p0] = idx, list
	}
	data, err := enc.Chunk(nil, band*geo.Blocks()+block, index, outliers)
	return data, loss, err
}
