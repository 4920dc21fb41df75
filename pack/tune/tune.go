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
	"fmt"
	"math"

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
	config   llama.Config
	pool     model.Pool
	student  *Student
	own      *fisher.Model
	source   *fisher.Model
	matrices []*variable // in the order of a file: embedding, four of each layer, head if it is not tied
	norms    []*variable // two of each layer, the last
	rate     []float32   // per column, working memory of an update
	steps    int

	probs   []float32 // of the source for a window, then gradients of the student's logits
	xt      []float32 // inputs, tokens side by side
	scratch [][]float32
	kl      float64
}

// variable is a matrix with its gradient and the moments of Adam (Kingma and
// Ba, 2015).
type variable struct {
	w, g, m, v []float32
	cols       int
	frozen     []bool // per column
	left       int    // columns that are not frozen
}

func newVariable(w []float32, cols int) *variable {
	n := len(w)
	return &variable{w: w, g: make([]float32, n), m: make([]float32, n), v: make([]float32, n), cols: cols, frozen: make([]bool, cols), left: cols}
}

const gradientTile = 64 // rows of a matrix whose gradient one task computes

// New returns a trainer of s towards the source, for windows of up to window
// tokens.
func New(c llama.Config, s *Student, source fisher.Weights, pool model.Pool, window int) (*Trainer, error) {
	t := &Trainer{config: c, pool: pool, student: s}
	var err error
	if t.own, err = fisher.New(c, s, pool, window); err != nil {
		return nil, err
	}
	if t.source, err = fisher.New(c, source, pool, window); err != nil {
		return nil, err
	}
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
	width := max(h, q, f)
	t.probs = make([]float32, window*c.Vocab)
	t.xt = make([]float32, window*width)
	t.rate = make([]float32, width)
	for range pool.Workers() {
		t.scratch = append(t.scratch, make([]float32, gradientTile*(width+window)))
	}
	return t, nil
}

// Bytes returns the memory of a student and its trainer, about, without the
// source.
func Bytes(c llama.Config, window, workers int) int64 {
	h, q, f := int64(c.Hidden), int64(c.Heads*c.HeadDim), int64(c.Intermediate)
	n := int64(c.Vocab)*h + int64(c.Layers)*(int64(c.QKV())*h+h*q+3*h*f)
	if !c.Tied {
		n += int64(c.Vocab) * h
	}
	width := max(h, q, f)
	return 16*n + 2*fisher.Bytes(c, window, workers) + 4*(int64(window)*(int64(c.Vocab)+width)+int64(workers)*gradientTile*(width+int64(window)))
}

// Freeze ends the training of some columns of matrix i, in the order of a file.
func (t *Trainer) Freeze(i int, cols []int) {
	v := t.matrices[i]
	for _, j := range cols {
		if !v.frozen[j] {
			v.frozen[j] = true
			v.left--
		}
	}
	if v.left == 0 {
		v.g, v.m, v.v = nil, nil, nil
	}
}

// Step moves the weights against the gradient over some windows: those of
// matrices by up to rate, those of norms by up to norms. It returns the mean
// divergence per token, in nats, before that.
func (t *Trainer) Step(ctx context.Context, windows [][]int32, rate, norms float32) (float64, error) {
	tokens := 0
	t.kl = 0
	for _, ids := range windows {
		tokens += len(ids)
		if err := t.pass(ctx, ids); err != nil {
			return 0, err
		}
	}
	t.steps++
	for _, v := range t.matrices {
		if v.left > 0 {
			t.update(v, rate)
		}
	}
	for _, v := range t.norms {
		t.update(v, norms)
	}
	return t.kl / float64(tokens), nil
}

// pass adds the gradients and the divergence of a window.
func (t *Trainer) pass(ctx context.Context, ids []int32) error {
	vocab := t.config.Vocab
	err := t.source.Forward(ctx, ids, func(i int, logits []float32) error {
		kern.Softmax(logits)
		copy(t.probs[i*vocab:], logits)
		return nil
	})
	if err != nil {
		return err
	}
	return t.own.Run(ctx, ids, t.loss, gradients{t})
}

// loss turns logits into the gradient of the divergence, and keeps it.
func (t *Trainer) loss(i int, logits []float32) {
	kern.Softmax(logits)
	p := t.probs[i*t.config.Vocab:][:len(logits)]
	sum := 0.0
	for v, q := range logits {
		if p[v] > 1e-12 {
			sum += float64(p[v]) * math.Log(float64(p[v])/max(float64(q), 1e-30))
		}
		p[v] = q - p[v]
	}
	copy(logits, p)
	t.kl += sum
}

// gradients adds up what a pass finds.
type gradients struct{ *Trainer }

// Linear implements fisher.Sink.
func (t gradients) Linear(layer, kind int, x, dy, dx []float32, n int) {
	t.outer(t.matrices[1+fisher.Kinds*layer+kind], x, dy, n)
	switch kind {
	case fisher.QKV:
		t.norm(t.norms[2*layer], x, dx, n)
	case fisher.GateUp:
		t.norm(t.norms[2*layer+1], x, dx, n)
	}
}

// Head implements fisher.Sink.
func (t gradients) Head(x, dx []float32, n int) {
	head := t.matrices[0]
	if !t.config.Tied {
		head = t.matrices[len(t.matrices)-1]
	}
	t.outer(head, x, t.probs[:n*t.config.Vocab], n)
	t.norm(t.norms[len(t.norms)-1], x, dx, n)
}

// Embedding implements fisher.Sink.
func (t gradients) Embedding(ids []int32, dx []float32) {
	e := t.matrices[0]
	if e.left == 0 {
		return
	}
	h := t.config.Hidden
	for i, id := range ids {
		kern.Add(e.g[int(id)*h:][:h], dx[i*h:(i+1)*h])
	}
}

// norm adds the gradient of a norm's weights: its outputs x are proportional to
// them. A weight of zero keeps none.
func (t *Trainer) norm(v *variable, x, dx []float32, n int) {
	for i := range n {
		for j, g := range dx[i*v.cols : (i+1)*v.cols] {
			if w := v.w[j]; w != 0 {
				v.g[j] += g * x[i*v.cols+j] / w
			}
		}
	}
}

// outer adds dy^T x, the gradient of a matrix with n inputs x.
func (t *Trainer) outer(v *variable, x, dy []float32, n int) {
	if v.left == 0 {
		return
	}
	cols, rows := v.cols, len(v.w)/v.cols
	const block = 16
	t.pool.For((cols+block-1)/block, func(_, b int) {
		for i := range n {
			for j := b * block; j < min((b+1)*block, cols); j++ {
				t.xt[j*n+i] = x[i*cols+j]
			}
		}
	})
	t.pool.For((rows+gradientTile-1)/gradientTile, func(worker, b int) {
		r0 := b * gradientTile
		h := min(gradientTile, rows-r0)
		part, dyt := t.scratch[worker][:h*cols], t.scratch[worker][gradientTile*cols:][:h*n]
		for i := range n {
			for r, g := range dy[i*rows+r0 : i*rows+r0+h] {
				dyt[r*n+i] = g
			}
		}
		kern.MatMulF32(part, t.xt, dyt, cols, n, h)
		kern.Add(v.g[r0*cols:(r0+h)*cols], part)
	})
}

// Decay of Adam's moments.
const (
	decay1 = 0.9
	decay2 = 0.95
)

// update is one step of Adam.
func (t *Trainer) update(v *variable, rate float32) {
	for j := range t.rate[:v.cols] {
		t.rate[j] = rate
		if v.frozen[j] {
			t.rate[j] = 0
		}
	}
	c1, c2 := float32(1/(1-math.Pow(decay1, float64(t.steps)))), float32(1/(1-math.Pow(decay2, float64(t.steps))))
	rows := len(v.w) / v.cols
	t.pool.For((rows+gradientTile-1)/gradientTile, func(_, b int) {
		for r := b * gradientTile; r < min((b+1)*gradientTile, rows); r++ {
			a, z := r*v.cols, (r+1)*v.cols
			w, g, m, s := v.w[a:z], v.g[a:z], v.m[a:z], v.v[a:z]
			for j, rate := range t.rate[:v.cols] {
				d := g[j]
				g[j] = 0
				m[j] = decay1*m[j] + (1-decay1)*d
				s[j] = decay2*s[j] + (1-decay2)*d*d
				w[j] -= rate * m[j] * c1 / (float32(math.Sqrt(float64(s[j]*c2))) + 1e-12)
			}
		}
	})
}
