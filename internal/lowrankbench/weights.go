package lowrankbench

import (
	"context"
	"fmt"

	"github.com/lamina-llm/lamina/internal/kern"
	"github.com/lamina-llm/lamina/internal/source"
	"github.com/lamina-llm/lamina/lowrank"
	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/pack"
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

// matrix is a float32 matrix, row by row.
type matrix struct {
	w          []float32
	rows, cols int
}

// checkpoint is a source model in float32. Any number of goroutines may read it.
type checkpoint struct {
	embed, logits     matrix
	norm              []float32
	attnNorm, mlpNorm [][]float32
	mats              []matrix // seven a layer
}

// load reads a checkpoint.
func load(ctx context.Context, src *source.Source, low *pack.LowRank) (*checkpoint, error) {
	cfg := src.Config()
	c := &checkpoint{}
	var err error
	read := func(name string, rows, cols int) matrix {
		m := matrix{make([]float32, rows*cols), rows, cols}
		if err == nil {
			err = src.ReadRows(name, 0, rows, m.w)
		}
		return m
	}
	c.embed = read("model.embed_tokens.weight", cfg.Vocab, cfg.Hidden)
	c.norm = read("model.norm.weight", 1, cfg.Hidden).w
	if c.logits = c.embed; !cfg.Tied {
		c.logits = read("lm_head.weight", cfg.Vocab, cfg.Hidden)
	}
	for i := range cfg.Layers {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		layer := fmt.Sprintf("model.layers.%d.", i)
		c.attnNorm = append(c.attnNorm, read(layer+"input_layernorm.weight", 1, cfg.Hidden).w)
		c.mlpNorm = append(c.mlpNorm, read(layer+"post_attention_layernorm.weight", 1, cfg.Hidden).w)
		for _, m := range low.Matrices[i*parts : (i+1)*parts] {
			c.mats = append(c.mats, read(m.Name, m.Rows, m.Cols))
		}
	}
	return c, err
}

// factors are what a matrix is replaced by; no rank is the matrix itself.
type factors struct {
	a, b matrix
}

// newFactors takes a pair of factors over. Ranks are filled up with zeros to a
// multiple of 8, which kernels like.
func newFactors(rows, cols int, p *lowrank.Pair) factors {
	rank := (p.Rank + 7) &^ 7
	f := factors{matrix{make([]float32, rows*rank), rows, rank}, matrix{make([]float32, rank*cols), rank, cols}}
	for i := range rows {
		for j, x := range p.A[i*p.Rank : (i+1)*p.Rank] {
			f.a.w[i*rank+j] = float32(x)
		}
	}
	for i, x := range p.B {
		f.b.w[i] = float32(x)
	}
	return f
}

// weights are a checkpoint of which some matrices are pairs of factors, run as
// two products each, for one llama.Model at a time.
type weights struct {
	*checkpoint
	layers []llama.Layer
	head   llama.Head
}

// newWeights joins the matrices of all layers, factors in place of those that
// have any. Products run on the pool. scratch holds what passes between factors.
func newWeights(c *checkpoint, f []factors, pool model.Pool, scratch []float32) (*weights, error) {
	w := &weights{checkpoint: c, head: llama.Head{Norm: c.norm, Logits: &dense{c.logits, pool}}}
	for i := range c.attnNorm {
		var ops [parts]operator
		for k := range ops {
			at := i*parts + k
			if f == nil || f[at].a.cols == 0 {
				ops[k] = &dense{c.mats[at], pool}
				continue
			}
			pair, err := lowrank.NewFactor(&dense{f[at].a, pool}, &dense{f[at].b, pool}, scratch)
			if err != nil {
				return nil, err
			}
			ops[k] = pair
		}
		w.layers = append(w.layers, llama.Layer{
			AttnNorm: c.attnNorm[i], QKV: &stack{ops: ops[partQ:partO]}, Out: ops[partO],
			FFNNorm: c.mlpNorm[i], GateUp: &stack{ops: ops[partGate:partDown]}, Down: ops[partDown],
		})
	}
	return w, nil
}

// Embed writes the embedding rows of ids.
func (w *weights) Embed(_ context.Context, dst []float32, ids []int32) error {
	h := w.embed.cols
	for t, id := range ids {
		if id < 0 || int(id) >= w.embed.rows {
			return fmt.Errorf("lowrankbench: token %d of a vocabulary of %d", id, w.embed.rows)
		}
		copy(dst[t*h:(t+1)*h], w.embed.w[int(id)*h:])
	}
	return nil
}

// Acquire returns layer i.
func (w *weights) Acquire(_ context.Context, i int) (*llama.Layer, func(), error) {
	if i < 0 || i >= len(w.layers) {
		return nil, nil, fmt.Errorf("lowrankbench: no layer %d of %d", i, len(w.layers))
	}
	return &w.layers[i], func() {}, nil
}

// AcquireHead returns the head.
func (w *weights) AcquireHead(context.Context) (*llama.Head, func(), error) {
	return &w.head, func() {}, nil
}

// operator is what a matrix becomes: the product with it or with its factors.
type operator interface {
	Dims() (rows, cols int)
	Apply(dst, x []float32, n int) error
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

// dense is the product with a float32 matrix.
type dense struct {
	matrix
	pool model.Pool
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
