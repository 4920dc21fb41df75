package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

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
	bytes    int64 // that one product decodes; 0 if it is unpacked
}

// binder makes operators of coded units.
type binder struct {
	units []unit
	ws    *decode.Workspace
	meter *meter
}

// newBinder makes the binder for the units of d's plan.
func newBinder(d *draft, f *loader.Model, ws *decode.Workspace, m *meter) *binder {
	b := &binder{units: d.units, ws: ws, meter: m}
	if d.split {
		b.units = d.pieces.units()
	}
	for i, u := range d.plan.Units {
		if u.Placement == plan.Streamed {
			for k := range b.units[i].parts {
				b.units[i].parts[k].checkLate(f)
			}
		}
	}
	return b
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
	v, err := b.bind(i, ops)
	if err == nil {
		v.bytes = u.codedBytes()
		v.products = &metered{Linear: v.products, m: b.meter, bytes: v.bytes}
	}
	return v, err
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
	return b.bind(i, ops)
}

// bind joins the operators of unit i's parts.
func (b *binder) bind(i int, ops []decode.Operator) (*bound, error) {
	u := &b.units[i]
	if u.factors == nil {
		return &bound{op: ops[0], products: ops[0]}, nil
	}
	f, err := decode.NewFactored(u.factors, ops, b.ws)
	if err != nil {
		return nil, fmt.Errorf("unit %d: %w", i, err)
	}
	return &bound{products: f}, nil
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
	meter  *meter
	log    *slog.Logger
	cfg    llama.Config
	layers []llama.Layer
	ctx    context.Context // of the pass that runs
	norm   []float32
	// embed looks up embedding rows if they are resident; else lookup reads those
	// chunks that it needs and that are not inMemory from the file.
	embed    decode.Operator
	file     *loader.Model
	lookup   *decode.Coded
	tensor   *weights.Tensor
	inMemory [][]byte
	buf      []byte
	head     llama.Head
	logits   *visited
}

// Embed implements llama.Weights.
func (w *storedWeights) Embed(ctx context.Context, dst []float32, ids []int32) error {
	if w.embed != nil {
		return w.embed.Rows(dst, ids)
	}
	return w.lookup.RowsFrom(dst, ids, func(chunk int) ([]byte, error) {
		if data := w.inMemory[chunk]; data != nil {
			return data, nil
		}
		s := w.tensor.Spans[len(w.tensor.Spans)-w.lookup.Chunks()+chunk]
		if cap(w.buf) < s.Len+rans.Slack {
			w.buf = make([]byte, s.Len+rans.Slack)
		}
		data := w.buf[:s.Len]
		err := w.file.ReadSpan(ctx, data, s)
		if w.again(err) {
			err = w.file.ReadSpan(ctx, data, s)
		}
		return data, err
	})
}

// again reports whether err tells of bytes that could not be read, or were damaged
// on their way from the disk: they are worth reading once more.
func (w *storedWeights) again(err error) bool {
	var e *weights.Error
	failed := errors.As(err, &e)
	if failed {
		w.log.Warn("weights are read once more", "error", err)
	}
	return failed
}

// visited is a matrix that is acquired for each of its products: a layer's first
// one is multiplied with while the others are still read.
type visited struct {
	w          *storedWeights
	unit       int // of the plan, or the first of those that are its pieces
	rows, cols int
	pieces     *decode.Pieces // nil if it is in one
}

// Dims implements model.Linear.
func (v *visited) Dims() (rows, cols int) { return v.rows, v.cols }

// Apply implements model.Linear.
func (v *visited) Apply(dst, x []float32, n int) error {
	err := v.apply(dst, x, n)
	if v.w.again(err) {
		err = v.apply(dst, x, n)
	}
	return err
}

func (v *visited) apply(dst, x []float32, n int) error {
	if v.pieces != nil {
		return v.pieces.Apply(dst, x, n)
	}
	b, release, err := v.w.store.Acquire(v.w.ctx, v.unit)
	if err != nil {
		return err
	}
	defer release()
	return b.products.Apply(dst, x, n)
}

// acquirePiece acquires the k-th piece and counts what is done with it.
func (v *visited) acquirePiece(k int) (decode.Operator, func(), error) {
	b, release, err := v.w.store.Acquire(v.w.ctx, v.unit+k)
	if err != nil {
		return nil, nil, err
	}
	start := time.Now()
	return b.op, func() {
		v.w.meter.count(b.bytes, time.Since(start))
		release()
	}, nil
}

// visit makes the layers and the head, whose matrices come from the store.
func (w *storedWeights) visit(d *draft, ws *decode.Workspace) {
	one := func(i, rows, cols int) *visited {
		first, n := d.place(i)
		v := &visited{w: w, unit: first, rows: rows, cols: cols}
		if n > 1 {
			v.pieces = decode.NewPieces(d.units[i].parts[0].Matrix, ws, n, v.acquirePiece)
		}
		return v
	}
	dims := layerDims(w.cfg)
	w.layers = make([]llama.Layer, len(d.layers))
	for i, n := range d.layers {
		var of [len(layerMatrices)]model.Linear
		for k := range of {
			of[k] = one(i*len(of)+k, dims[k][0], dims[k][1])
		}
		w.layers[i] = llama.Layer{AttnNorm: n.attn, QKV: of[0], Out: of[1], FFNNorm: n.ffn, GateUp: of[2], Down: of[3]}
	}
	w.logits = one(headUnit(w.cfg), w.cfg.Vocab, w.cfg.Hidden)
}

// Acquire implements llama.Weights. It waits for nothing: every product waits for
// its matrix.
func (w *storedWeights) Acquire(ctx context.Context, i int) (*llama.Layer, func(), error) {
	w.ctx = ctx
	return &w.layers[i], func() {}, nil
}

// AcquireHead implements llama.Weights. It waits for nothing, as Acquire.
func (w *storedWeights) AcquireHead(ctx context.Context) (*llama.Head, func(), error) {
	w.ctx = ctx
	w.head = llama.Head{Norm: w.norm, Logits: w.logits}
	return &w.head, func() {}, nil
}
