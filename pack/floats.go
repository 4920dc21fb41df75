package pack

import (
	"errors"
	"fmt"

	"github.com/lamina-llm/lamina/internal/source"
	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/pack/fisher"
)

// floats is the source model in float32 for package fisher: held, or read
// layer by layer.
type floats struct {
	src    *source.Source
	pool   model.Pool
	config llama.Config
	layers []*fisher.Layer // nil when streaming
	buffer *fisher.Layer   // one layer, when streaming
	embed  []float32       // nil when streaming
	row    []float32
	norm   []float32
	head   []float32
}

func newFloats(src *source.Source, hold bool, pool model.Pool) (*floats, error) {
	c := src.Config()
	f := &floats{src: src, pool: pool, config: c, row: make([]float32, c.Hidden), norm: make([]float32, c.Hidden), head: make([]float32, c.Vocab*c.Hidden)}
	if err := src.ReadRows("model.norm.weight", 0, 1, f.norm); err != nil {
		return nil, err
	}
	name := "lm_head.weight"
	if c.Tied {
		name = "model.embed_tokens.weight"
	}
	if err := f.load(part{name, c.Vocab, f.head}); err != nil {
		return nil, err
	}
	if c.Tied {
		f.embed = f.head
	}
	if !hold {
		f.buffer = newLayer(c)
		return f, nil
	}
	for i := range c.Layers {
		l := newLayer(c)
		if err := f.read(l, i); err != nil {
			return nil, err
		}
		f.layers = append(f.layers, l)
	}
	return f, nil
}

func newLayer(c llama.Config) *fisher.Layer {
	h, q, f := c.Hidden, c.Heads*c.HeadDim, c.Intermediate
	return &fisher.Layer{
		AttnNorm: make([]float32, h), QKV: make([]float32, c.QKV()*h), Out: make([]float32, h*q),
		FFNNorm: make([]float32, h), GateUp: make([]float32, 2*f*h), Down: make([]float32, h*f),
	}
}

// read fills l with layer i.
func (f *floats) read(l *fisher.Layer, i int) error {
	c, prefix := &f.config, fmt.Sprintf("model.layers.%d.", i)
	h, q, k, inner := c.Hidden, c.Heads*c.HeadDim, c.KVHeads*c.HeadDim, c.Intermediate
	of := func(name string, rows int, dst []float32) part { return part{prefix + name + ".weight", rows, dst} }
	return f.load(
		of("input_layernorm", 1, l.AttnNorm),
		of("self_attn.q_proj", q, l.QKV[:q*h]),
		of("self_attn.k_proj", k, l.QKV[q*h:(q+k)*h]),
		of("self_attn.v_proj", k, l.QKV[(q+k)*h:]),
		of("self_attn.o_proj", h, l.Out),
		of("post_attention_layernorm", 1, l.FFNNorm),
		of("mlp.gate_proj", inner, l.GateUp[:inner*h]),
		of("mlp.up_proj", inner, l.GateUp[inner*h:]),
		of("mlp.down_proj", h, l.Down),
	)
}

// part is a tensor of the source and where it goes.
type part struct {
	name string
	rows int
	dst  []float32
}

// load reads tensors, some rows a task.
func (f *floats) load(parts ...part) error {
	const some = 128
	type task struct {
		part
		row0 int
	}
	var tasks []task
	for _, p := range parts {
		for r := 0; r < p.rows; r += some {
			tasks = append(tasks, task{p, r})
		}
	}
	errs := make([]error, len(tasks))
	f.pool.For(len(tasks), func(_, i int) {
		t := tasks[i]
		cols, n := len(t.dst)/t.rows, min(some, t.rows-t.row0)
		errs[i] = f.src.ReadRows(t.name, t.row0, n, t.dst[t.row0*cols:(t.row0+n)*cols])
	})
	return errors.Join(errs...)
}

// Embedding implements fisher.Weights.
func (f *floats) Embedding(id int32) ([]float32, error) {
	h := f.config.Hidden
	if id < 0 || int(id) >= f.config.Vocab {
		return nil, fmt.Errorf("token %d is outside the vocabulary of %d", id, f.config.Vocab)
	}
	if f.embed != nil {
		return f.embed[int(id)*h:][:h], nil
	}
	return f.row, f.src.ReadRows("model.embed_tokens.weight", int(id), 1, f.row)
}

// Layer implements fisher.Weights.
func (f *floats) Layer(i int) (*fisher.Layer, error) {
	if f.layers != nil {
		return f.layers[i], nil
	}
	return f.buffer, f.read(f.buffer, i)
}

// Head implements fisher.Weights.
func (f *floats) Head() (norm, head []float32, err error) { return f.norm, f.head, nil }
