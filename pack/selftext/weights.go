package selftext

import (
	"context"
	"fmt"

	"github.com/lamina-llm/lamina/internal/kern"
	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/pack/product"
)

// Weights is a whole float32 model whose matrices are packed for products with
// many vectors. It is for one [llama.Model] at a time.
type Weights struct {
	embed  []float32 // Vocab x Hidden
	hidden int
	layers []llama.Layer
	head   llama.Head
}

// WeightBytes returns the memory that Read takes for the weights of c, about.
func WeightBytes(c llama.Config) int64 {
	n := llama.FloatBytes(c, false)
	if c.Tied { // the head is a copy
		n += 4 * int64(c.Vocab) * int64(c.Hidden)
	}
	return n
}

// Read packs the checkpoint of c. pool runs the products.
func Read(ctx context.Context, c llama.Config, read llama.RowReader, pool model.Pool) (*Weights, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	run := product.New(pool)
	var err error
	rows := func(dst []float32, name string, n int) {
		if err == nil {
			err = read(name, 0, n, dst)
		}
	}
	vector := func(name string) []float32 {
		v := make([]float32, c.Hidden)
		rows(v, name, 1)
		return v
	}
	type part struct {
		name string
		rows int
	}
	var buffer []float32
	matrix := func(prefix string, cols int, parts ...part) model.Linear {
		n := 0
		for _, p := range parts {
			n += p.rows
		}
		if cap(buffer) < n*cols {
			buffer = make([]float32, n*cols)
		}
		at := 0
		for _, p := range parts {
			rows(buffer[at*cols:(at+p.rows)*cols], prefix+p.name+".weight", p.rows)
			at += p.rows
		}
		m := &matrix{run: run}
		run.Pack(&m.w, buffer, n, cols, false)
		return m
	}
	h, q, k, f := c.Hidden, c.Heads*c.HeadDim, c.KVHeads*c.HeadDim, c.Intermediate
	w := &Weights{embed: make([]float32, c.Vocab*h), hidden: h}
	rows(w.embed, "model.embed_tokens.weight", c.Vocab)
	for i := range c.Layers {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		at := fmt.Sprintf("model.layers.%d.", i)
		w.layers = append(w.layers, llama.Layer{
			AttnNorm: vector(at + "input_layernorm.weight"),
			QKV:      matrix(at, h, part{"self_attn.q_proj", q}, part{"self_attn.k_proj", k}, part{"self_attn.v_proj", k}),
			Out:      matrix(at, q, part{"self_attn.o_proj", h}),
			FFNNorm:  vector(at + "post_attention_layernorm.weight"),
			GateUp:   matrix(at, h, part{"mlp.gate_proj", f}, part{"mlp.up_proj", f}),
			Down:     matrix(at, f, part{"mlp.down_proj", h}),
		})
	}
	name := "lm_head"
	if c.Tied {
		name = "model.embed_tokens"
	}
	w.head = llama.Head{Norm: vector("model.norm.weight"), Logits: matrix("", h, part{name, c.Vocab})}
	return w, err
}

// Embed implements llama.Weights.
func (w *Weights) Embed(_ context.Context, dst []float32, ids []int32) error {
	for t, id := range ids {
		if id < 0 || (int(id)+1)*w.hidden > len(w.embed) {
			return fmt.Errorf("token %d is outside the vocabulary of %d", id, len(w.embed)/w.hidden)
		}
		copy(dst[t*w.hidden:(t+1)*w.hidden], w.embed[int(id)*w.hidden:])
	}
	return nil
}

// Acquire implements llama.Weights.
func (w *Weights) Acquire(_ context.Context, i int) (*llama.Layer, func(), error) {
	if i < 0 || i >= len(w.layers) {
		return nil, nil, fmt.Errorf("no layer %d of %d", i, len(w.layers))
	}
	return &w.layers[i], func() {}, nil
}

// AcquireHead implements llama.Weights.
func (w *Weights) AcquireHead(context.Context) (*llama.Head, func(), error) {
	return &w.head, func() {}, nil
}

// matrix is a packed operator.
type matrix struct {
	run *product.Runner
	w   kern.Panels
}

// Dims implements model.Linear.
func (m *matrix) Dims() (rows, cols int) { return m.w.Rows(), m.w.Cols() }

// Apply implements model.Linear.
func (m *matrix) Apply(dst, x []float32, n int) error {
	rows, cols := m.Dims()
	if n < 0 || len(dst) < n*rows || len(x) < n*cols {
		return fmt.Errorf("product of a %d x %d matrix with %d vectors: operands too short", rows, cols, n)
	}
	m.run.Multiply(dst, &m.w, x, n)
	return nil
}

var _ llama.Weights = (*Weights)(nil)
