package lowrankbench

import (
	"context"
	"fmt"

	"github.com/lamina-llm/lamina/internal/kern"
	"github.com/lamina-llm/lamina/lowrank"
	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/llama"
)

// Parts of a layer, in the order of pack.LowRank.
const (
	partQ = iota
	partK
	partV
	partO
	partGate
	partUp
	partDown
	parts
)

// factored is a float32 model of which some matrices are pairs of factors, run
// as two products each. It is for one llama.Model at a time.
type factored struct {
	*llama.FloatWeights
	layers []llama.Layer
}

// operator is what a matrix becomes: the product with it or with its factors.
type operator interface {
	Dims() (rows, cols int)
	Apply(dst, x []float32, n int) error
}

// newFactored joins the matrices of all layers: seven operators a layer.
func newFactored(ctx context.Context, base *llama.FloatWeights, layers int, ops []operator) (*factored, error) {
	f := &factored{FloatWeights: base}
	for i := range layers {
		l, release, err := base.Acquire(ctx, i)
		if err != nil {
			return nil, err
		}
		own := *l
		release()
		o := ops[i*parts : (i+1)*parts]
		own.QKV, own.Out = &stack{ops: o[partQ:partO]}, o[partO]
		own.GateUp, own.Down = &stack{ops: o[partGate:partDown]}, o[partDown]
		f.layers = append(f.layers, own)
	}
	return f, nil
}

// Acquire returns layer i.
func (f *factored) Acquire(_ context.Context, i int) (*llama.Layer, func(), error) {
	if i < 0 || i >= len(f.layers) {
		return nil, nil, fmt.Errorf("lowrankbench: no layer %d of %d", i, len(f.layers))
	}
	return &f.layers[i], func() {}, nil
}

// stack is several operators of one input, whose outputs stand one after
// another.
type stack struct {
	ops  []operator
	part []float32
}

// Dims returns the output and input widths.
func (s *stack) Dims() (rows, cols int) {
	for _, o := range s.ops {
		r, c := o.Dims()
		rows, cols = rows+r, c
	}
	return rows, cols
}

// Apply computes n products.
func (s *stack) Apply(dst, x []float32, n int) error {
	rows, _ := s.Dims()
	at := 0
	for _, o := range s.ops {
		r, _ := o.Dims()
		if n == 1 {
			if err := o.Apply(dst[at:at+r], x, 1); err != nil {
				return err
			}
			at += r
			continue
		}
		if len(s.part) < n*r {
			s.part = make([]float32, n*r)
		}
		if err := o.Apply(s.part[:n*r], x, n); err != nil {
			return err
		}
		for t := range n {
			copy(dst[t*rows+at:][:r], s.part[t*r:(t+1)*r])
		}
		at += r
	}
	return nil
}

// dense is a float32 matrix.
type dense struct {
	w          []float32
	rows, cols int
	pool       model.Pool
}

// Dims returns the output and input widths.
func (d *dense) Dims() (rows, cols int) { return d.rows, d.cols }

// Apply computes n products, a few vectors a task, or a few rows if there is
// one vector.
func (d *dense) Apply(dst, x []float32, n int) error {
	const block = 64
	if n == 1 {
		d.pool.For((d.rows+block-1)/block, func(_, i int) {
			r := i * block
			rows := min(block, d.rows-r)
			kern.MatMulF32(dst[r:r+rows], d.w[r*d.cols:(r+rows)*d.cols], x, rows, d.cols, 1)
		})
		return nil
	}
	d.pool.For((n+block-1)/block, func(_, i int) {
		t := i * block
		count := min(block, n-t)
		kern.MatMulF32(dst[t*d.rows:(t+count)*d.rows], d.w, x[t*d.cols:(t+count)*d.cols], d.rows, d.cols, count)
	})
	return nil
}

// newPair is the operator of two factors.
func newPair(rows, cols int, p *lowrank.Pair, pool model.Pool, scratch []float32) (operator, error) {
	f, err := lowrank.NewFactor(
		&dense{float32s(p.A), rows, p.Rank, pool}, &dense{float32s(p.B), p.Rank, cols, pool}, scratch)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func float32s(v []float64) []float32 {
	out := make([]float32, len(v))
	for i, x := range v {
		out[i] = float32(x)
	}
	return out
}
