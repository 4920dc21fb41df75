package pack

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"

	"github.com/lamina-llm/lamina/decode"
	"github.com/lamina-llm/lamina/internal/source"
	"github.com/lamina-llm/lamina/internal/tile"
	"github.com/lamina-llm/lamina/pack/affine"
)

// Ways to transform the inputs of a matrix, in the order of a study.
var transformWays = []string{"none", "diagonal", "hadamard", "kronecker", "affine", "full"}

// TransformStudy says what transforms of the inputs of matrices are worth.
type TransformStudy struct {
	Calibration string            `json:"calibration"`
	Tokens      int               `json:"calibration_tokens"`
	Test        string            `json:"test"` // text whose inputs errors are measured on
	TestTokens  int               `json:"test_tokens"`
	Results     []TransformResult `json:"results"`
}

// TransformResult is the relative error of the outputs of one matrix at a rate,
// scales, tables and the transform itself counted.
type TransformResult struct {
	Matrix   string  `json:"matrix"`
	Bits     float64 `json:"bits_per_weight"`
	Way      string  `json:"way"`      // "none", "diagonal", "hadamard", "kronecker", "affine" or "full"
	Feedback bool    `json:"feedback"` // errors are fed back
	Params   float64 `json:"parameter_bits_per_weight"`
	Error    float64 `json:"output_error"` // 0 if the rate cannot be reached
}

// studyMaxFull bounds the width of matrices for which a transform by a whole
// matrix is tried.
const studyMaxFull = 640

// inputTransform is some P: inputs become P x, rows of the matrix P^-T w.
type inputTransform interface {
	Apply(x []float32)
	ApplyRow(w []float32)
}

// orthogonal is a transform of the format.
type orthogonal struct{ *decode.Transform }

func (o orthogonal) Apply(x []float32)    { o.Transform.Apply(x, x) }
func (o orthogonal) ApplyRow(w []float32) { o.Transform.Apply(w, w) }

// StudyTransforms compares transforms on the matrices of some layers of src at
// some rates, in bits per weight. Calibration text trains transforms and error
// feedback, errors are those on test. Without feedback every way but "none" has
// one step per column from the variances of inputs; rows share one step, since all
// errors count the same. "kronecker" is a product of two small orthogonal
// matrices, "affine" of two that are not, "full" one whole orthogonal matrix
// that is not charged for its parameters: a limit. Of o it takes Calibrate, Mode, Workers and
// Progress.
func StudyTransforms(ctx context.Context, src *source.Source, o Options, test *Calibration, layers []int, bits []float64) (*TransformStudy, error) {
	if o.Calibrate == nil || test == nil || len(bits) == 0 {
		return nil, errors.New("pack: a study of transforms needs two texts and rates")
	}
	s := &TransformStudy{Calibration: o.Calibrate.describe(), Tokens: o.Calibrate.Count(), Test: test.describe(), TestTokens: test.Count()}
	grams := [2][]*triangle{}
	var p *packer
	for i, cal := range [2]*Calibration{o.Calibrate, test} {
		o.Calibrate = cal
		var err error
		if p, err = newPacker(src, o); err == nil {
			if err = p.writeText(ctx); err == nil {
				err = p.calibrate(ctx)
			}
		}
		if err != nil {
			return nil, err
		}
		for _, m := range p.layerMatrices() {
			grams[i] = append(grams[i], m.gram)
			m.gram, m.cost = nil, nil
		}
	}
	for _, layer := range layers {
		if layer < 0 || layer >= p.cfg.Layers {
			return nil, fmt.Errorf("pack: no layer %d of %d", layer, p.cfg.Layers)
		}
		for k := 4 * layer; k < 4*layer+4; k++ {
			m := p.layerMatrices()[k]
			if err := p.studyMatrix(ctx, s, m, grams[0][k], grams[1][k], bits); err != nil {
				return nil, fmt.Errorf("pack: %s: %w", m.name, err)
			}
		}
	}
	return s, nil
}

// studyMatrix adds the results of m.
func (p *packer) studyMatrix(ctx context.Context, s *TransformStudy, m *matrix, train, test *triangle, bits []float64) error {
	w := make([]float32, m.rows*m.cols)
	if err := p.read(m, 0, m.rows, w); err != nil {
		return err
	}
	for _, way := range transformWays {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		t, params, err := transformOf(way, w, m.cols, train)
		if err != nil {
			return err
		}
		if way == "full" && t == nil {
			continue
		}
		own, from, at := w, train, test
		if t != nil {
			own = append([]float32(nil), w...)
			for r := range m.rows {
				t.ApplyRow(own[r*m.cols : (r+1)*m.cols])
			}
			from, at = train.through(t), test.through(t)
		}
		for _, fed := range [2]bool{false, true} {
			if fed && way == "diagonal" {
				continue // error feedback has steps per column
			}
			g := from
			if !fed {
				g = from.diagonal(way == "none")
			}
			for _, b := range bits {
				r := TransformResult{Matrix: m.name, Bits: b, Way: way, Feedback: fed, Params: params / float64(m.weights())}
				if r.Error, err = p.studyError(own, m.cols, g, at, b-r.Params); err != nil {
					return err
				}
				s.Results = append(s.Results, r)
			}
		}
		p.opt.Progress(Progress{"study", m.name + " " + way, int64(len(s.Results)), 0})
	}
	return nil
}

// transformOf makes a transform for the matrix w whose inputs have the Gram matrix
// g, and returns the bits of its parameters. nil is none.
func transformOf(way string, w []float32, cols int, g *triangle) (t inputTransform, bits float64, err error) {
	a, b := affine.Split(cols)
	switch way {
	case "hadamard":
		x := decode.NewTransform(cols, func(j int) bool { return uniform(uint64(j)) < 0.5 })
		return orthogonal{x}, float64(cols), nil
	case "full":
		if cols > studyMaxFull {
			return nil, 0, nil
		}
		a, b = 1, cols
	case "none", "diagonal":
		return nil, 0, nil
	}
	trace := g.trace()
	damped := func(i, j int) float64 {
		v := g.symmetric(i, j)
		if i == j {
			v += dampLight.own*v + dampFloor*trace/float64(cols)
		}
		return v
	}
	g1, g2, err := affine.Kronecker(damped, a, b)
	if err != nil {
		return nil, 0, err
	}
	if way == "kronecker" || way == "full" {
		x, err := affine.Principal(g1, g2)
		if err != nil {
			return nil, 0, err
		}
		if way == "full" {
			return x, 0, nil
		}
		return x, 16 * float64(x.Params()), nil
	}
	rows := newTriangle(cols) // covariance of the rows of w
	rows.add(w, len(w)/cols, workers(1), new(columns))
	trace = rows.trace()
	s1, s2, err := affine.Kronecker(func(i, j int) float64 {
		v := rows.symmetric(i, j)
		if i == j {
			v += dampFloor * trace / float64(cols)
		}
		return v
	}, a, b)
	if err != nil {
		return nil, 0, err
	}
	x, err := affine.Joint(g1, g2, s1, s2)
	if err != nil {
		return nil, 0, err
	}
	return x, 16 * float64(x.Params()), nil
}

// through returns the Gram matrix of the transformed inputs.
func (g *triangle) through(t inputTransform) *triangle {
	n := g.n
	x, y := make([]float32, n*n), make([]float32, n*n)
	for i := range n {
		for j := range n {
			x[i*n+j] = float32(g.symmetric(i, j))
		}
	}
	pool := workers(runtime.GOMAXPROCS(0))
	rows := func(v []float32) {
		pool.For(n, func(_, i int) { t.Apply(v[i*n : (i+1)*n]) })
	}
	rows(x)
	flip(y, x, n)
	rows(y)
	out := newTriangle(n)
	for i := range n {
		for j := range i + 1 {
			v := (y[i*n+j] + y[j*n+i]) / 2
			*out.at(i, j) = v
			if i/tile.Lanes == j/tile.Lanes { // diagonal tiles hold both halves
				*out.at(j, i) = v
			}
		}
	}
	return out
}

// diagonal returns the diagonal of g, or its mean everywhere on it.
func (g *triangle) diagonal(even bool) *triangle {
	out := newTriangle(g.n)
	mean := g.trace() / float64(g.n)
	for j := range g.n {
		*out.at(j, j) = *g.at(j, j)
		if even {
			*out.at(j, j) = float32(mean)
		}
	}
	return out
}

// studyError returns the relative error of the outputs of w, rows of cols, at a
// rate: planned with the Gram matrix plan, measured with test.
func (p *packer) studyError(w []float32, cols int, plan, test *triangle, bits float64) (float64, error) {
	f, err := newFeedback(plan, len(w)/cols, dampDense, workers(p.opt.Workers))
	if err != nil {
		return 0, err
	}
	rows := len(w) / cols
	f.rows(make([]float64, rows))
	for r := range rows {
		f.observe(r, w[r*cols:(r+1)*cols])
	}
	f.observed()
	f.shift(f.excess() / float64(rows))
	f.keep = true
	energy := f.outputs(test, f.sample, nil, 1)
	type point struct{ bits, err float64 }
	try := func(step float64) (point, error) {
		c, err := f.fit(p.opt.kind(), step, 1, 2)
		if err != nil {
			return point{}, err
		}
		return point{c.bits, math.Log2(f.outputs(test, c.errors, &c.plan.scale, 1) / energy)}, nil
	}
	// Rates fall as steps grow: two points around the rate, then a line between.
	lo, hi := math.Log2(minStep), math.Log2(maxStep)
	var above, below point
	for hi-lo > 0.3 {
		mid := (lo + hi) / 2
		x, err := try(math.Exp2(mid))
		if err != nil {
			return 0, err
		}
		if x.bits > bits {
			lo, above = mid, x
		} else {
			hi, below = mid, x
		}
	}
	if above.bits == 0 || below.bits == 0 {
		return 0, nil
	}
	t := (above.bits - bits) / max(above.bits-below.bits, 1e-9)
	return math.Exp2((above.err + t*(below.err-above.err)) / 2), nil
}
