package pack

import (
	"context"
	"fmt"
	"math"

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/kern"
)

// tolerate gives every matrix its own step, at which its relative error is the
// one that was asked for: the uniform tolerance of PGSVD (arXiv 2510.05544,
// there for ranks). Common steps are then one. A matrix whose error stays below
// even at the coarsest step takes that.
func (p *packer) tolerate(ctx context.Context) error {
	return p.each(ctx, "tolerance", p.mats, func(_ context.Context, _ int, m *matrix) error {
		if m.feedback != nil {
			return nil // has it since its plan
		}
		return p.tolerateMatrix(m)
	})
}

// tolerateMatrix sets m's step. With error feedback, errors are those of the
// outputs of sampled rows, by the Gram matrix of the inputs.
func (p *packer) tolerateMatrix(m *matrix) error {
	all, f := m.energy, m.feedback
	if f != nil {
		all = f.outputs(m.gram, f.sample, nil, 1)
		m.exact, f.keep = true, true
		defer func() { m.exact, f.keep, m.losses = false, false, nil }()
	}
	m.weigh = 1
	if all == 0 {
		return nil // zeros, or nothing reaches it
	}
	m.losses, m.curve = map[int]float64{}, map[int]float64{}
	relative := func(step float64) (float64, error) {
		loss, err := m.lossAt(p.opt.kind(), step)
		return math.Sqrt(loss / all), err
	}
	least, err := relative(minStep)
	if err != nil {
		return err
	}
	if least > p.opt.Error {
		return fmt.Errorf("%w: the finest step leaves a relative error of %.4f; ask for more than that", ErrTarget, least)
	}
	lo, hi := math.Log2(minStep), math.Log2(maxStep)
	for range 16 {
		mid := (lo + hi) / 2
		e, err := relative(math.Exp2(mid))
		if err != nil {
			return err
		}
		if e > p.opt.Error {
			hi = mid
		} else {
			lo = mid
		}
	}
	m.weigh = math.Exp2(lo)
	if f == nil {
		return nil
	}
	return p.confirm(m, all)
}

// confirm corrects the step of a matrix with error feedback by what all of the
// sample loses, of which its curves show a part, coded in fewer turns. Errors rise
// with the step only by and large, since every step has its own tables; of what
// was tried, the step whose error is nearest is taken. It costs up to eight fits;
// one is usual.
func (p *packer) confirm(m *matrix, all float64) error {
	const tries = 8
	f := m.feedback
	step, best := m.weigh, math.Inf(1)
	type tried struct {
		step, output float64
		planes       int
	}
	var under, over tried // the nearest on either side
	for range tries {
		fit, err := f.fitAll(p.opt.kind(), step)
		if err != nil {
			return err
		}
		output := math.Sqrt(f.outputs(m.gram, fit.errors, &fit.plan.scale, 1) / all)
		if miss := math.Abs(output - p.opt.Error); miss < best {
			m.weigh, m.output, best = step, output, miss
		}
		if best < 0.01*p.opt.Error {
			return nil
		}
		if output < p.opt.Error {
			under = tried{step, output, fit.planes}
		} else {
			over = tried{step, output, fit.planes}
		}
		switch {
		case under.step > 0 && under.step < over.step && under.planes == over.planes:
			share := (p.opt.Error - under.output) / (over.output - under.output)
			step = under.step + (over.step-under.step)*min(max(share, 0.1), 0.9)
		case under.step > 0 && over.step > 0 && under.planes != over.planes && f.held == 0:
			// Between them the choice of planes changes and the error leaps.
			f.held = under.planes + 1
			over, best = tried{}, math.Inf(1)
			fallthrough
		default:
			step *= min(max(p.opt.Error/max(output, 1e-9), 0.7), 1.4)
		}
		step = min(max(step, minStep), maxStep)
	}
	return nil
}

// outputs estimates the sum of squares of what all rows would give if each was
// as every thin-th row of the sample: v holds those in coded order, in units of
// scale (nil is one); g is the Gram matrix of the inputs.
func (f *feedback) outputs(g *triangle, v []float32, scale *rans.Scales, thin int) float64 {
	n := g.n
	rows := len(v) / n
	if rows == 0 {
		return 0
	}
	w := make([]float32, len(v)) // columns side by side, as g has them
	for r := range rows {
		s := float32(1)
		if scale != nil {
			s = scale.Value(f.ids[r*thin])
		}
		for k, j := range f.perm {
			w[j*rows+r] = v[r*n+k] * s
		}
	}
	sum, part := 0.0, make([]float32, rows)
	for i := range n {
		clear(part)
		for j := range i {
			kern.Axpy(part, 2**g.at(i, j), w[j*rows:(j+1)*rows])
		}
		own := w[i*rows : (i+1)*rows]
		kern.Axpy(part, *g.at(i, i), own)
		for r, v := range part {
			sum += float64(v) * float64(own[r])
		}
	}
	return max(0, sum) / float64(rows) * float64(len(f.want))
}
