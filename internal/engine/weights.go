package engine

import (
	"context"
	"fmt"

	"github.com/lamina-llm/lamina/decode"
	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/loader"
	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/runtime/residency"
	"github.com/lamina-llm/lamina/weights"
)

var _ residency.Source = (*loader.Model)(nil)

// bound is a unit in memory.
type bound struct {
	layer  llama.Layer
	op     decode.Operator // the only matrix of a unit that is no layer
	logits model.Linear    // its products
}

// binder makes operators of coded units.
type binder struct {
	units  []unit
	layers int
	ws     *decode.Workspace
	meter  *meter
}

// Bind implements residency.Binder: products straight from the coded bytes.
func (b *binder) Bind(i int, coded []byte) (*bound, error) {
	u := &b.units[i]
	ops := make([]decode.Operator, len(u.parts))
	for k := range u.parts {
		if err := u.parts[k].attach(coded); err != nil {
			return nil, fmt.Errorf("unit %d: %w", i, err)
		}
		ops[k] = decode.NewCoded(u.parts[k].Matrix, b.ws)
	}
	return b.bind(i, ops, b.meter.metered)
}

// Unpack implements residency.Binder: levels decoded once.
func (b *binder) Unpack(i int, coded, dst []byte) (*bound, error) {
	u := &b.units[i]
	ops := make([]decode.Operator, len(u.parts))
	for k := range u.parts {
		p := &u.parts[k]
		if err := p.attach(coded); err != nil {
			return nil, fmt.Errorf("unit %d: %w", i, err)
		}
		n := p.UnpackedBytes()
		op, err := decode.Unpack(p.Matrix, b.ws, dst[:n:n])
		if err != nil {
			return nil, fmt.Errorf("unit %d: %w", i, err)
		}
		dst, ops[k] = dst[n:], op
	}
	return b.bind(i, ops, func(op model.Linear, _ []part) model.Linear { return op })
}

// bind joins the operators of unit i's parts and has each of the results
// wrapped.
func (b *binder) bind(i int, ops []decode.Operator, wrap func(op model.Linear, of []part) model.Linear) (*bound, error) {
	u := &b.units[i]
	if i >= b.layers {
		return &bound{op: ops[0], logits: wrap(ops[0], u.parts)}, nil
	}
	var whole [len(layerMatrices)]model.Linear
	parts := u.parts
	for k, s := range u.ops {
		whole[k] = ops[0]
		if s.factors != nil {
			f, err := decode.NewFactored(s.factors, ops[:s.n], b.ws)
			if err != nil {
				return nil, fmt.Errorf("unit %d: %w", i, err)
			}
			whole[k] = f
		}
		whole[k] = wrap(whole[k], parts[:s.n])
		ops, parts = ops[s.n:], parts[s.n:]
	}
	return &bound{layer: llama.Layer{
		AttnNorm: u.attnNorm, QKV: whole[0], Out: whole[1], FFNNorm: u.ffnNorm, GateUp: whole[2], Down: whole[3],
	}}, nil
}

// unpackedBytes is what unit i takes decoded.
func (u *unit) unpackedBytes() (n int64) {
	for _, p := range u.parts {
		n += p.UnpackedBytes()
	}
	return n
}

// storedWeights gives the forward pass its parameters from a residency store.
type storedWeights struct {
	store *residency.Store[*bound]
	cfg   llama.Config
	norm  []float32
	// embed looks up embedding rows if they are resident; else lookup reads the
	// chunks that it needs from the file.
	embed  decode.Operator
	file   *loader.Model
	lookup *decode.Coded
	tensor *weights.Tensor
	buf    []byte
	head   llama.Head
}

// Embed implements llama.Weights.
func (w *storedWeights) Embed(ctx context.Context, dst []float32, ids []int32) error {
	if w.embed != nil {
		return w.embed.Rows(dst, ids)
	}
	return w.lookup.RowsFrom(dst, ids, func(chunk int) ([]byte, error) {
		s := w.tensor.Spans[len(w.tensor.Spans)-w.lookup.Chunks()+chunk]
		if cap(w.buf) < s.Len+rans.Slack {
			w.buf = make([]byte, s.Len+rans.Slack)
		}
		data := w.buf[:s.Len]
		return data, w.file.ReadSpan(ctx, data, s)
	})
}

// Acquire implements llama.Weights.
func (w *storedWeights) Acquire(ctx context.Context, i int) (*llama.Layer, func(), error) {
	b, release, err := w.store.Acquire(ctx, i)
	if err != nil {
		return nil, nil, err
	}
	return &b.layer, release, nil
}

// AcquireHead implements llama.Weights.
func (w *storedWeights) AcquireHead(ctx context.Context) (*llama.Head, func(), error) {
	b, release, err := w.store.Acquire(ctx, w.cfg.Layers)
	if err != nil {
		return nil, nil, err
	}
	w.head = llama.Head{Norm: w.norm, Logits: b.logits}
	return &w.head, release, nil
}
