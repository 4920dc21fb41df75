package fisher

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/lamina-llm/lamina/internal/kern"
	"github.com/lamina-llm/lamina/model/llama"
)

// serial is a pool of one worker.
type serial struct{}

func (serial) Workers() int { return 1 }
func (serial) For(n int, f func(worker, i int)) {
	for i := range n {
		f(0, i)
	}
}

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
	cols   [][Kinds]int
	head   []float32
	embed  map[int32][]float32
}

func (g *gradients) Linear(layer, kind int, x, dy, _ []float32, n int) {
	cols, rows := len(x)/n, len(dy)/n
	d := make([]float32, rows*cols)
	for t := range n {
		for r := range rows {
			kern.Axpy(d[r*cols:(r+1)*cols], dy[t*rows+r], x[t*cols:(t+1)*cols])
		}
	}
	g.matrix[layer][kind], g.cols[layer][kind] = d, cols
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
	ids := []int32{3, 17, 3, 39, 0, 5, 28, 11}
	m, err := New(c, w, serial{}, len(ids))
	if err != nil {
		t.Fatal(err)
	}
	target := func(t int) int { return (7*t + 3) % c.Vocab }
	g := &gradients{make([][Kinds][]float32, c.Layers), make([][Kinds]int, c.Layers), nil, map[int32][]float32{}}
	err = m.Run(context.Background(), ids, func(t int, logits []float32) {
		kern.Softmax(logits)
		logits[target(t)]--
	}, g)
	if err != nil {
		t.Fatal(err)
	}
	loss := func() float64 {
		sum := 0.0
		err := m.Forward(context.Background(), ids, func(t int, logits []float32) error {
			total := 0.0
			for _, v := range logits {
				total += math.Exp(float64(v))
			}
			sum += math.Log(total) - float64(logits[target(t)])
			return nil
		})
		if err != nil {
			t.Fatal(err)
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
