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
// goroutine at a time; products run on its pool. Activations of the windows of a
// run are held per layer, those inside a layer are computed again on the way back.
// Results do not depend on the number of workers, or on which windows run together.
package fisher

import (
	"context"
	"fmt"
	"math"

	"github.com/lamina-llm/lamina/internal/kern"
	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/pack/product"
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

// Losses is Loss for n tokens from the t-th of a run's windows on, whose logits
// follow each other.
type Losses func(t, n int, logits []float32)

// Kinds of a layer's matrices, in the order of the file.
const (
	QKV = iota
	Out
	GateUp
	Down
	Kinds
)

// Sink takes what a pass finds, of one window after another. Slices are valid during
// the call. Gradients are of the sum of the losses of a window.
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
	// Coarse has products take numbers of 8 bits (bfloat16) where the processor
	// multiplies such: for statistics, in less than half the time. It is set before
	// anything runs.
	Coarse bool

	config llama.Config
	w      Weights
	pool   model.Pool
	window int

	products *product.Runner
	heads    []product.Head // per worker
	rows     [][]float32    // per worker, of Hidden or Intermediate

	freq  []float32
	cos   []float32 // window x HeadDim/2
	sin   []float32
	minus []float32 // -sin

	states           [][][]float32 // per window and layer, its input
	dx               [][]float32   // per window
	normed, qkv, att []float32
	mid, normed2     []float32
	gateUp, act      []float32
	dh, dqkv, datt   []float32
	dgu, dact        []float32
	dk, dv           [][]float32 // per head
	logits           []float32
	weights          panels
	head, turned     kern.Panels // output matrix, and transposed
}

// panels are the matrices of a layer, and those transposed: what is in a slice of a
// Layer is packed once for all windows.
type panels struct{ own, turned [Kinds]kern.Panels }

const strip = 128 // tokens whose logits exist at a time

// New returns a model for windows of up to window tokens.
func New(c llama.Config, w Weights, pool model.Pool, window int) (*Model, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if window < 1 {
		return nil, fmt.Errorf("fisher: window of %d tokens", window)
	}
	m := &Model{config: c, w: w, pool: pool, window: window, products: product.New(pool)}
	h, q, f, d := c.Hidden, c.Heads*c.HeadDim, c.Intermediate, c.HeadDim
	make32 := func(n int) []float32 { return make([]float32, window*n) }
	m.normed, m.normed2, m.mid, m.dh = make32(h), make32(h), make32(h), make32(h)
	m.qkv, m.att = make32(c.QKV()), make32(q)
	m.gateUp, m.act = make32(2*f), make32(f)
	m.freq = c.InverseFrequencies()
	m.cos, m.sin, m.minus = make32(d/2), make32(d/2), make32(d/2)
	for t := range window {
		for i, w := range m.freq {
			s, c := math.Sincos(float64(float32(t) * w))
			at := t*len(m.freq) + i
			m.cos[at], m.sin[at], m.minus[at] = float32(c), float32(s), float32(-s)
		}
	}
	m.heads = make([]product.Head, pool.Workers())
	for range pool.Workers() {
		m.rows = append(m.rows, make([]float32, max(h, f)))
	}
	return m, nil
}

// reserve makes room for windows, and with back for the way back.
func (m *Model) reserve(windows [][]int32, back bool) error {
	c := &m.config
	for i, ids := range windows {
		if len(ids) > m.window {
			return fmt.Errorf("fisher: window of %d tokens is too long", len(ids))
		}
		if i == len(m.states) {
			m.states = append(m.states, nil)
			for range c.Layers + 1 {
				m.states[i] = append(m.states[i], make([]float32, m.window*c.Hidden))
			}
		}
		if back && i == len(m.dx) {
			m.dx = append(m.dx, make([]float32, m.window*c.Hidden))
		}
	}
	if m.logits == nil {
		m.logits = make([]float32, min(strip, m.window)*c.Vocab)
	}
	if back && m.dqkv == nil {
		make32 := func(n int) []float32 { return make([]float32, m.window*n) }
		m.dqkv, m.datt = make32(c.QKV()), make32(c.Heads*c.HeadDim)
		m.dgu, m.dact = make32(2*c.Intermediate), make32(c.Intermediate)
		for range c.Heads {
			m.dk, m.dv = append(m.dk, make32(c.HeadDim)), append(m.dv, make32(c.HeadDim))
		}
	}
	return nil
}

// Bytes returns the memory that a model takes for runs of one window forward and
// backward, about.
func Bytes(c llama.Config, window, workers int) int64 {
	h, q, f := c.Hidden, c.Heads*c.HeadDim, c.Intermediate
	per := int64(c.Layers+7)*int64(h) + 2*int64(c.QKV()) + 4*int64(q) + 6*int64(f) + int64(max(f, c.QKV()))
	n := 4*(int64(window)*per+int64(min(strip, window))*2*int64(c.Vocab)) + int64(workers)*(product.HeadBytes(window, c.HeadDim)+product.WorkerBytes(0))
	for _, d := range [][2]int{{c.Vocab, h}, {c.QKV(), h}, {h, q}, {2 * f, h}, {h, f}} {
		n += kern.PanelBytes(d[0], d[1], false) + kern.PanelBytes(d[1], d[0], false)
	}
	return n
}

// WindowBytes returns the memory that each window more of a run takes.
func WindowBytes(c llama.Config, window int) int64 {
	return 4 * int64(window) * int64(c.Layers+2) * int64(c.Hidden)
}

// Forward runs a window and calls each with the logits after every token, in
// order. They are valid during the call.
func (m *Model) Forward(ctx context.Context, ids []int32, each func(t int, logits []float32) error) error {
	if err := m.forward(ctx, [][]int32{ids}, false, nil); err != nil {
		return err
	}
	norm, head, err := m.w.Head()
	if err != nil {
		return err
	}
	m.products.Pack(&m.head, head, m.config.Vocab, m.config.Hidden, m.Coarse)
	vocab := m.config.Vocab
	var failed error
	m.strips(0, len(ids), norm, func(at, n int) {
		for t := range n {
			if failed == nil {
				failed = each(at+t, m.logits[t*vocab:(t+1)*vocab])
			}
		}
	})
	return failed
}

// strips computes the logits of window w strip by strip and calls each for n tokens from at.
func (m *Model) strips(w, n int, norm []float32, each func(at, n int)) {
	c := &m.config
	m.norm(m.normed, m.states[w][c.Layers], norm, n)
	for at := 0; at < n; at += strip {
		k := min(strip, n-at)
		m.products.Multiply(m.logits, &m.head, m.normed[at*c.Hidden:], k)
		each(at, k)
	}
}

// Run runs a window forward and backward.
func (m *Model) Run(ctx context.Context, ids []int32, loss Loss, sink Sink) error {
	vocab := m.config.Vocab
	each := func(t, n int, logits []float32) {
		for i := range n {
			loss(t+i, logits[i*vocab:(i+1)*vocab])
		}
	}
	return m.RunAll(ctx, 0, [][]int32{ids}, each, sink)
}

// RunAll runs several windows, which do not see each other, forward and
// backward, so that weights are fetched once for all of them. The way
// back ends with layer lowest, 0 to the number of layers; the embedding comes after
// layer 0.
func (m *Model) RunAll(ctx context.Context, lowest int, windows [][]int32, loss Losses, sink Sink) error {
	if err := m.forward(ctx, windows, true, nil); err != nil {
		return err
	}
	c := &m.config
	h := c.Hidden
	norm, head, err := m.w.Head()
	if err != nil {
		return err
	}
	m.products.Pack(&m.head, head, c.Vocab, h, m.Coarse)
	m.products.Turn(&m.turned, head, c.Vocab, h, m.Coarse)
	first := 0
	for w, ids := range windows {
		n := len(ids)
		m.strips(w, n, norm, func(at, k int) {
			loss(first+at, k, m.logits[:k*c.Vocab])
			m.products.Multiply(m.dh[at*h:], &m.turned, m.logits, k)
		})
		first += n
		sink.Head(m.normed[:n*h], m.dh[:n*h], n)
		clear(m.dx[w][:n*h])
		m.normBack(m.dx[w], m.dh, m.states[w][c.Layers], norm, n)
	}
	for i := c.Layers - 1; i >= lowest; i-- {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		l, err := m.w.Layer(i)
		if err != nil {
			return err
		}
		m.packLayer(l, true)
		for w, ids := range windows {
			m.backward(i, l, w, len(ids), sink)
		}
	}
	if lowest == 0 {
		for w, ids := range windows {
			sink.Embedding(ids, m.dx[w][:len(ids)*h])
		}
	}
	return nil
}

// Observe runs several windows forward alone: the sink's Linear and Head are called
// without gradients, and what the loss makes of logits is dropped.
func (m *Model) Observe(ctx context.Context, windows [][]int32, loss Losses, sink Sink) error {
	if err := m.forward(ctx, windows, false, sink); err != nil {
		return err
	}
	c := &m.config
	norm, head, err := m.w.Head()
	if err != nil {
		return err
	}
	m.products.Pack(&m.head, head, c.Vocab, c.Hidden, m.Coarse)
	first := 0
	for w, ids := range windows {
		n := len(ids)
		m.strips(w, n, norm, func(at, k int) { loss(first+at, k, m.logits[:k*c.Vocab]) })
		first += n
		sink.Head(m.normed[:n*c.Hidden], nil, n)
	}
	return nil
}

// forward fills states. A sink takes inputs.
func (m *Model) forward(ctx context.Context, windows [][]int32, back bool, sink Sink) error {
	if err := m.reserve(windows, back); err != nil {
		return err
	}
	c := &m.config
	for w, ids := range windows {
		for t, id := range ids {
			row, err := m.w.Embedding(id)
			if err != nil {
				return err
			}
			copy(m.states[w][0][t*c.Hidden:], row)
		}
	}
	for i := range c.Layers {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		l, err := m.w.Layer(i)
		if err != nil {
			return err
		}
		m.packLayer(l, false)
		for w, ids := range windows {
			n := len(ids)
			in, base := m.input(l, Down, m.states[w][i], n)
			if sink != nil {
				sink.Linear(i, QKV, m.normed[:n*c.Hidden], nil, nil, n)
				sink.Linear(i, Out, m.att[:n*c.Heads*c.HeadDim], nil, nil, n)
				sink.Linear(i, GateUp, m.normed2[:n*c.Hidden], nil, nil, n)
				sink.Linear(i, Down, in, nil, nil, n)
			}
			out := m.states[w][i+1][:n*c.Hidden]
			m.products.Multiply(out, &m.weights.own[Down], in, n)
			m.add(out, base, n)
		}
	}
	return nil
}
