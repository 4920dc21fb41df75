package pack

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/lamina-llm/lamina/internal/source"
	"github.com/lamina-llm/lamina/lowrank"
)

// LowRank knows the attention and MLP matrices of a checkpoint as the choice of
// ranks and the making of factors see them: singular values, and Gram matrices
// of the inputs if there was a calibration text. It is safe for concurrent use.
type LowRank struct {
	Matrices []LowRankMatrix // layer by layer: q, k, v, o, gate, up, down

	p *packer
}

// LowRankMatrix is one matrix of a checkpoint.
type LowRankMatrix struct {
	Name      string // Hugging Face name
	Attention bool   // else of the MLP
	lowrank.Shape

	gram *triangle // of the inputs; nil without calibration
}

// Method says how factors are made once the ranks are known.
type Method string

// The methods.
const (
	SVD     Method = "svd"     // truncated singular values; needs no calibration
	ALS     Method = "als"     // PGSVD's alternating least squares
	Optimal Method = "optimal" // their limit, which is also SVD-LLM's whitening
)

// Turns is how many turns ALS takes, as in the paper.
const Turns = 10

// NewLowRank reads every matrix of the layers of src once for its singular
// values, after running src over the calibration text if there is one. Tokens of
// that text count the same, as in the paper; if weighted, they count by what
// errors of the outputs cost, as they do when [Run] makes factors. Of o it takes
// Workers, Calibrate and Progress.
func NewLowRank(ctx context.Context, src *source.Source, o Options, weighted bool) (*LowRank, error) {
	p, err := newPacker(src, o)
	if err != nil {
		return nil, err
	}
	if c := p.opt.Calibrate; c != nil {
		if c.Count() < minCalibration {
			return nil, fmt.Errorf("pack: calibration text of %d tokens, want at least %d", c.Count(), minCalibration)
		}
		if err := p.writeText(ctx); err != nil {
			return nil, err
		}
		observe := p.observeInputs
		if weighted {
			observe = p.calibrate
		}
		if err := observe(ctx); err != nil {
			return nil, err
		}
	}
	return p.profile(ctx)
}

// profile finds the singular values of all matrices of the layers.
func (p *packer) profile(ctx context.Context) (*LowRank, error) {
	l := &LowRank{p: p}
	for _, m := range p.layerMatrices() {
		for _, part := range m.parts {
			t, ok := p.src.Tensor(part)
			if !ok {
				return nil, fmt.Errorf("pack: no tensor %s", part)
			}
			l.Matrices = append(l.Matrices, LowRankMatrix{
				Name: part, Attention: strings.Contains(part, "self_attn"), gram: m.gram,
				Shape: lowrank.Shape{Rows: t.Rows, Cols: t.Cols},
			})
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(p.opt.Workers)
	var mu sync.Mutex
	done, total := int64(0), l.Params(make([]int, len(l.Matrices)))
	for i := range l.Matrices {
		m := &l.Matrices[i]
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return context.Cause(ctx)
			}
			w, err := l.read(m)
			if err == nil {
				m.Values, err = lowrank.Spectrum(m.Rows, m.Cols, w, workers(1))
			}
			if err != nil {
				return fmt.Errorf("pack: %s: %w", m.Name, err)
			}
			mu.Lock()
			defer mu.Unlock()
			done += int64(m.Rows) * int64(m.Cols)
			p.opt.Progress(Progress{"profile", m.Name, done, total})
			return nil
		})
	}
	return l, g.Wait()
}

// layerMatrices returns the matrices of the layers: all but the embedding and
// an own head.
func (p *packer) layerMatrices() []*matrix { return p.mats[1 : 1+4*p.cfg.Layers] }

// read returns a matrix in float64.
func (l *LowRank) read(m *LowRankMatrix) ([]float64, error) {
	v := make([]float32, m.Rows*m.Cols)
	if err := l.p.src.ReadRows(m.Name, 0, m.Rows, v); err != nil {
		return nil, err
	}
	w := make([]float64, len(v))
	for i, x := range v {
		if x-x != 0 {
			return nil, fmt.Errorf("row %d column %d is %v; the source checkpoint is damaged", i/m.Cols, i%m.Cols, x)
		}
		w[i] = float64(x)
	}
	return w, nil
}

// Tolerance returns the tolerance, the same for all matrices, that keeps the
// share keep of their parameters.
func (l *LowRank) Tolerance(keep float64) (float64, error) {
	shapes := make([]lowrank.Shape, len(l.Matrices))
	for i, m := range l.Matrices {
		shapes[i] = m.Shape
	}
	eps, err := lowrank.Tolerance(shapes, keep)
	if err != nil {
		return 0, fmt.Errorf("pack: %w", err)
	}
	return eps, nil
}

// Ranks returns the rank of every matrix for a tolerance of the attention
// matrices and one of the MLP; 0 is dense, where factors would save nothing.
func (l *LowRank) Ranks(attention, mlp float64) []int {
	ranks := make([]int, len(l.Matrices))
	for i, m := range l.Matrices {
		if m.Attention {
			ranks[i] = m.Rank(attention)
		} else {
			ranks[i] = m.Rank(mlp)
		}
	}
	return ranks
}

// Uniform returns ranks that keep the share keep of every matrix.
func (l *LowRank) Uniform(keep float64) []int {
	ranks := make([]int, len(l.Matrices))
	for i, m := range l.Matrices {
		ranks[i] = m.Uniform(keep)
	}
	return ranks
}

// Params returns the parameters of all matrices at these ranks.
func (l *LowRank) Params(ranks []int) (n int64) {
	for i, m := range l.Matrices {
		n += m.Params(ranks[i])
	}
	return n
}

// Layer reads matrix i and prepares it for approximations of any rank. It runs
// on the given number of goroutines.
func (l *LowRank) Layer(i, goroutines int) (*lowrank.Layer, error) {
	m := &l.Matrices[i]
	w, err := l.read(m)
	if err != nil {
		return nil, fmt.Errorf("pack: %s: %w", m.Name, err)
	}
	var second []float64
	if m.gram != nil {
		second = m.gram.square()
	}
	layer, err := lowrank.NewLayer(m.Rows, m.Cols, w, second, workers(goroutines))
	if errors.Is(err, lowrank.ErrNoInputs) { // nothing in the text reaches it: all inputs count the same
		layer, err = lowrank.NewLayer(m.Rows, m.Cols, w, identity(m.Cols), workers(goroutines))
	}
	if err != nil {
		return nil, fmt.Errorf("pack: %s: %w", m.Name, err)
	}
	return layer, nil
}

// Pair makes factors of a rank by a method.
func (m Method) Pair(l *lowrank.Layer, rank int) (*lowrank.Pair, error) {
	switch m {
	case SVD:
		return l.SVD(rank)
	case ALS:
		return l.ALS(rank, Turns)
	case Optimal:
		return l.Optimal(rank)
	}
	return nil, fmt.Errorf("pack: method %q", string(m))
}

// square returns the whole symmetric matrix in float64.
func (g *triangle) square() []float64 {
	out := make([]float64, g.n*g.n)
	for i := range g.n {
		for j := range i + 1 {
			v := float64(*g.at(i, j))
			out[i*g.n+j], out[j*g.n+i] = v, v
		}
	}
	return out
}

func identity(n int) []float64 {
	m := make([]float64, n*n)
	for i := range n {
		m[i*n+i] = 1
	}
	return m
}
