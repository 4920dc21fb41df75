package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/lamina-llm/lamina/decode"
	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/loader"
	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/runtime/plan"
	"github.com/lamina-llm/lamina/runtime/residency"
	"github.com/lamina-llm/lamina/weights"
)

var _ residency.Source = (*loader.Model)(nil)

// bound is a unit in memory.
type bound struct {
	op       decode.Operator // its matrix, if that is not in parts
	products model.Linear
}

// binder makes operators of coded units.
type binder struct {
	units []unit
	ws    *decode.Workspace
	meter *meter
}

// newBinder makes the binder for the units of d, in f.
func newBinder(d *draft, f *loader.Model, ws *decode.Workspace, m *meter) *binder {
	for i, u := range d.plan.Units {
		if u.Placement == plan.Streamed {
			for k := range d.units[i].parts {
				d.units[i].parts[k].checkLate(f)
			}
		}
	}
	return &binder{units: d.units, ws: ws, meter: m}
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

// bind joins the operators of unit i's parts and has the result wrapped.
func (b *binder) bind(i int, ops []decode.Operator, wrap func(op model.Linear, of []part) model.Linear) (*bound, error) {
	u := &b.units[i]
	if u.factors == nil {
		return &bound{op: ops[0], products: wrap(ops[0], u.parts)}, nil
	}
	f, err := decode.NewFactored(u.factors, ops, b.ws)
	if err != nil {
		return nil, fmt.Errorf("unit %d: %w", i, err)
	}
	return &bound{products: wrap(f, u.parts)}, nil
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
	store  *residency.Store[*bound]
	log    *slog.Logger
	cfg    llama.Config
	layers []llama.Layer
	ctx    context.Context // of the pass that runs
	norm   []float32
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

// visited is a matrix that is acquired for each of its products: a layer's first
// one is multiplied with while the others are still read.
type visited struct {
	w          *storedWeights
	unit       int
	rows, cols int
}

// Dims implements model.Linear.
func (v *visited) Dims() (rows, cols int) { return v.rows, v.cols }

// Apply implements model.Linear. What was damaged on its way from the disk is read
// once more.
func (v *visited) Apply(dst, x []float32, n int) error {
	err := v.apply(dst, x, n)
	if errors.Is(err, weights.ErrChecksum) {
		v.w.log.Warn("weights were read wrong; they are read again", "error", err)
		err = v.apply(dst, x, n)
	}
	return err
}

func (v *visited) apply(dst, x []float32, n int) error {
	b, release, err := v.w.store.Acquire(v.w.ctx, v.unit)
	if err != nil {
		return err
	}
	defer release()
	return b.products.Apply(dst, x, n)
}

// visit makes the layers, whose matrices come from the store.
func (w *storedWeights) visit(layers []norms) {
	dims := layerDims(w.cfg)
	w.layers = make([]llama.Layer, len(layers))
	for i, n := range layers {
		var of [len(layerMatrices)]model.Linear
		for k := range of {
			of[k] = &visited{w, i*len(of) + k, dims[k][0], dims[k][1]}
		}
		w.layers[i] = llama.Layer{AttnNorm: n.attn, QKV: of[0], Out: of[1], FFNNorm: n.ffn, GateUp: of[2], Down: of[3]}
	}
}

// Acquire implements llama.Weights. It waits for nothing: every product waits for
// its matrix.
func (w *storedWeights) Acquire(ctx context.Context, i int) (*llama.Layer, func(), error) {
	w.ctx = ctx
	return &w.layers[i], func() {}, nil
}

// AcquireHead implements llama.Weights.
func (w *storedWeights) AcquireHead(ctx context.Context) (*llama.Head, func(), error) {
	b, release, err := w.store.Acquire(ctx, headUnit(w.cfg))
	if err != nil {
		return nil, nil, err
	}
	w.head = llama.Head{Norm: w.norm, Logits: b.products}
	return &w.head, release, nil
}
