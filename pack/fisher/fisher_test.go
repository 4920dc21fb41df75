package fisher

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/lamina-llm/lamina/internal/kern"
	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/llama"
)

// tiny is a random model.
type tiny struct {
	layers []Layer
	embed  []float32
	norm   []float32
	head   []float32
	hidden int
}

func (w *tiny) Embedding(id int32) ([]float32, error) {
	return w.embed[int(id)*w.hidden:][:w.hidden], nil
}
func (w *tiny) Layer(i int) (*Layer, error)         { return &w.layers[i], nil }
func (w *tiny) Head() ([]float32, []float32, error) { return w.norm, w.head, nil }

func newTiny() (*tiny, llama.Config) {
	c := llama.Config{Vocab: 40, Hidden: 16, Intermediate: 24, Layers: 2, Heads: 4, KVHeads: 2, HeadDim: 8, MaxContext: 64, RopeTheta: 10000, NormEps: 1e-5}
	r := rand.New(rand.NewPCG(1, 2))
	random := func(n int, size, mean float64) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(mean + size*r.NormFloat64())
		}
		return x
	}
	w := &tiny{hidden: c.Hidden, embed: random(c.Vocab*c.Hidden, 1, 0), norm: random(c.Hidden, 0.2, 1), head: random(c.Vocab*c.Hidden, 0.4, 0)}
	for range c.Layers {
		w.layers = append(w.layers, Layer{
			AttnNorm: random(c.Hidden, 0.2, 1), QKV: random(c.QKV()*c.Hidden, 0.5, 0), Out: random(c.Hidden*c.Heads*c.HeadDim, 0.3, 0),
			FFNNorm: random(c.Hidden, 0.2, 1), GateUp: random(2*c.Intermediate*c.Hidden, 0.4, 0), Down: random(c.Hidden*c.Intermediate, 0.4, 0),
		})
	}
	return w, c
}

// gradients are of all matrices and of the embedding.
type gradients struct {
	matrix [][Kinds][]float32
	embed  map[int32][]float32
}

func newGradients(layers int) *gradients {
	return &gradients{make([][Kinds][]float32, layers), map[int32][]float32{}}
}

// windows returns a short one, and one of several squares of attention.
func windows(vocab int) [][]int32 {
	long := make([]int32, 2*kern.PanelRows+23)
	for i := range long {
		long[i] = int32((i*i + 5*i) % vocab)
	}
	return [][]int32{{3, 17, 3, 39, 0, 5, 28, 11}, long}
}

// drawn is the token that is taken to follow token t of a run.
func drawn(t, vocab int) int { return (7*t + 3) % vocab }

// losses is the loss of drawn tokens.
func losses(vocab int) Losses {
	return func(t, n int, logits []float32) {
		for i := range n {
			row := logits[i*vocab : (i+1)*vocab]
			kern.Softmax(row)
			row[drawn(t+i, vocab)]--
		}
	}
}

func (g *gradients) Linear(layer, kind int, x, dy, _ []float32, n int) {
	cols, rows := len(x)/n, len(dy)/n
	d := make([]float32, rows*cols)
	for t := range n {
		for r := range rows {
			kern.Axpy(d[r*cols:(r+1)*cols], dy[t*rows+r], x[t*cols:(t+1)*cols])
		}
	}
	if sum := g.matrix[layer][kind]; sum != nil {
		kern.Add(d, sum)
	}
	g.matrix[layer][kind] = d
}
func (g *gradients) Head([]float32, []float32, int) {}
func (g *gradients) Embedding(ids []int32, dx []float32) {
	h := len(dx) / len(ids)
	for t, id := range ids {
		if g.embed[id] == nil {
			g.embed[id] = make([]float32, h)
		}
		kern.Add(g.embed[id], dx[t*h:(t+1)*h])
	}
}

// Gradients agree with differences of the loss.
func TestGradients(t *testing.T) {
	w, c := newTiny()
	texts := windows(c.Vocab)
	m, err := New(c, w, model.Serial{}, len(texts[1]))
	if err != nil {
		t.Fatal(err)
	}
	g := newGradients(c.Layers)
	if err := m.RunAll(context.Background(), 0, texts, losses(c.Vocab), g); err != nil {
		t.Fatal(err)
	}
	loss := func() float64 {
		sum, first := 0.0, 0
		for _, ids := range texts {
			err := m.Forward(context.Background(), ids, func(t int, logits []float32) error {
				total := 0.0
				for _, v := range logits {
					total += math.Exp(float64(v))
				}
				sum += math.Log(total) - float64(logits[drawn(first+t, c.Vocab)])
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			first += len(ids)
		}
		return sum
	}
	// Along a random direction all elements count at once.
	r := rand.New(rand.NewPCG(3, 4))
	check := func(name string, weights, gradient []float32) {
		t.Helper()
		const h = 2e-3
		dir := make([]float32, len(weights))
		want := 0.0
		for i := range dir {
			dir[i] = float32(r.NormFloat64())
			want += float64(dir[i] * gradient[i])
		}
		kern.Axpy(weights, h, dir)
		up := loss()
		kern.Axpy(weights, -2*h, dir)
		down := loss()
		kern.Axpy(weights, h, dir)
		got := (up - down) / (2 * h)
		if math.Abs(got-want) > 0.02*math.Abs(want)+0.05 {
			t.Errorf("%s: slope %.4f, gradients give %.4f", name, got, want)
		}
	}
	for i := range w.layers {
		l := &w.layers[i]
		for k, weights := range [Kinds][]float32{l.QKV, l.Out, l.GateUp, l.Down} {
			check([Kinds]string{"qkv", "out", "gate_up", "down"}[k], weights, g.matrix[i][k])
		}
	}
	for id, d := range g.embed {
		check("embedding", w.embed[int(id)*c.Hidden:][:c.Hidden], d)
	}
}

// parallel is a pool of three workers.
type parallel struct{}

func (parallel) Workers() int { return 3 }
func (parallel) For(n int, f func(worker, i int)) {
	var next atomic.Int64
	var wait sync.WaitGroup
	for worker := range 3 {
		wait.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(worker, i)
			}
		})
	}
	wait.Wait()
}

// late is a pool of two workers of which the second does all work after some loops.
type late struct{ left *int }

func (late) Workers() int { return 2 }
func (p late) For(n int, f func(worker, i int)) {
	worker := 0
	if *p.left--; *p.left < 0 {
		worker = 1
	}
	for i := range n {
		f(worker, i)
	}
}

// Windows that run together, on any number of workers, give what each gives alone,
// and coarse products nearly that.
func TestTogether(t *testing.T) {
	w, c := newTiny()
	texts := windows(c.Vocab)
	run := func(pool model.Pool, coarse, together bool) *gradients {
		m, err := New(c, w, pool, len(texts[1]))
		if err != nil {
			t.Fatal(err)
		}
		m.Coarse = coarse
		g := newGradients(c.Layers)
		if together {
			err = m.RunAll(context.Background(), 0, texts, losses(c.Vocab), g)
		} else {
			for i, ids := range texts {
				first := i * len(texts[0])
				loss := losses(c.Vocab)
				err = errors.Join(err, m.Run(context.Background(), ids, func(t int, logits []float32) { loss(first+t, 1, logits) }, g))
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	want, same, near := run(model.Serial{}, false, false), run(parallel{}, false, true), run(parallel{}, true, true)
	for i := range want.matrix {
		for k, x := range want.matrix[i] {
			if !slices.Equal(x, same.matrix[i][k]) {
				t.Errorf("layer %d, matrix %d: together or in parallel it is another", i, k)
			}
			off := append([]float32(nil), near.matrix[i][k]...)
			kern.Axpy(off, -1, x)
			if e := math.Sqrt(float64(kern.Dot(off, off) / kern.Dot(x, x))); e > 0.1 {
				t.Errorf("layer %d, matrix %d: coarse products are off by %.4f", i, k, e)
			}
		}
	}
}

// A worker that has done nothing before gives what the others would.
func TestLateWorker(t *testing.T) {
	w, c := newTiny()
	ids := windows(c.Vocab)[0]
	run := func(pool model.Pool) *gradients {
		m, err := New(c, w, pool, len(ids))
		if err != nil {
			t.Fatal(err)
		}
		m.Coarse = true
		g := newGradients(c.Layers)
		if err := m.RunAll(context.Background(), 0, [][]int32{ids}, losses(c.Vocab), g); err != nil {
			t.Fatal(err)
		}
		return g
	}
	const many = 1 << 20
	loops := many
	want := run(late{&loops})
	for first := range many - loops {
		left := first
		for i, kinds := range run(late{&left}).matrix {
			for k, x := range kinds {
				if !slices.Equal(x, want.matrix[i][k]) {
					t.Fatalf("layer %d, matrix %d: another where the worker changes after %d loops", i, k, first)
				}
			}
		}
	}
}

// inputs keeps what Observe shows.
type inputs map[[2]int][]float32

func (s inputs) Linear(layer, kind int, x, dy, dx []float32, n int) {
	at := [2]int{layer, kind}
	s[at] = append(s[at], x...)
}
func (inputs) Head([]float32, []float32, int) {}
func (inputs) Embedding([]int32, []float32)   {}

// Observe shows the inputs that Run shows.
func TestObserve(t *testing.T) {
	w, c := newTiny()
	texts := windows(c.Vocab)
	m, err := New(c, w, model.Serial{}, len(texts[1]))
	if err != nil {
		t.Fatal(err)
	}
	got, want := inputs{}, inputs{}
	if err := m.Observe(context.Background(), texts, losses(c.Vocab), got); err != nil {
		t.Fatal(err)
	}
	if err := m.RunAll(context.Background(), 0, texts, losses(c.Vocab), want); err != nil {
		t.Fatal(err)
	}
	for at, x := range want {
		if !slices.Equal(got[at], x) {
			t.Errorf("layer and kind %v: other inputs", at)
		}
	}
	if len(got) != Kinds*c.Layers || len(want) != len(got) {
		t.Errorf("inputs of %d matrices, and of %d with gradients", len(got), len(want))
	}
}
