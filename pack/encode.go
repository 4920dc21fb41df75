package pack

import (
	"context"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/pack/quant"
)

// plain is what matrices without error feedback are coded with.
type plain struct {
	*rans.Encoder
	fit  *coderFit
	side *rans.Side
}

// beginPlain is begin without data.
func (p *packer) beginPlain(m *matrix, step float64) (*coded, *plain, error) {
	fit, err := m.fit(p.opt.kind(), step, 1, 3)
	if err != nil {
		return nil, nil, err
	}
	side := p.side(m, fit)
	side.Row, side.Col = m.row, rans.Scales{Base: 1}
	side.Row.Base = float32(float64(m.row.Base) * step)
	c, enc, err := m.encoder(side)
	return c, &plain{enc, fit, side}, err
}

// encode quantises and codes one matrix and appends it to w, band by band.
func (p *packer) encode(ctx context.Context, w tensorWriter, m *matrix, role string, step float64) (*TensorReport, error) {
	c, e, err := p.beginPlain(m, step)
	if err != nil {
		return nil, err
	}
	all := c.chunks
	c.chunks = nil
	if err := c.write(w, m, role); err != nil {
		return nil, err
	}
	geo, bytes, loss := e.Matrix(), int64(len(c.side)), 0.0
	for band := range geo.Bands() {
		r0, r1 := geo.Band(band)
		values := make([]float32, (r1-r0)*m.cols)
		if err := p.read(m, r0, r1, values); err != nil {
			return nil, err
		}
		first := band * geo.Blocks()
		chunks := all[first : first+geo.Blocks()]
		lost, err := e.code(ctx, chunks, first, values, p.opt.Workers)
		if err != nil {
			return nil, err
		}
		for i, chunk := range chunks {
			if err := w.Span(chunk); err != nil {
				return nil, err
			}
			bytes += int64(len(chunk))
			chunks[i] = nil
		}
		loss += lost
	}
	return m.report(bytes, e.fit.planes, loss), nil
}

// encodePlain is encodeFeedback without data.
func (p *packer) encodePlain(ctx context.Context, m *matrix, step float64) (*coded, error) {
	c, e, err := p.beginPlain(m, step)
	if err != nil {
		return nil, err
	}
	loss, err := e.code(ctx, c.chunks, 0, m.values, p.opt.Workers)
	if err != nil {
		return nil, err
	}
	c.finish(m, e.fit.planes, loss)
	return c, nil
}

// code fills chunks, which are those from number first on and begin with a band.
// values are the weights from that band on. It returns the squared error.
func (e *plain) code(ctx context.Context, chunks [][]byte, first int, values []float32, workers int) (loss float64, err error) {
	geo := e.Matrix()
	top, _ := geo.Band(first / geo.Blocks())
	cols := geo.Layout().Cols
	losses := make([]float64, len(chunks))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	for i := range chunks {
		g.Go(func() (err error) {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			q := quantisers.Get().(*quantiser)
			defer quantisers.Put(q)
			band, block := (first+i)/geo.Blocks(), (first+i)%geo.Blocks()
			r0, r1 := geo.Band(band)
			chunks[i], losses[i], err = q.chunk(e, values[(r0-top)*cols:(r1-top)*cols], band, block)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return 0, err
	}
	for _, l := range losses {
		loss += l
	}
	return loss, nil
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
func (q *quantiser) chunk(e *plain, values []float32, band, block int) ([]byte, float64, error) {
	fit, side, geo := e.fit, e.side, e.Matrix()
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
	data, err := e.Chunk(nil, band*geo.Blocks()+block, index, outliers)
	return data, loss, err
}
