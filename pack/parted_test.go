package pack

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/lowrank"
)

// falling returns a matrix whose singular values fall, so that factors pay.
func falling(r *rand.Rand, rows, cols int) []float32 {
	w := gaussian(r, rows*cols)
	for i := range w {
		w[i] *= 0.1
	}
	for k := range 24 {
		a, b := gaussian(r, rows), gaussian(r, cols)
		s := float32(math.Pow(0.85, float64(k)))
		for i := range rows {
			for j := range cols {
				w[i*cols+j] += s * a[i] * b[j]
			}
		}
	}
	return w
}

// TestParted checks that what a matrix in parts is said to cost and to lose is
// what it costs and loses once it is coded.
func TestParted(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	const cols = 192
	heights := []int{256, 128}
	x := inputs(r, 1500, cols, 20, 0.4)
	values := append(falling(r, heights[0], cols), falling(r, heights[1], cols)...)
	for _, c := range []struct {
		name    string
		ranks   []int
		correct bool
	}{
		{"factors", []int{60, 40}, false}, {"one dense", []int{0, 40}, false}, {"correction", []int{8, 4}, true}, {"rank one", []int{1, 1}, false},
	} {
		p := &packer{opt: Options{Mode: rans.DQ, Workers: 2}}
		m := &matrix{name: "m", parts: []string{"a", "b"}, rows: 384, cols: cols, weigh: 1, values: values,
			curve: map[int]float64{}, losses: map[int]float64{}, gram: gramOf(x, 1500, cols)}
		m.band, m.depth = geometry(m.rows, m.cols, 4096)
		if err := p.scanMatrix(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		m.cost = make([]float64, m.rows)
		for r := range m.cost {
			m.cost[r] = 1
		}
		if err := p.planMatrix(m); err != nil {
			t.Fatal(err)
		}
		m.feedback.shift(m.feedback.excess() / float64(m.rows))
		var layers []*lowrank.Layer
		at := 0
		second := m.gram.square()
		energy := 0.0
		for _, h := range heights {
			w := make([]float64, h*cols)
			for i := range w {
				w[i] = float64(values[at+i])
			}
			at += len(w)
			l, err := lowrank.NewLayer(h, cols, w, second, workers(2))
			if err != nil {
				t.Fatal(err)
			}
			layers, energy = append(layers, l), energy+l.Energy()
		}
		d, err := p.part(m, heights, layers, c.ranks, Optimal, c.correct)
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []float64{0.3, 0.8} {
			t.Run(fmt.Sprintf("%s/%v", c.name, step), func(t *testing.T) {
				bits, err := d.bits(p.opt.kind(), step)
				if err != nil {
					t.Fatal(err)
				}
				loss, err := d.loss(p.opt.kind(), step)
				if err != nil {
					t.Fatal(err)
				}
				done, err := d.code(t.Context(), p, step)
				if err != nil {
					t.Fatal(err)
				}
				product, err := d.product(done)
				if err != nil {
					t.Fatal(err)
				}
				w := make([]float64, len(values))
				for i, v := range values {
					w[i] = float64(v)
				}
				got, err := lowrank.Distance(m.rows, cols, w, product, second, workers(2))
				if err != nil {
					t.Fatal(err)
				}
				real, want := float64(done.bytes())*8/float64(m.weights()), math.Sqrt(loss/energy)
				t.Logf("%.3f bits, said %.3f; error %.4f, said %.4f (%.4f is lost before coding)", real, bits, got, want, math.Sqrt(d.cut/energy))
				if c.name == "rank one" { // next to nothing to be coded: it works
					return
				}
				if math.Abs(real-bits) > 0.12*real+0.05 {
					t.Errorf("takes %.3f bits per weight, said %.3f", real, bits)
				}
				// Gram matrices are damped: what is said is more than what comes.
				if got > 1.1*want || want > 1.5*got {
					t.Errorf("loses %.4f, said %.4f", got, want)
				}
			})
		}
	}
}
