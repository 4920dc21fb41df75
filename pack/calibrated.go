package pack

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/tile"
	"github.com/lamina-llm/lamina/weights"
)

// plan readies error feedback for every matrix that has a Gram matrix, and
// lets go of that.
func (p *packer) plan(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(p.opt.Workers)
	var mu sync.Mutex
	done, total := int64(0), p.matrixWeights()
	for _, m := range p.mats {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return context.Cause(ctx)
			}
			if m.gram != nil {
				sample, err := p.sampleRows(m, feedbackRows)
				if err == nil {
					m.feedback, err = newFeedback(m.gram, sample)
				}
				if err != nil {
					return fmt.Errorf("pack: %s: %w", m.name, err)
				}
				m.gram = nil
			}
			mu.Lock()
			defer mu.Unlock()
			done += m.weights()
			p.opt.Progress(Progress{"plan", m.name, done, total})
			return nil
		})
	}
	return g.Wait()
}

// sampleRows reads about n rows, in runs spread over m, divided by their
// scales.
func (p *packer) sampleRows(m *matrix, n int) ([]float32, error) {
	const run = 32
	runs := max(1, min(n, m.rows)/run)
	var out []float32
	for i := range runs {
		r0 := m.rows * i / runs
		r1 := min(r0+run, m.rows)
		at := len(out)
		out = append(out, make([]float32, (r1-r0)*m.cols)...)
		if err := p.read(m, r0, r1, out[at:]); err != nil {
			return nil, err
		}
		m.divide(out[at:], r0, 1)
	}
	return out, nil
}

// divide divides rows of m, from row r0 on, by their scales and the step.
func (m *matrix) divide(values []float32, r0 int, step float64) {
	for r := range len(values) / m.cols {
		inv := float32(1 / (float64(m.row.Value(r0+r)) * step))
		for j := range m.cols {
			values[r*m.cols+j] *= inv
		}
	}
}

// coded is a matrix ready to be written.
type coded struct {
	side   []byte
	chunks [][]byte
	report *TensorReport
}

// write appends c as the next tensor.
func (c *coded) write(w *weights.Writer, m *matrix, role string) error {
	err := w.BeginTensor(weights.TensorInfo{Name: m.name, Role: role, Codec: "rans1", Rows: m.rows, Cols: m.cols, Weights: m.weights()})
	if err == nil {
		err = w.Span(c.side)
	}
	for _, chunk := range c.chunks {
		if err == nil {
			err = w.Span(chunk)
		}
	}
	return err
}

// layerAhead quantises the matrices of a layer that have error feedback side
// by side: most are too small to keep all processors busy alone.
func (p *packer) layerAhead(ctx context.Context, mats []*matrix, step float64) (map[*matrix]*coded, error) {
	out := make([]*coded, len(mats))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(p.opt.Workers)
	for i, m := range mats {
		if m.feedback == nil {
			continue
		}
		g.Go(func() (err error) {
			if out[i], err = p.encodeFeedback(ctx, m, m.step(step)); err != nil {
				return fmt.Errorf("pack: %s: %w", m.name, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	ahead := map[*matrix]*coded{}
	for i, m := range mats {
		ahead[m] = out[i]
	}
	return ahead, nil
}

// feedbackLoops holds working memory.
var feedbackLoops = sync.Pool{New: func() any { return new(feedbackLoop) }}

// encodeFeedback quantises m with error feedback and codes it.
func (p *packer) encodeFeedback(ctx context.Context, m *matrix, step float64) (*coded, error) {
	f := m.feedback
	fit, err := f.fit(p.opt.Mode, m.rows, step, rateThin, 2)
	if err == nil {
		fit, _, err = f.fitPlanes(p.opt.Mode, fit.planes, m.rows, step, 1, 2)
	}
	if err != nil {
		return nil, err
	}
	side := &rans.Side{
		Mode: p.opt.Mode, Planes: uint8(fit.planes), Band: m.band, Depth: m.depth,
		Row: m.row, Col: f.col, Order: f.class, Tables: fit.tables,
	}
	if len(fit.coders) > 1 {
		side.GroupClass = fit.class
	}
	side.Row.Base = float32(float64(m.row.Base) * step)
	enc, err := rans.NewEncoder(m.rows, m.cols, side)
	if err != nil {
		return nil, err
	}
	c := &coded{}
	if c.side, err = side.AppendTo(nil, tile.Layout{Rows: m.rows, Cols: m.cols}); err != nil {
		return nil, err
	}
	geo := enc.Matrix()
	c.chunks = make([][]byte, geo.Chunks())
	losses := make([]float64, geo.Bands())
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(p.opt.Workers)
	for band := range losses {
		g.Go(func() (err error) {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			losses[band], err = p.feedbackBand(m, fit, enc, band, step, c.chunks[band*geo.Blocks():(band+1)*geo.Blocks()])
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	c.report = &TensorReport{Name: m.name, Rows: m.rows, Cols: m.cols, Bytes: int64(len(c.side)), Planes: fit.planes}
	for _, chunk := range c.chunks {
		c.report.Bytes += int64(len(chunk))
	}
	loss := 0.0
	for _, l := range losses {
		loss += l
	}
	c.report.Bits = float64(c.report.Bytes) * 8 / float64(m.weights())
	if m.energy > 0 {
		c.report.Error = math.Sqrt(loss / m.energy)
	}
	return c, nil
}

// feedbackBand quantises and codes one band into its chunks. It returns the
// squared error of the weights.
func (p *packer) feedbackBand(m *matrix, fit *coderFit, enc *rans.Encoder, band int, step float64, chunks [][]byte) (float64, error) {
	f, geo := m.feedback, enc.Matrix()
	l := geo.Layout()
	r0, r1 := geo.Band(band)
	rows := r1 - r0
	values, err := p.ordered(m, r0, r1, step)
	if err != nil {
		return 0, err
	}
	index, outliers := make([][]uint8, l.Panels()), make([][]rans.Outlier, l.Panels())
	for i := range index {
		c0, c1 := l.Columns(i)
		index[i] = make([]uint8, rows*(c1-c0))
	}
	panel := 0
	q := feedbackLoops.Get().(*feedbackLoop)
	defer feedbackLoops.Put(q)
	q.run(f, values, fit.groupCoder, func(j int, level []uint8, delta []int32) {
		c0, c1 := l.Columns(panel)
		if j >= c1 {
			panel++
			c0, c1 = l.Columns(panel)
		}
		for r, u := range level {
			index[panel][r*(c1-c0)+j-c0] = u
			if delta[r] != 0 {
				outliers[panel] = append(outliers[panel], rans.Outlier{Row: r, Col: j - c0, Delta: delta[r]})
			}
		}
	})
	for i := range outliers {
		slices.SortFunc(outliers[i], func(a, b rans.Outlier) int { return (a.Row-b.Row)*tile.MaxWidth + a.Col - b.Col })
	}
	loss := 0.0
	for r := range rows {
		s := float64(m.row.Value(r0+r)) * step
		sum := float32(0)
		for _, e := range values[r*l.Cols : (r+1)*l.Cols] {
			sum += e * e
		}
		loss += float64(sum) * s * s
	}
	for block := range chunks {
		p0, p1 := geo.Block(block)
		if chunks[block], err = enc.Chunk(nil, band*geo.Blocks()+block, index[p0:p1], outliers[p0:p1]); err != nil {
			return 0, err
		}
	}
	return loss, nil
}

// ordered reads rows of m in coded order, divided by row scales and step.
func (p *packer) ordered(m *matrix, r0, r1 int, step float64) ([]float32, error) {
	values := make([]float32, (r1-r0)*m.cols)
	if err := p.read(m, r0, r1, values); err != nil {
		return nil, err
	}
	m.divide(values, r0, step)
	row := make([]float32, m.cols)
	for r := range r1 - r0 {
		v := values[r*m.cols : (r+1)*m.cols]
		copy(row, v)
		for k, j := range m.feedback.perm {
			v[k] = row[j]
		}
	}
	return values, nil
}
