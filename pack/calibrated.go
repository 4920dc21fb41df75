package pack

import (
	"context"
	"math"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/tile"
)

// plan readies error feedback for every matrix that has a Gram matrix, and
// lets go of that.
func (p *packer) plan(ctx context.Context) error {
	err := p.each(ctx, "plan", p.mats, func(ctx context.Context, _ int, m *matrix) error {
		if m.gram == nil {
			return nil
		}
		if err := p.planParked(ctx, m); err != nil {
			return err
		}
		if p.opt.dense() {
			m.gram = nil
		}
		return nil
	})
	if err != nil {
		return err
	}
	if p.opt.Error != 0 {
		return nil // steps are set
	}
	// Steps are relative to weights of average size.
	sum := 0.0
	for _, m := range p.mats {
		if m.feedback != nil {
			sum += m.feedback.excess() * float64(m.cols)
		}
	}
	for _, m := range p.mats {
		if m.feedback != nil {
			m.feedback.shift(sum / float64(p.matrixWeights()))
			m.weigh = 1
		}
	}
	return nil
}

// planParked is planMatrix for a Gram matrix that may be parked: the factor
// takes its place.
func (p *packer) planParked(ctx context.Context, m *matrix) error {
	at := m.gram.place
	if at == nil {
		return p.planMatrix(m)
	}
	done, err := at.park.work(ctx, 2*4*m.gram.elements())
	if err != nil {
		return err
	}
	defer done()
	if err := m.gram.load(); err != nil {
		return err
	}
	if err := p.planMatrix(m); err != nil {
		return err
	}
	m.feedback.a.place = at
	return m.feedback.a.park()
}

// planMatrix readies error feedback for m.
func (p *packer) planMatrix(m *matrix) error {
	power := rowPower
	if m.rows == p.cfg.Vocab {
		power = tokenPower
	}
	if m.transform != nil {
		m.gram.turn(m.transform)
	}
	damp := dampDense
	if p.opt.Error != 0 {
		damp = dampLight // errors on the calibration text itself are asked for
	}
	f, err := newFeedback(m.gram, m.rows, damp, workers(p.opt.Workers))
	if err != nil {
		return err
	}
	f.rows(wanted(m.cost, power))
	f.fixed = m.fixedSide()
	m.feedback = f
	if err := p.observe(m); err != nil || p.opt.Error == 0 {
		return err
	}
	f.shift(f.excess() / float64(m.rows))
	return p.tolerateMatrix(m) // while the Gram matrix is there
}

// observe shows the rows of m to its feedback.
func (p *packer) observe(m *matrix) error {
	f := m.feedback
	buf := make([]float32, scanBand*m.cols)
	for r0 := 0; r0 < m.rows; r0 += scanBand {
		r1 := min(r0+scanBand, m.rows)
		if err := p.read(m, r0, r1, buf[:(r1-r0)*m.cols]); err != nil {
			return err
		}
		for r := r0; r < r1; r++ {
			f.observe(r, buf[(r-r0)*m.cols:][:m.cols])
		}
	}
	f.observed()
	return nil
}

// coded is a matrix ready to be written.
type coded struct {
	side   []byte
	chunks [][]byte
	report *TensorReport
}

// write appends c as the next tensor.
func (c *coded) write(w tensorWriter, m *matrix, role string) error {
	err := m.begin(w, role)
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
		if m.feedback == nil || m.parted != nil {
			continue
		}
		g.Go(func() (err error) {
			if out[i], err = p.encodeFeedback(ctx, m, m.step(step)); err != nil {
				return m.failed(err)
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
	release, err := f.a.hold(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	fit, err := f.fitAll(p.opt.kind(), step)
	if err != nil {
		return nil, err
	}
	c, enc, err := p.begin(m, fit)
	if err != nil {
		return nil, err
	}
	geo := enc.Matrix()
	losses := make([]float64, geo.Bands())
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(p.opt.Workers)
	for band := range losses {
		g.Go(func() (err error) {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			losses[band], err = p.feedbackBand(m, fit, enc, band, c.chunks[band*geo.Blocks():(band+1)*geo.Blocks()])
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	loss := 0.0
	for _, l := range losses {
		loss += l
	}
	c.finish(m, fit.planes, loss)
	return c, nil
}

// begin makes the side information of m, coded with feedback, and an encoder for it.
func (p *packer) begin(m *matrix, fit *coderFit) (*coded, *rans.Encoder, error) {
	side := p.side(m, fit)
	side.Row, side.Col, side.Order = fit.plan.scale, m.feedback.col, m.feedback.order
	if fit.plan.n > 1 {
		side.GroupClass = fit.plan.group
		if !fit.plan.alike {
			side.RowClass = fit.plan.class
		}
	}
	return m.encoder(side)
}

// side is what the side information of every coded matrix has.
func (p *packer) side(m *matrix, fit *coderFit) *rans.Side {
	return &rans.Side{Mode: p.opt.Mode, Planes: uint8(fit.planes), Band: m.band, Depth: m.depth, Tables: fit.tables}
}

// encoder returns m without its chunks, and an encoder for them.
func (m *matrix) encoder(side *rans.Side) (*coded, *rans.Encoder, error) {
	enc, err := rans.NewEncoder(m.rows, m.cols, side)
	if err != nil {
		return nil, nil, err
	}
	c := &coded{chunks: make([][]byte, enc.Matrix().Chunks())}
	c.side, err = side.AppendTo(nil, tile.Layout{Rows: m.rows, Cols: m.cols})
	return c, enc, err
}

// finish reports on m, whose chunks are there; loss is the squared error of its
// weights.
func (c *coded) finish(m *matrix, planes int, loss float64) {
	bytes := int64(len(c.side))
	for _, chunk := range c.chunks {
		bytes += int64(len(chunk))
	}
	c.report = m.report(bytes, planes, loss)
}

// report is about m as it was coded.
func (m *matrix) report(bytes int64, planes int, loss float64) *TensorReport {
	r := &TensorReport{Name: m.name, Rows: m.rows, Cols: m.cols, Planes: planes, Bytes: bytes, Bits: float64(bytes) * 8 / float64(m.weights())}
	if m.energy > 0 {
		r.Error = math.Sqrt(loss / m.energy)
	}
	return r
}

// feedbackBand quantises and codes one band into its chunks. It returns the
// squared error of the weights.
func (p *packer) feedbackBand(m *matrix, fit *coderFit, enc *rans.Encoder, band int, chunks [][]byte) (float64, error) {
	f, geo := m.feedback, enc.Matrix()
	l := geo.Layout()
	r0, r1 := geo.Band(band)
	rows := r1 - r0
	values, err := p.ordered(m, &fit.plan.scale, r0, r1)
	if err != nil {
		return 0, err
	}
	levels := newBandLevels(l, rows)
	q := feedbackLoops.Get().(*feedbackLoop)
	defer feedbackLoops.Put(q)
	q.run(f, values, fit.plan.class[r0:r1], fit.groupCoders, levels.take)
	loss := 0.0
	for r := range rows {
		s := float64(fit.plan.scale.Value(r0 + r))
		sum := float32(0)
		for _, e := range values[r*l.Cols : (r+1)*l.Cols] {
			sum += e * e
		}
		loss += float64(sum) * s * s
	}
	return loss, levels.encode(enc, band, chunks)
}

// bandLevels are the levels of one band, panel by panel as the encoder takes
// them.
type bandLevels struct {
	layout   tile.Layout
	panel    int       // of the latest column
	index    [][]uint8 // per panel, row by row
	outliers [][]rans.Outlier
}

func newBandLevels(l tile.Layout, rows int) *bandLevels {
	b := &bandLevels{layout: l, index: make([][]uint8, l.Panels()), outliers: make([][]rans.Outlier, l.Panels())}
	for i := range b.index {
		c0, c1 := l.Columns(i)
		b.index[i] = make([]uint8, rows*(c1-c0))
	}
	return b
}

// take keeps a column; columns come in coded order.
func (b *bandLevels) take(j int, level []uint8, delta []int32) {
	c0, c1 := b.layout.Columns(b.panel)
	for j >= c1 {
		b.panel++
		c0, c1 = b.layout.Columns(b.panel)
	}
	for r, u := range level {
		b.index[b.panel][r*(c1-c0)+j-c0] = u
		if delta[r] != 0 {
			b.outliers[b.panel] = append(b.outliers[b.panel], rans.Outlier{Row: r, Col: j - c0, Delta: delta[r]})
		}
	}
}

// encode codes the levels into the chunks of a band.
func (b *bandLevels) encode(enc *rans.Encoder, band int, chunks [][]byte) (err error) {
	for i := range b.outliers {
		slices.SortFunc(b.outliers[i], func(a, b rans.Outlier) int { return (a.Row-b.Row)*tile.MaxWidth + a.Col - b.Col })
	}
	geo := enc.Matrix()
	for block := range chunks {
		p0, p1 := geo.Block(block)
		if chunks[block], err = enc.Chunk(nil, band*geo.Blocks()+block, b.index[p0:p1], b.outliers[p0:p1]); err != nil {
			return err
		}
	}
	return nil
}

// ordered reads rows of m in coded order, divided by their scales.
func (p *packer) ordered(m *matrix, scale *rans.Scales, r0, r1 int) ([]float32, error) {
	values := make([]float32, (r1-r0)*m.cols)
	if err := p.read(m, r0, r1, values); err != nil {
		return nil, err
	}
	row := make([]float32, m.cols)
	for r := range r1 - r0 {
		v := values[r*m.cols : (r+1)*m.cols]
		copy(row, v)
		inv := 1 / scale.Value(r0+r)
		for k, j := range m.feedback.perm {
			v[k] = row[j] * inv
		}
	}
	return values, nil
}
