package llama

import (
	"context"
	"fmt"

	"github.com/lamina-llm/lamina/internal/kern"
	"github.com/lamina-llm/lamina/model"
)

// RowReader reads rows [row0, row0+rows) of a tensor of a checkpoint, under its
// Hugging Face name, as float32 into dst. A vector is one row. Queries and keys
// are in the Hugging Face order, in which RoPE pairs element i with
// i + HeadDim/2.
type RowReader func(name string, row0, rows int, dst []float32) error

// FloatWeights is a whole model in float32: the oracle that every coded
// representation is measured against, and what evaluates a source checkpoint.
// It is for one Model at a time.
type FloatWeights struct {
	config Config
	read   RowReader
	pool   model.Pool
	tiles  [][]float32 // per worker
	embed  []float32   // (Vocab, Hidden); nil when streaming
	layers []Layer     // nil when streaming
	head   Head
	buffer []float32 // one layer or the head; nil unless streaming
}

// FloatBytes returns the memory that NewFloatWeights takes for the weights of
// c, whole or streaming.
func FloatBytes(c Config, stream bool) int64 {
	embed, layer := int64(c.Vocab)*int64(c.Hidden), c.layerElements()
	head := int64(c.Hidden)
	if stream {
		return 4 * max(layer, embed+head)
	}
	if !c.Tied {
		head += embed
	}
	return 4 * (embed + int64(c.Layers)*layer + head)
}

// layerElements is the number of weights of one layer.
func (c *Config) layerElements() int64 {
	return int64(c.Hidden) * (2 + int64(c.QKV()) + int64(c.Heads*c.HeadDim) + 3*int64(c.Intermediate))
}

// NewFloatWeights reads the checkpoint of c. With stream, nothing is kept:
// each layer, and the head, is read when it is acquired, into memory of
// FloatBytes(c, true), and embedding rows one by one, so a checkpoint that is
// larger than memory can be evaluated. pool runs the products; read is called
// by one goroutine at a time.
func NewFloatWeights(ctx context.Context, c Config, read RowReader, pool model.Pool, stream bool) (*FloatWeights, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	w := &FloatWeights{config: c, read: read, pool: pool, tiles: make([][]float32, pool.Workers())}
	for i := range w.tiles {
		w.tiles[i] = make([]float32, tileRows*tileTokens)
	}
	if stream {
		w.buffer = make([]float32, FloatBytes(c, true)/4)
		return w, nil
	}
	w.embed = make([]float32, c.Vocab*c.Hidden)
	if err := read("model.embed_tokens.weight", 0, c.Vocab, w.embed); err != nil {
		return nil, err
	}
	for i := range c.Layers {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		l, err := w.loadLayer(i, make([]float32, c.layerElements()))
		if err != nil {
			return nil, err
		}
		w.layers = append(w.layers, l)
	}
	var err error
	if w.head, err = w.loadHead(nil, w.embed); err != nil {
		return nil, err
	}
	return w, nil
}

// Embed writes the embedding rows of ids.
func (w *FloatWeights) Embed(_ context.Context, dst []float32, ids []int32) error {
	h := w.config.Hidden
	if len(dst) < len(ids)*h {
		return fmt.Errorf("llama: embedding %d tokens into %d elements", len(ids), len(dst))
	}
	for t, id := range ids {
		if id < 0 || int(id) >= w.config.Vocab {
			return fmt.Errorf("llama: %w: token %d is outside the vocabulary of %d", model.ErrInvalid, id, w.config.Vocab)
		}
		row := dst[t*h : (t+1)*h]
		if w.embed != nil {
			copy(row, w.embed[int(id)*h:])
		} else if err := w.read("model.embed_tokens.weight", int(id), 1, row); err != nil {
			return err
		}
	}
	return nil
}

// Acquire returns layer i, reading it first when streaming.
func (w *FloatWeights) Acquire(_ context.Context, i int) (*Layer, func(), error) {
	if i < 0 || i >= w.config.Layers {
		return nil, nil, fmt.Errorf("llama: no layer %d of %d", i, w.config.Layers)
	}
	if w.layers != nil {
		return &w.layers[i], func() {}, nil
	}
	l, err := w.loadLayer(i, w.buffer)
	if err != nil {
		return nil, nil, err
	}
	return &l, func() {}, nil
}

// AcquireHead returns the head, reading it first when streaming.
func (w *FloatWeights) AcquireHead(context.Context) (*Head, func(), error) {
	if w.layers != nil {
		return &w.head, func() {}, nil
	}
	h, err := w.loadHead(w.buffer, nil)
	if err != nil {
		return nil, nil, err
	}
	return &h, func() {}, nil
}

// loadLayer reads one layer into memory of layerElements. Tensors that share
// an input are joined by reading them one below the other.
func (w *FloatWeights) loadLayer(i int, memory []float32) (Layer, error) {
	c, prefix, err := &w.config, fmt.Sprintf("model.layers.%d.", i), error(nil)
	load := func(name string, rows, cols int) []float32 {
		m := memory[: rows*cols : rows*cols]
		memory = memory[rows*cols:]
		if err == nil {
			err = w.read(prefix+name+".weight", 0, rows, m)
		}
		return m
	}
	join := func(cols int, parts ...part) *matrix {
		whole, rows := memory, 0
		for _, p := range parts {
			load(p.name, p.rows, cols)
			rows += p.rows
		}
		return w.matrix(whole[:rows*cols], rows, cols)
	}
	h, q, k := c.Hidden, c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	l := Layer{
		AttnNorm: load("input_layernorm", 1, h),
		QKV:      join(h, part{"self_attn.q_proj", q}, part{"self_attn.k_proj", k}, part{"self_attn.v_proj", k}),
		Out:      join(q, part{"self_attn.o_proj", h}),
		FFNNorm:  load("post_attention_layernorm", 1, h),
		GateUp:   join(h, part{"mlp.gate_proj", c.Intermediate}, part{"mlp.up_proj", c.Intermediate}),
		Down:     join(c.Intermediate, part{"mlp.down_proj", h}),
	}
	return l, err
}

// part is one of the tensors that are joined into one matrix.
type part struct {
	name string
	rows int
}

// loadHead reads the last norm and the projection to logits into memory, or
// into memory of its own if that is nil. A tied head is embed, or is read from
// the embedding's tensor if that is nil.
func (w *FloatWeights) loadHead(memory, embed []float32) (Head, error) {
	c := &w.config
	n, name := c.Vocab*c.Hidden, "lm_head.weight"
	if c.Tied {
		name = "model.embed_tokens.weight"
	}
	shared := c.Tied && embed != nil
	if memory == nil {
		size := c.Hidden
		if !shared {
			size += n
		}
		memory = make([]float32, size)
	}
	norm := memory[:c.Hidden]
	if err := w.read("model.norm.weight", 0, 1, norm); err != nil {
		return Head{}, err
	}
	logits := embed
	if !shared {
		logits = memory[c.Hidden : c.Hidden+n]
		if err := w.read(name, 0, c.Vocab, logits); err != nil {
			return Head{}, err
		}
	}
	return Head{Norm: norm, Logits: w.matrix(logits, c.Vocab, c.Hidden)}, nil
}

// A product is cut into tiles that stay in the second-level cache.
const (
	tileRows   = 64
	tileTokens = 64
)

// matrix is a float32 operator.
type matrix struct {
	w          []float32 // (rows, cols)
	rows, cols int
	pool       model.Pool
	tiles      [][]float32 // per worker, tileRows*tileTokens
	dst, x     []float32   // of the Apply at hand
	n          int
	run        func(worker, i int) // applyTile, bound once
}

func (w *FloatWeights) matrix(elements []float32, rows, cols int) *matrix {
	m := &matrix{w: elements, rows: rows, cols: cols, pool: w.pool, tiles: w.tiles}
	m.run = m.applyTile
	return m
}

// Dims returns the output and input widths.
func (m *matrix) Dims() (rows, cols int) { return m.rows, m.cols }

// Apply computes n products.
func (m *matrix) Apply(dst, x []float32, n int) error {
	if n < 0 || len(dst) < n*m.rows || len(x) < n*m.cols {
		return fmt.Errorf("llama: product of a %d x %d matrix with %d vectors: operands too short", m.rows, m.cols, n)
	}
	m.dst, m.x, m.n = dst, x, n
	m.pool.For((m.rows+tileRows-1)/tileRows, m.run)
	m.dst, m.x = nil, nil
	return nil
}

// applyTile computes tileRows outputs of all vectors.
func (m *matrix) applyTile(worker, i int) {
	row := i * tileRows
	rows := min(tileRows, m.rows-row)
	w := m.w[row*m.cols : (row+rows)*m.cols]
	if m.n == 1 {
		kern.MatMulF32(m.dst[row:row+rows], w, m.x, rows, m.cols, 1)
		return
	}
	tile := m.tiles[worker]
	for t := 0; t < m.n; t += tileTokens {
		tokens := min(tileTokens, m.n-t)
		kern.MatMulF32(tile, w, m.x[t*m.cols:], rows, m.cols, tokens)
		for j := range tokens {
			copy(m.dst[(t+j)*m.rows+row:][:rows], tile[j*rows:])
		}
	}
}
