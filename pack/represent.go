package pack

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/lamina-llm/lamina/lowrank"
)

// Representation says what the matrices of the layers become.
type Representation string

// The representations.
const (
	Dense   Representation = "dense"
	Factors Representation = "lowrank" // pairs of coded factors where they hold fewer parameters
	Auto    Representation = "auto"    // for each matrix what takes fewest bits for the same error of its outputs
)

// Choice is what Auto found for one matrix: bits per weight, all for the same
// error of the outputs as the dense matrix has at the step that all matrices
// would have if all were dense.
type Choice struct {
	Name       string  `json:"name"`
	Error      float64 `json:"output_error"` // relative, on the calibration text
	Dense      float64 `json:"dense_bits"`
	Factors    float64 `json:"factors_bits,omitempty"`    // best pair of factors; 0 if none saves parameters
	Correction float64 `json:"correction_bits,omitempty"` // best dense matrix plus factors of low rank
	Chosen     string  `json:"chosen"`                    // "dense", "factors" or "correction"
}

func (o Options) dense() bool { return o.Representation == "" || o.Representation == Dense }

func (o Options) validateRepresentation() error {
	lowrankGiven := o.Keep != 0 || o.Tolerance != [2]float64{}
	switch {
	case o.dense() && lowrankGiven, o.Representation == Auto && lowrankGiven:
		return errors.New("pack: ranks are for representation lowrank")
	case o.dense():
		return nil
	case o.Representation == Auto && o.Calibrate == nil:
		return errors.New("pack: representation auto compares errors of outputs, so it needs a calibration text")
	case o.Representation == Auto:
		return nil
	case o.Representation != Factors:
		return fmt.Errorf("pack: representation %q, want dense, lowrank or auto", string(o.Representation))
	case (o.Keep != 0) == (o.Tolerance != [2]float64{}):
		return errors.New("pack: representation lowrank wants a share of the parameters or a tolerance")
	case o.Keep != 0 && !(o.Keep > 0 && o.Keep < 1):
		return fmt.Errorf("pack: keeping %v of the parameters, want more than 0 and less than 1", o.Keep)
	}
	for _, eps := range o.Tolerance {
		if !(eps >= 0 && eps <= 1) {
			return fmt.Errorf("pack: tolerance %v, want 0 to 1", eps)
		}
	}
	switch o.Method {
	case "", SVD, ALS, Optimal:
	default:
		return fmt.Errorf("pack: method %q, want svd, als or optimal", string(o.Method))
	}
	if o.Calibrate == nil && o.Method != "" && o.Method != SVD {
		return fmt.Errorf("pack: method %s needs a calibration text", o.Method)
	}
	return nil
}

// representation says in words what the matrices become; "" is dense.
func (o Options) representation() string {
	switch {
	case o.dense():
		return ""
	case o.Representation == Auto:
		return "dense or factored"
	case o.Keep != 0:
		return fmt.Sprintf("factored (%s) to %g of the parameters", o.method(), o.Keep)
	}
	return fmt.Sprintf("factored (%s) at tolerances %g and %g", o.method(), o.Tolerance[0], o.Tolerance[1])
}

func (o Options) method() Method {
	switch {
	case o.Method != "":
		return o.Method
	case o.Calibrate == nil:
		return SVD
	}
	return ALS
}

// represent decides which matrices become factors, and makes those. target is
// what all matrices may take.
func (p *packer) represent(ctx context.Context, r *Report, target int64) error {
	if p.opt.dense() {
		return nil
	}
	defer func() {
		for _, m := range p.layerMatrices() {
			m.gram = nil
		}
	}()
	low, err := p.profile(ctx)
	if err != nil {
		return err
	}
	if p.opt.Representation == Auto {
		return p.choose(ctx, low, r, target)
	}
	eps := p.opt.Tolerance
	if p.opt.Keep != 0 {
		one, err := low.Tolerance(p.opt.Keep)
		if err != nil {
			return err
		}
		eps = [2]float64{one, one}
	}
	ranks := low.Ranks(eps[0], eps[1])
	r.Tolerance = &eps
	r.Kept = float64(low.Params(ranks)) / float64(low.Params(make([]int, len(ranks))))
	return p.eachOperator(ctx, "factor", func(m *matrix, first int) error {
		own := ranks[first : first+len(m.parts)]
		if slices.Max(own) == 0 {
			return nil
		}
		layers := make([]*lowrank.Layer, len(own))
		var err error
		for i, rank := range own {
			if rank > 0 {
				if layers[i], err = low.Layer(first+i, 1); err != nil {
					return err
				}
			}
		}
		m.parted, err = p.part(m, low.heights(first, len(own)), layers, own, p.opt.method(), false)
		return err
	})
}

// heights returns the rows of n source tensors from the first on.
func (l *LowRank) heights(first, n int) (rows []int) {
	for _, m := range l.Matrices[first : first+n] {
		rows = append(rows, m.Rows)
	}
	return rows
}

// eachOperator runs f for the matrices of the layers, side by side; first is
// where its source tensors begin in LowRank.Matrices.
func (p *packer) eachOperator(ctx context.Context, phase string, f func(m *matrix, first int) error) error {
	mats := p.layerMatrices()
	first, next := make([]int, len(mats)), 0
	for i, m := range mats {
		first[i] = next
		next += len(m.parts)
	}
	return p.each(ctx, phase, mats, func(_ context.Context, i int, m *matrix) error { return f(m, first[i]) })
}

// What Auto tries: factors that lose these parts of the error that a dense
// matrix has, and corrections of these ranks.
var (
	tryCuts  = []float64{0.25, 0.6}
	tryRanks = []int{4, 16}
)

// choose gives each matrix of the layers the representation that takes fewest
// bits for the error that it would have if all matrices were dense.
func (p *packer) choose(ctx context.Context, low *LowRank, r *Report, target int64) error {
	step, err := p.solve(p.mats, target, 0.5)
	if err != nil {
		return err
	}
	mats := p.layerMatrices()
	r.Choices = make([]Choice, len(mats))
	return p.eachOperator(ctx, "choose", func(m *matrix, first int) error {
		c, err := p.chooseFor(m, low, first, m.step(step))
		r.Choices[slices.Index(mats, m)] = c
		return err
	})
}

// chooseFor is choose for one matrix at its step.
func (p *packer) chooseFor(m *matrix, low *LowRank, first int, step float64) (Choice, error) {
	c := Choice{Name: m.name, Chosen: "dense"}
	m.losses, m.curve = map[int]float64{}, map[int]float64{}
	// Not foretold from steps, which damping makes too small.
	m.exact, m.feedback.keep = true, true
	defer func() { m.exact, m.feedback.keep, m.losses = false, false, nil }()
	var err error
	if c.Dense, err = m.bits(p.opt.kind(), step); err != nil {
		return c, err
	}
	loss, err := m.lossAt(p.opt.kind(), step)
	if err != nil {
		return c, err
	}
	layers, energy := make([]*lowrank.Layer, len(m.parts)), 0.0
	for i := range layers {
		if layers[i], err = low.Layer(first+i, 1); err != nil {
			return c, err
		}
		energy += layers[i].Energy()
	}
	if energy == 0 || loss == 0 {
		return c, nil
	}
	c.Error = math.Sqrt(loss / energy)
	best := c.Dense
	try := func(ranks []int, correct bool, bits *float64) error {
		d, err := p.part(m, low.heights(first, len(ranks)), layers, ranks, Optimal, correct)
		if err != nil {
			return err
		}
		b, ok, err := d.bitsFor(p, loss, step)
		if err != nil || !ok {
			return err
		}
		if *bits == 0 || b < *bits {
			*bits = b
		}
		if b < best {
			best, m.parted = b, d
			if c.Chosen = "factors"; correct {
				c.Chosen = "correction"
			}
		}
		return nil
	}
	for _, cut := range tryCuts {
		ranks := make([]int, len(layers))
		for i, l := range layers {
			s := low.Matrices[first+i].Shape
			share := float64(s.Rows) / float64(m.rows)
			if ranks[i], err = l.OptimalRank(cut * loss * share); err != nil {
				return c, err
			}
			if !lowrank.Saves(s.Rows, s.Cols, ranks[i]) {
				ranks[i] = 0
			}
		}
		if slices.Max(ranks) == 0 {
			continue
		}
		if err := try(ranks, false, &c.Factors); err != nil {
			return c, err
		}
	}
	for _, rank := range tryRanks {
		ranks := make([]int, len(layers))
		for i := range ranks {
			s := low.Matrices[first+i].Shape
			ranks[i] = min(rank, s.Rows, s.Cols)
		}
		if err := try(ranks, true, &c.Correction); err != nil {
			return c, err
		}
	}
	return c, nil
}

// bitsFor returns the bits per weight at which the outputs have the squared
// error loss; ok is false if no step gives it. hint is a step near it.
func (d *parted) bitsFor(p *packer, loss, hint float64) (bits float64, ok bool, err error) {
	at := func(step float64) float64 {
		if err != nil {
			return 0
		}
		var l float64
		l, err = d.loss(p.opt.kind(), step)
		return l
	}
	lo, hi := hint, hint
	for at(lo) > loss && err == nil {
		if lo /= 1.4; lo < minStep {
			return 0, false, nil
		}
	}
	for at(hi) < loss && err == nil {
		if hi *= 1.4; hi > maxStep {
			break
		}
	}
	for range 20 {
		if mid := math.Sqrt(lo * hi); at(mid) > loss {
			hi = mid
		} else {
			lo = mid
		}
	}
	if err != nil {
		return 0, false, err
	}
	bits, err = d.bits(p.opt.kind(), lo)
	return bits, err == nil, err
}
