// Package fisher says what errors of a model's weights cost: it runs a float32
// model forward and backward over windows of tokens and hands out, for every
// matrix, its inputs and the gradients of its outputs.
//
// At the source model itself the divergence KL(source || changed) has no slope,
// and its curvature is the Fisher information: the mean square of the gradients
// of log-likelihood for tokens drawn from the model's own predictions
// (Martens and Grosse, K-FAC, 2015). Away from it, gradients of the divergence
// itself tune what was changed. Which of the two is up to the [Loss].
//
// The package reads no file and keeps no statistics. A Model is used by one
// goroutine at a time; products run on its pool. Activations of one window are
// held per layer, those inside a layer are computed again on the way back.
package fisher

import (
	"context"
	"fmt"
	"math"

	"github.com/lamina-llm/lamina/internal/kern"
	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/llama"
)

// Layer holds the weights of a transformer block, matrices row by row.
type Layer struct {
	AttnNorm []float32 // Hidden
	QKV      []float32 // QKV() x Hidden: queries, keys, values
	Out      []float32 // Hidden x Heads*HeadDim
	FFNNorm  []float32 // Hidden
	GateUp   []float32 // 2*Intermediate x Hidden
	Down     []float32 // Hidden x Intermediate
}

// Weights gives a model's weights. Slices stay the callee's; those of a layer
// are valid until the next call of Layer.
type Weights interface {
	// Embedding returns the row of a token, valid until the next call.
	Embedding(id int32) ([]float32, error)
	// Layer returns layer i.
	Layer(i int) (*Layer, error)
	// Head returns the last norm (Hidden) and the output matrix (Vocab x Hidden).
	Head() (norm, head []float32, err error)
}

// Loss turns the logits after token t of the window into their gradient, in
// place. It is called for one token after another.
type Loss func(t int, logits []float32)

// Kinds of a layer's matrices, in the order of the file.
const (
	QKV = iota
	Out
	GateUp
	Down
	Kinds
)

// Sink takes what a pass finds. Slices are valid during the call. Gradients are
// of the sum of the losses of a window.
type Sink interface {
	// Linear takes n inputs of a matrix, its outputs' gradients dy, and the
	// inputs' gradients dx.
	Linear(layer, kind int, x, dy, dx []float32, n int)
	// Head takes n outputs of the last norm and their gradients.
	Head(x, dx []float32, n int)
	// Embedding takes the gradients of n embedding rows.
	Embedding(ids []int32, dx []float32)
}

// Model runs windows.
type Model struct {
	config llama.Config
	w      Weights
	pool   model.Pool
	freq   []float32
	cos    []float32 // window x HeadDim/2
	sin    []float32

	states             [][]float32 // per layer, its input
	normed, qkv, att   []float32
	mid, normed2       []float32
	gateUp, act        []float32
	dx, dh, dqkv, datt []float32
	dgu, dact          []float32
	logits             []float32
	turned             []float32 // a matrix transposed
	head               []float32 // transposed
	heads              []headScratch
}

// headScratch is what one attention head needs, per worker.
type headScratch struct {
	q, k, v, do, o, dq, dk, dv []float32
	p, dp, t, t2               []float32
}

const strip = 64 // tokens whose logits exist at a time

// New returns a model for windows of up to window tokens.
func New(c llama.Config, w Weights, pool model.Pool, window int) (*Model, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if window < 1 {
		return nil, fmt.Errorf("fisher: window of %d tokens", window)
	}
	m := &Model{config: c, w: w, pool: pool}
	h, q, f, d := c.Hidden, c.Heads*c.HeadDim, c.Intermediate, c.HeadDim
	make32 := func(n int) []float32 { return make([]float32, window*n) }
	for range c.Layers + 1 {
		m.states = append(m.states, make32(h))
	}
	m.normed, m.normed2, m.mid = make32(h), make32(h), make32(h)
	m.qkv, m.dqkv = make32(c.QKV()), make32(c.QKV())
	m.att, m.datt = make32(q), make32(q)
	m.gateUp, m.dgu = make32(2*f), make32(2*f)
	m.act, m.dact = make32(f), make32(f)
	m.dx, m.dh = make32(h), make32(h)
	m.logits = make([]float32, strip*c.Vocab)
	m.turned = make([]float32, h*max(c.QKV(), q, 2*f))
	m.head = make([]float32, h*c.Vocab)
	m.freq = c.InverseFrequencies()
	m.cos, m.sin = make32(d/2), make32(d/2)
	for t := range window {
		for i, w := range m.freq {
			s, c := math.Sincos(float64(float32(t) * w))
			m.cos[t*len(m.freq)+i], m.sin[t*len(m.freq)+i] = float32(c), float32(s)
		}
	}
	for range pool.Workers() {
		m.heads = append(m.heads, headScratch{
			q: make32(d), k: make32(d), v: make32(d), do: make32(d), o: make32(d), dq: make32(d), dk: make32(d), dv: make32(d),
			p: make32(window), dp: make32(window), t: make32(window), t2: make32(d),
		})
	}
	return m, nil
}

// Bytes returns the memory that New takes, about.
func Bytes(c llama.Config, window, workers int) int64 {
	h, f := int64(c.Hidden), int64(c.Intermediate)
	per := int64(c.Layers+6)*h + 4*int64(c.QKV()) + 6*f + int64(workers)*(9*int64(c.HeadDim)+3*int64(window))
	return 4 * (int64(window)*per + (strip+h)*int64(c.Vocab) + h*2*f)
}

// Forward runs a window and calls each with the logits after every token, in
// order. They are valid during the call.
func (m *Model) Forward(ctx context.Context, ids []int32, each func(t int, logits []float32) error) error {
	if err := m.forward(ctx, ids); err != nil {
		return err
	}
	c, n := &m.config, len(ids)
	norm, head, err := m.w.Head()
	if err != nil {
		return err
	}
	x := m.states[c.Layers]
	m.norm(m.normed, x, norm, n)
	for at := 0; at < n; at += strip {
		k := min(strip, n-at)
		m.product(m.logits, head, m.normed[at*c.Hidden:], c.Vocab, c.Hidden, k)
		for t := range k {
			if err := each(at+t, m.logits[t*c.Vocab:(t+1)*c.Vocab]); err != nil {
				return err
			}
		}
	}
	return nil
}

// Run runs a window forward and backward.
func (m *Model) Run(ctx context.Context, ids []int32, loss Loss, sink Sink) error {
	return m.RunTo(ctx, 0, ids, loss, sink)
}

// RunTo is Run whose way back ends with layer lowest, 0 to the number of layers;
// the embedding comes after layer 0.
func (m *Model) RunTo(ctx context.Context, lowest int, ids []int32, loss Loss, sink Sink) error {
	if err := m.forward(ctx, ids); err != nil {
		return err
	}
	c, n := &m.config, len(ids)
	h := c.Hidden
	norm, head, err := m.w.Head()
	if err != nil {
		return err
	}
	m.turn(m.head, head, c.Vocab, h)
	x := m.states[c.Layers]
	m.norm(m.normed, x, norm, n)
	for at := 0; at < n; at += strip {
		k := min(strip, n-at)
		m.product(m.logits, head, m.normed[at*h:], c.Vocab, h, k)
		for t := range k { // in order, so that sums come out the same every time
			loss(at+t, m.logits[t*c.Vocab:(t+1)*c.Vocab])
		}
		m.product(m.dh[at*h:], m.head, m.logits, h, c.Vocab, k)
	}
	sink.Head(m.normed[:n*h], m.dh[:n*h], n)
	clear(m.dx[:n*h])
	m.normBack(m.dx, m.dh, x, norm, n)
	for i := c.Layers - 1; i >= lowest; i-- {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		l, err := m.w.Layer(i)
		if err != nil {
			return err
		}
		m.backward(i, l, n, sink)
	}
	if lowest == 0 {
		sink.Embedding(ids, m.dx[:n*h])
	}
	return nil
}

// forward fills states.
func (m *Model) forward(ctx context.Context, ids []int32) error {
	c, n := &m.config, len(ids)
	if n*c.Hidden > len(m.states[0]) {
		return fmt.Errorf("fisher: window of %d tokens is too long", n)
	}
	for t, id := range ids {
		row, err := m.w.Embedding(id)
		if err != nil {
			return err
		}
		copy(m.states[0][t*c.Hidden:], row)
	}
	for i := range c.Layers {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		l, err := m.w.Layer(i)
		if err != nil {
			return err
		}
		m.block(i, l, n)
		out := m.states[i+1][:n*c.Hidden]
		m.product(out, l.Down, m.act, c.Hidden, c.Intermediate, n)
		m.add(out, m.mid, n)
	}
	return nil
}

// block computes everything inside layer i but its last product.
func (m *Model) block(i int, l *Layer, n int) { m.Input(l, Down, m.states[i], n) }

// Input returns what a matrix of a layer is given when the layer is given n
// states x (n x Hidden), and what its outputs are added to, nil if to nothing. It reads
// only the matrices before that one. Both are valid until the next call of a method.
func (m *Model) Input(l *Layer, kind int, x []float32, n int) (in, base []float32) {
	c := &m.config
	h, q, f := c.Hidden, c.Heads*c.HeadDim, c.Intermediate
	m.norm(m.normed, x, l.AttnNorm, n)
	if kind == QKV {
		return m.normed[:n*h], nil
	}
	m.product(m.qkv, l.QKV, m.normed, c.QKV(), h, n)
	m.rotate(m.qkv, n, false)
	m.pool.For(c.Heads, func(worker, head int) { m.attend(&m.heads[worker], head, n) })
	if kind == Out {
		return m.att[:n*q], x[:n*h]
	}
	m.product(m.mid, l.Out, m.att, h, q, n)
	m.add(m.mid, x, n)
	m.norm(m.normed2, m.mid, l.FFNNorm, n)
	if kind == GateUp {
		return m.normed2[:n*h], nil
	}
	m.product(m.gateUp, l.GateUp, m.normed2, 2*f, h, n)
	m.pool.For(n, func(_, t int) {
		gu := m.gateUp[t*2*f : (t+1)*2*f]
		kern.SwiGLU(m.act[t*f:(t+1)*f], gu[:f], gu[f:])
	})
	return m.act[:n*f], m.mid[:n*h]
}

// Product computes dst[t] = w x[t] for n vectors; w is rows x cols.
func (m *Model) Product(dst, w, x []float32, rows, cols, n int) { m.product(dst, w, x, rows, cols, n) }

// backward takes dx from the output of layer i to its input.
func (m *Model) backward(i int, l *Layer, n int, sink Sink) {
	c := &m.config
	h, q, f := c.Hidden, c.Heads*c.HeadDim, c.Intermediate
	m.block(i, l, n)

	m.back(m.dact, m.dx, l.Down, h, f, n)
	sink.Linear(i, Down, m.act[:n*f], m.dx[:n*h], m.dact[:n*f], n)
	m.pool.For(n, func(_, t int) {
		gu, dgu, da := m.gateUp[t*2*f:(t+1)*2*f], m.dgu[t*2*f:(t+1)*2*f], m.dact[t*f:(t+1)*f]
		for j := range f {
			g, u := gu[j], gu[f+j]
			s := float32(1 / (1 + math.Exp(-float64(g))))
			dgu[f+j] = da[j] * g * s
			dgu[j] = da[j] * u * s * (1 + g*(1-s))
		}
	})
	m.back(m.dh, m.dgu, l.GateUp, 2*f, h, n)
	sink.Linear(i, GateUp, m.normed2[:n*h], m.dgu[:n*2*f], m.dh[:n*h], n)
	m.normBack(m.dx, m.dh, m.mid, l.FFNNorm, n)

	m.back(m.datt, m.dx, l.Out, h, q, n)
	sink.Linear(i, Out, m.att[:n*q], m.dx[:n*h], m.datt[:n*q], n)
	group := c.Heads / c.KVHeads
	m.pool.For(c.KVHeads, func(worker, kv int) {
		for head := kv * group; head < (kv+1)*group; head++ {
			m.attendBack(&m.heads[worker], head, n, head == kv*group)
		}
	})
	m.rotate(m.dqkv, n, true)
	m.back(m.dh, m.dqkv, l.QKV, c.QKV(), h, n)
	sink.Linear(i, QKV, m.normed[:n*h], m.dqkv[:n*c.QKV()], m.dh[:n*h], n)
	m.normBack(m.dx, m.dh, m.states[i], l.AttnNorm, n)
}
