// Package tune trains weights that are not coded yet to make up for the errors
// of those that are: it minimises KL(source || student) over windows of text,
// the distillation of Hinton et al. (2015) between two states of one model.
//
// A caller codes a part of the columns of every matrix, freezes them as what
// they decode to, trains the rest, and codes the next part (incremental network
// quantisation, Zhou et al., 2017). The package knows neither codes nor files.
// Results depend on windows and rates alone, not on the number of workers.
package tune

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/lamina-llm/lamina/internal/kern"
	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/pack/fisher"
)

// Student holds the weights that training changes, in float32.
type Student struct {
	Layers []*fisher.Layer
	Norm   []float32 // Hidden
	Embed  []float32 // Vocab x Hidden
	Output []float32 // Vocab x Hidden; Embed itself in tied models
	hidden int
}

// NewStudent returns a student of a model's shape whose weights are all zero.
func NewStudent(c llama.Config) *Student {
	h, q, f := c.Hidden, c.Heads*c.HeadDim, c.Intermediate
	s := &Student{Norm: make([]float32, h), Embed: make([]float32, c.Vocab*h), hidden: h}
	s.Output = s.Embed
	if !c.Tied {
		s.Output = make([]float32, c.Vocab*h)
	}
	for range c.Layers {
		s.Layers = append(s.Layers, &fisher.Layer{
			AttnNorm: make([]float32, h), QKV: make([]float32, c.QKV()*h), Out: make([]float32, h*q),
			FFNNorm: make([]float32, h), GateUp: make([]float32, 2*f*h), Down: make([]float32, h*f),
		})
	}
	return s
}

// Embedding implements fisher.Weights.
func (s *Student) Embedding(id int32) ([]float32, error) {
	if id < 0 || (int(id)+1)*s.hidden > len(s.Embed) {
		return nil, fmt.Errorf("token %d is outside the vocabulary of %d", id, len(s.Embed)/s.hidden)
	}
	return s.Embed[int(id)*s.hidden:][:s.hidden], nil
}

// Layer implements fisher.Weights.
func (s *Student) Layer(i int) (*fisher.Layer, error) { return s.Layers[i], nil }

// Head implements fisher.Weights.
func (s *Student) Head() (norm, head []float32, err error) { return s.Norm, s.Output, nil }

// Trainer trains a student. One goroutine uses it at a time; products run on
// its pool.
type Trainer struct {
	net      *network
	student  *Student
	source   fisher.Weights
	matrices []*variable // in the order of a file: embedding, four of each layer, head if it is not tied
	norms    []*variable // two of each layer, the last
	steps    int

	windows       int       // of a batch
	logits, truth []float32 // of some tokens, of the student and of the source
	target        []float32 // last norm's outputs of the source
	probs         [][]float32
	kl            []float64   // per token of the batch
	up, own, down kern.Panels // heads: both, and the transpose of the student's
}

// variable is a matrix with its gradient and the moments of Adam (Kingma and
// Ba, 2015). These have only the columns that are not frozen.
type variable struct {
	w       []float32
	cols    int
	left    []int32 // columns that are not frozen
	g, m, v []float32
}

func newVariable(w []float32, cols int) *variable {
	n := len(w)
	x := &variable{w: w, g: make([]float32, n), m: make([]float32, n), v: make([]float32, n), cols: cols, left: make([]int32, cols)}
	for j := range x.left {
		x.left[j] = int32(j)
	}
	return x
}

// freeze drops columns.
func (v *variable) freeze(cols []int) {
	drop := make([]bool, v.cols)
	for _, j := range cols {
		drop[j] = true
	}
	var keep []int // places among those that are left
	var left []int32
	for i, j := range v.left {
		if !drop[j] {
			keep, left = append(keep, i), append(left, j)
		}
	}
	rows, was := len(v.w)/v.cols, len(v.left)
	for _, x := range []*[]float32{&v.g, &v.m, &v.v} {
		out := make([]float32, 0, rows*len(left))
		for r := range rows {
			for _, i := range keep {
				out = append(out, (*x)[r*was+i])
			}
		}
		*x = out
	}
	v.left = left
}

// strip is how many tokens have logits at a time.
const strip = 512

// New returns a trainer of s towards the source, for batches of some windows of
// up to span tokens.
func New(c llama.Config, s *Student, source fisher.Weights, pool model.Pool, span, windows int) (*Trainer, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if span < 1 || windows < 1 {
		return nil, fmt.Errorf("tune: %d windows of %d tokens", windows, span)
	}
	t := &Trainer{student: s, source: source, windows: windows}
	t.net = newNetwork(c, pool, span, windows)
	h, q, f := c.Hidden, c.Heads*c.HeadDim, c.Intermediate
	t.matrices = append(t.matrices, newVariable(s.Embed, h))
	for _, l := range s.Layers {
		t.matrices = append(t.matrices, newVariable(l.QKV, h), newVariable(l.Out, q), newVariable(l.GateUp, h), newVariable(l.Down, f))
		t.norms = append(t.norms, newVariable(l.AttnNorm, h), newVariable(l.FFNNorm, h))
	}
	t.norms = append(t.norms, newVariable(s.Norm, h))
	if !c.Tied {
		t.matrices = append(t.matrices, newVariable(s.Output, h))
	}
	rows := min(strip, t.net.tokens)
	t.logits, t.truth = make([]float32, rows*c.Vocab), make([]float32, rows*c.Vocab)
	t.target, t.kl = make([]float32, t.net.tokens*h), make([]float64, t.net.tokens)
	for range pool.Workers() {
		t.probs = append(t.probs, make([]float32, c.Vocab))
	}
	return t, nil
}

// Bytes returns the memory of a student and its trainer, about, without the
// source.
func Bytes(c llama.Config, span, windows, workers int) int64 {
	h, q, f := int64(c.Hidden), int64(c.Heads*c.HeadDim), int64(c.Intermediate)
	embed := int64(c.Vocab) * h
	n := embed + int64(c.Layers)*(int64(c.QKV())*h+h*q+3*h*f)
	if !c.Tied {
		n += embed
	}
	tokens := int64(span * windows)
	heads := 2*min(strip, tokens)*int64(c.Vocab) + int64(workers)*int64(c.Vocab) + 3*embed
	return 16*n + networkBytes(c, span, windows, workers) + 4*heads + 4*tokens*h
}

// Freeze ends the training of some columns of matrix i, in the order of a file.
func (t *Trainer) Freeze(i int, cols []int) { t.matrices[i].freeze(cols) }

// Forget begins Adam's moments anew.
func (t *Trainer) Forget() {
	t.steps = 0
	for _, v := range slices.Concat(t.matrices, t.norms) {
		clear(v.m)
		clear(v.v)
	}
}

// ErrDiverged: predictions are no finite numbers any more.
var ErrDiverged = errors.New("the divergence is not a finite number")

// Step moves the weights against the gradient over some windows: those of
// matrices by up to rate, those of norms by up to norms. It returns the mean
// divergence per token, in nats, before that. After an error, and without a
// token, weights and moments are as they were; errors are [ErrDiverged], and
// those of weights and windows.
func (t *Trainer) Step(ctx context.Context, windows [][]int32, rate, norms float32) (float64, error) {
	tokens, kl, err := t.gradient(ctx, windows)
	if err == nil && (math.IsNaN(kl) || math.IsInf(kl, 0)) {
		err = fmt.Errorf("tune: step %d: %w", t.steps+1, ErrDiverged)
	}
	if err != nil || tokens == 0 {
		for _, v := range slices.Concat(t.matrices, t.norms) {
			clear(v.g)
		}
		return 0, err
	}
	t.steps++
	for _, v := range t.matrices {
		t.update(v, rate)
	}
	for _, v := range t.norms {
		t.update(v, norms)
	}
	return kl / float64(tokens), nil
}

// gradient adds the gradients of windows, and returns their tokens and divergence.
func (t *Trainer) gradient(ctx context.Context, windows [][]int32) (tokens int, kl float64, err error) {
	for len(windows) > 0 {
		part := windows[:min(t.windows, len(windows))]
		windows = windows[len(part):]
		sum, err := t.pass(ctx, part)
		if err != nil {
			return 0, 0, err
		}
		kl += sum
		tokens += t.net.count()
	}
	return tokens, kl, nil
}

// pass adds the gradients of a batch and returns its divergence.
func (t *Trainer) pass(ctx context.Context, windows [][]int32) (float64, error) {
	n := t.net
	if err := n.begin(windows); err != nil {
		return 0, err
	}
	if err := n.run(ctx, t.source, windows, false); err != nil {
		return 0, err
	}
	norm, head, err := t.source.Head()
	if err != nil {
		return 0, err
	}
	n.norm(n.last, norm)
	copy(t.target, n.normed[:n.count()*n.config.Hidden])
	n.products.Pack(&t.up, head, n.config.Vocab, n.config.Hidden, false)
	if err := n.run(ctx, t.student, windows, true); err != nil {
		return 0, err
	}
	sum := t.heads()
	return sum, n.back(ctx, t.student, gradients{t, slices.Concat(windows...)})
}

// heads compares predictions, strip by strip: it leaves the gradient of the last
// layer's outputs in dx, adds that of the head, and returns the divergence.
func (t *Trainer) heads() (sum float64) {
	n, c := t.net, &t.net.config
	h, m := c.Hidden, t.net.count()
	n.norm(n.last, t.student.Norm)
	n.products.Pack(&t.own, t.student.Output, c.Vocab, h, false)
	n.products.Turn(&t.down, t.student.Output, c.Vocab, h, false)
	head := t.matrices[0]
	if !c.Tied {
		head = t.matrices[len(t.matrices)-1]
	}
	for at := 0; at < m; at += strip {
		k := min(strip, m-at)
		n.products.Multiply(t.truth, &t.up, t.target[at*h:], k)
		n.products.Multiply(t.logits, &t.own, n.normed[at*h:], k)
		n.pool.For(k, func(worker, i int) {
			t.kl[at+i] = compare(t.logits[i*c.Vocab:(i+1)*c.Vocab], t.truth[i*c.Vocab:(i+1)*c.Vocab], t.probs[worker])
		})
		n.products.Multiply(n.dh[at*h:], &t.down, t.logits, k)
		if len(head.left) > 0 {
			n.products.Gradient(head.g, n.normed[at*h:], t.logits, c.Vocab, h, k, head.left)
		}
	}
	for _, kl := range t.kl[:m] {
		sum += kl
	}
	gradients{Trainer: t}.norm(c.Layers, 0, n.normed, n.dh, m)
	clear(n.dx[:m*h])
	n.normBack(n.dx, n.dh, n.last, t.student.Norm)
	return sum
}

// compare returns KL(truth || logits) in nats and turns logits into its gradient.
func compare(logits, truth, p []float32) float64 {
	mt, ms := kern.Max(truth), kern.Max(logits)
	st := kern.ExpInto(p, truth, mt)
	mean := float64(kern.Dot(p, truth)-kern.Dot(p, logits)) / float64(st)
	ss := kern.ExpInto(logits, logits, ms)
	kern.Scale(logits, 1/ss)
	kern.Axpy(logits, -1/st, p)
	return mean - (float64(mt) + math.Log(float64(st))) + (float64(ms) + math.Log(float64(ss)))
}

// gradients adds up what a pass finds.
type gradients struct {
	*Trainer
	ids []int32
}

func (t gradients) linear(layer, kind int, x, dy []float32, n int) {
	v := t.matrices[1+fisher.Kinds*layer+kind]
	if len(v.left) > 0 {
		t.net.products.Gradient(v.g, x, dy, len(v.w)/v.cols, v.cols, n, v.left)
	}
}

// embedding adds the gradients of input rows.
func (t gradients) embedding(dx []float32, _ int) {
	e := t.matrices[0]
	k := len(e.left)
	for i, id := range t.ids {
		row, from := e.g[int(id)*k:][:k], dx[i*e.cols:(i+1)*e.cols]
		for j, c := range e.left {
			row[j] += from[c]
		}
	}
}

// norm adds the gradient of a norm's weights: its outputs x are proportional to
// them. A weight of zero keeps none.
func (t gradients) norm(layer, which int, x, dx []float32, n int) {
	v := t.norms[2*layer+which]
	const part = 64
	t.net.pool.For((v.cols+part-1)/part, func(_, i int) {
		var sum [part]float32
		from, to := i*part, min((i+1)*part, v.cols)
		for t := range n {
			d, x := dx[t*v.cols+from:t*v.cols+to], x[t*v.cols+from:t*v.cols+to]
			for j, g := range d {
				sum[j] += g * x[j]
			}
		}
		for j := from; j < to; j++ {
			if w := v.w[j]; w != 0 {
				v.g[j] += sum[j-from] / w
			}
		}
	})
}

// Decay of Adam's moments.
const (
	decay1 = 0.9
	decay2 = 0.95
)

// updateRows is how many rows of a matrix one task updates.
const updateRows = 64

// update is one step of Adam.
func (t *Trainer) update(v *variable, rate float32) {
	k := len(v.left)
	if k == 0 {
		return
	}
	c1 := rate / float32(1-math.Pow(decay1, float64(t.steps)))
	c2 := float32(1 / (1 - math.Pow(decay2, float64(t.steps))))
	rows := len(v.w) / v.cols
	t.net.pool.For((rows+updateRows-1)/updateRows, func(_, b int) {
		for r := b * updateRows; r < min((b+1)*updateRows, rows); r++ {
			w, g, m, s := v.w[r*v.cols:(r+1)*v.cols], v.g[r*k:(r+1)*k], v.m[r*k:(r+1)*k], v.v[r*k:(r+1)*k]
			for i, j := range v.left {
				d := g[i]
				g[i] = 0
				m[i] = decay1*m[i] + (1-decay1)*d
				s[i] = decay2*s[i] + (1-decay2)*d*d
				w[j] -= c1 * m[i] / (float32(math.Sqrt(float64(s[i]*c2))) + 1e-12)
			}
		}
	})
}
