package tune

import (
	"context"
	"fmt"
	"math"

	"github.com/lamina-llm/lamina/internal/kern"
	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/pack/fisher"
	"github.com/lamina-llm/lamina/pack/product"
)

// inside holds what a layer computes for the tokens of a batch.
type inside struct {
	x      []float32 // its input, n x Hidden
	qkv    []float32 // queries and keys rotated
	att    []float32
	mid    []float32 // between attention and MLP
	gateUp []float32
}

// network runs batches of windows through models of one shape. Activations of
// the student are kept for the way back, those of the source are not.
type network struct {
	products *product.Runner
	pool     model.Pool
	config   llama.Config
	span     int // tokens of a window, at most
	tokens   int // of a batch, at most
	cos, sin []float32
	heads    []product.Head // per worker

	starts []int // of the windows of the batch, and the end
	layers []inside
	last   []float32 // output of the last layer
	other  inside    // of any layer of the source

	normed, act        []float32
	dx, dh, dqkv, datt []float32
	dgu, dact          []float32
	negative           [][]float32 // per worker, Intermediate
}

func newNetwork(c llama.Config, pool model.Pool, span, windows int) *network {
	n := &network{products: product.New(pool), pool: pool, config: c, span: span, tokens: span * windows}
	h, q, f, d := c.Hidden, c.Heads*c.HeadDim, c.Intermediate, c.HeadDim
	rows := func(width int) []float32 { return make([]float32, n.tokens*width) }
	room := func() inside {
		return inside{x: rows(h), qkv: rows(c.QKV()), att: rows(q), mid: rows(h), gateUp: rows(2 * f)}
	}
	for range c.Layers {
		n.layers = append(n.layers, room())
	}
	n.other, n.last = room(), rows(h)
	n.normed, n.act = rows(h), rows(f)
	n.dx, n.dh, n.dqkv, n.datt, n.dgu, n.dact = rows(h), rows(h), rows(c.QKV()), rows(q), rows(2*f), rows(f)
	freq := c.InverseFrequencies()
	n.cos, n.sin = make([]float32, span*(d/2)), make([]float32, span*(d/2))
	for t := range span {
		for i, w := range freq {
			s, c := math.Sincos(float64(float32(t) * w))
			n.cos[t*len(freq)+i], n.sin[t*len(freq)+i] = float32(c), float32(s)
		}
	}
	n.heads = make([]product.Head, pool.Workers())
	for range pool.Workers() {
		n.negative = append(n.negative, make([]float32, f))
	}
	return n
}

// networkBytes returns the memory of newNetwork, about.
func networkBytes(c llama.Config, span, windows, workers int) int64 {
	h, q, f := int64(c.Hidden), int64(c.Heads*c.HeadDim), int64(c.Intermediate)
	layer := 2*h + int64(c.QKV()) + q + 2*f
	each := int64(c.Layers+1)*layer + 4*h + int64(c.QKV()) + q + 4*f
	worker := product.HeadBytes(span, c.HeadDim) + product.WorkerBytes(span*windows) + 4*f
	return 4*int64(span*windows)*each + int64(workers)*worker
}

// begin takes the windows of a batch.
func (n *network) begin(windows [][]int32) error {
	n.starts = append(n.starts[:0], 0)
	at := 0
	for _, ids := range windows {
		if len(ids) > n.span {
			return fmt.Errorf("tune: window of %d tokens, want up to %d", len(ids), n.span)
		}
		at += len(ids)
		n.starts = append(n.starts, at)
	}
	if at > n.tokens {
		return fmt.Errorf("tune: batch of %d tokens, want up to %d", at, n.tokens)
	}
	return nil
}

// count returns the tokens of the batch.
func (n *network) count() int { return n.starts[len(n.starts)-1] }

// run takes a batch through w and leaves the states after the last layer in
// last; keep leaves what the way back needs in layers.
func (n *network) run(ctx context.Context, w fisher.Weights, windows [][]int32, keep bool) error {
	c, h := &n.config, n.config.Hidden
	x := n.other.x
	if keep {
		x = n.layers[0].x
	}
	at := 0
	for _, ids := range windows {
		for _, id := range ids {
			row, err := w.Embedding(id)
			if err != nil {
				return err
			}
			copy(x[at*h:(at+1)*h], row)
			at++
		}
	}
	for i := range c.Layers {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		l, err := w.Layer(i)
		if err != nil {
			return err
		}
		s, out := &n.other, n.other.x
		switch {
		case keep && i+1 < c.Layers:
			s, out = &n.layers[i], n.layers[i+1].x
		case keep:
			s, out = &n.layers[i], n.last
		case i+1 == c.Layers:
			out = n.last
		}
		n.layer(l, s, out)
	}
	return nil
}

// layer computes a layer from s.x.
func (n *network) layer(l *fisher.Layer, s *inside, out []float32) {
	c, m := &n.config, n.count()
	h, q, f := c.Hidden, c.Heads*c.HeadDim, c.Intermediate
	n.norm(s.x, l.AttnNorm)
	n.products.Forward(s.qkv, l.QKV, n.normed, c.QKV(), h, m)
	n.rotate(s.qkv, false)
	n.pool.For((len(n.starts)-1)*c.Heads, func(worker, i int) {
		at, end := n.starts[i/c.Heads], n.starts[i/c.Heads+1]
		n.attend(&n.heads[worker], s.att[at*q:], s.qkv[at*c.QKV():], i%c.Heads, end-at)
	})
	n.products.Forward(s.mid, l.Out, s.att, h, q, m)
	n.add(s.mid, s.x)
	n.norm(s.mid, l.FFNNorm)
	n.products.Forward(s.gateUp, l.GateUp, n.normed, 2*f, h, m)
	n.activate(s.gateUp)
	if &out[0] == &s.x[0] { // of the source
		n.products.Forward(n.dh, l.Down, n.act, h, f, m)
		copy(out, n.dh[:m*h])
	} else {
		n.products.Forward(out, l.Down, n.act, h, f, m)
	}
	n.add(out, s.mid)
}

// sink takes the inputs of matrices and the gradients of their outputs.
type sink interface {
	linear(layer, kind int, x, dy []float32, n int)
	norm(layer, which int, x, dy []float32, n int)
	embedding(dx []float32, n int)
}

// back takes dx from the output of the last layer to the embedding, after run
// with keep.
func (n *network) back(ctx context.Context, w fisher.Weights, to sink) error {
	c, m := &n.config, n.count()
	h, q, f := c.Hidden, c.Heads*c.HeadDim, c.Intermediate
	for i := c.Layers - 1; i >= 0; i-- {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		l, err := w.Layer(i)
		if err != nil {
			return err
		}
		s := &n.layers[i]
		n.activate(s.gateUp)
		n.products.Backward(n.dact, l.Down, n.dx, h, f, m)
		to.linear(i, fisher.Down, n.act, n.dx, m)
		n.activateBack(s.gateUp)
		n.products.Backward(n.dh, l.GateUp, n.dgu, 2*f, h, m)
		n.norm(s.mid, l.FFNNorm)
		to.linear(i, fisher.GateUp, n.normed, n.dgu, m)
		to.norm(i, 1, n.normed, n.dh, m)
		n.normBack(n.dx, n.dh, s.mid, l.FFNNorm)

		n.products.Backward(n.datt, l.Out, n.dx, h, q, m)
		to.linear(i, fisher.Out, s.att, n.dx, m)
		n.pool.For((len(n.starts)-1)*c.KVHeads, func(worker, task int) {
			at, end := n.starts[task/c.KVHeads], n.starts[task/c.KVHeads+1]
			n.attendBack(&n.heads[worker], n.dqkv[at*c.QKV():], n.datt[at*q:], s.qkv[at*c.QKV():], task%c.KVHeads, end-at)
		})
		n.rotate(n.dqkv, true)
		n.products.Backward(n.dh, l.QKV, n.dqkv, c.QKV(), h, m)
		n.norm(s.x, l.AttnNorm)
		to.linear(i, fisher.QKV, n.normed, n.dqkv, m)
		to.norm(i, 0, n.normed, n.dh, m)
		n.normBack(n.dx, n.dh, s.x, l.AttnNorm)
	}
	to.embedding(n.dx, m)
	return nil
}

// some is how many tokens one task takes where a token is little work.
const some = 16

// each calls do for ranges of tokens.
func (n *network) each(do func(worker, from, to int)) {
	m := n.count()
	n.pool.For((m+some-1)/some, func(worker, i int) { do(worker, i*some, min((i+1)*some, m)) })
}

func (n *network) add(dst, x []float32) {
	h := n.config.Hidden
	n.each(func(_, from, to int) { kern.Add(dst[from*h:to*h], x[from*h:to*h]) })
}

// norm fills normed.
func (n *network) norm(x, w []float32) {
	h := n.config.Hidden
	n.each(func(_, from, to int) {
		for t := from; t < to; t++ {
			kern.RMSNorm(n.normed[t*h:(t+1)*h], x[t*h:(t+1)*h], w, n.config.NormEps)
		}
	})
}

// normBack adds to dx what dy, the gradient of a norm's output, gives its input x,
// and overwrites dy.
func (n *network) normBack(dx, dy, x, w []float32) {
	h := n.config.Hidden
	n.each(func(_, from, to int) {
		for t := from; t < to; t++ {
			dx, dy, x := dx[t*h:(t+1)*h], dy[t*h:(t+1)*h], x[t*h:(t+1)*h]
			inv := 1 / math.Sqrt(float64(kern.Dot(x, x))/float64(h)+float64(n.config.NormEps))
			kern.MulInto(dy, dy, w)
			along := float64(kern.Dot(dy, x))
			kern.Axpy(dx, float32(inv), dy)
			kern.Axpy(dx, float32(-along*inv*inv*inv/float64(h)), x)
		}
	})
}

// rotate turns queries and keys by their positions, or gradients back. Queries
// take the scale of attention scores with them.
func (n *network) rotate(qkv []float32, back bool) {
	c := &n.config
	d, half := c.HeadDim, c.HeadDim/2
	scale := float32(1 / math.Sqrt(float64(d)))
	windows := len(n.starts) - 1
	n.pool.For(windows*((n.span+some-1)/some), func(_, i int) {
		from := i / windows * some
		at, end := n.starts[i%windows], n.starts[i%windows+1]
		for t := from; t < min(from+some, end-at); t++ {
			row := qkv[(at+t)*c.QKV():]
			kern.Scale(row[:c.Heads*d], scale)
			cos, sin := n.cos[t*half:(t+1)*half], n.sin[t*half:(t+1)*half]
			for head := range c.Heads + c.KVHeads {
				x := row[head*d : (head+1)*d]
				if !back {
					kern.RoPE(x, cos, sin)
					continue
				}
				for i, a := range x[:half] {
					b := x[half+i]
					x[i], x[half+i] = a*cos[i]+b*sin[i], b*cos[i]-a*sin[i]
				}
			}
		}
	})
}

// activate fills act.
func (n *network) activate(gateUp []float32) {
	f := n.config.Intermediate
	n.each(func(_, from, to int) {
		for t := from; t < to; t++ {
			gu := gateUp[t*2*f : (t+1)*2*f]
			kern.SwiGLU(n.act[t*f:(t+1)*f], gu[:f], gu[f:])
		}
	})
}

// activateBack fills dgu from dact.
func (n *network) activateBack(gateUp []float32) {
	f := n.config.Intermediate
	n.each(func(worker, from, to int) {
		e := n.negative[worker]
		for t := from; t < to; t++ {
			g, u := gateUp[t*2*f:][:f], gateUp[t*2*f+f:][:f]
			dg, du, da := n.dgu[t*2*f:][:f], n.dgu[t*2*f+f:][:f], n.dact[t*f:][:f]
			for j, v := range g {
				e[j] = -v
			}
			kern.ExpInto(e, e, 0)
			for j, v := range g {
				s := 1 / (1 + e[j])
				du[j] = da[j] * v * s
				dg[j] = da[j] * u[j] * s * (1 + v*(1-s))
			}
		}
	})
}
