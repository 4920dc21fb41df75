package product

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// serial is a pool of some workers that take turns.
type serial int

func (s serial) Workers() int { return int(s) }
func (s serial) For(n int, f func(worker, i int)) {
	for i := range n {
		f(i%int(s), i)
	}
}

// Products agree with sums in float64, whatever the number of workers.
func TestProducts(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 3))
	random := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(r.NormFloat64())
		}
		return x
	}
	for _, size := range [][3]int{{1, 1, 1}, {5, 40, 13}, {31, 33, 12}, {64, 270, 100}, {530, 12, 25}, {3, 600, 7}} {
		rows, cols, n := size[0], size[1], size[2]
		w, x, dy := random(rows*cols), random(n*cols), random(n*rows)
		var list []int32
		for j := range cols {
			if j%3 != 1 {
				list = append(list, int32(j))
			}
		}
		g := random(rows * len(list))
		for _, workers := range []int{1, 3} {
			s := New(serial(workers))
			check := func(what string, got []float32, width int, want func(i, j int) (sum, size float64)) {
				for at, v := range got {
					sum, size := want(at/width, at%width)
					if d := math.Abs(float64(v) - sum); d > 1e-6*size+1e-30 {
						t.Fatalf("%v, %d workers: %s: element %d is %g, want %g", size, workers, what, at, v, sum)
					}
				}
			}
			dot := func(k int, term func(p int) float64) (sum, size float64) {
				for p := range k {
					sum += term(p)
					size += math.Abs(term(p))
				}
				return sum, size
			}
			y, dx, grad := make([]float32, n*rows), make([]float32, n*cols), append([]float32(nil), g...)
			s.Forward(y, w, x, rows, cols, n)
			check("forward", y, rows, func(i, j int) (float64, float64) {
				return dot(cols, func(p int) float64 { return float64(w[j*cols+p]) * float64(x[i*cols+p]) })
			})
			s.Backward(dx, w, dy, rows, cols, n)
			check("backward", dx, cols, func(i, j int) (float64, float64) {
				return dot(rows, func(p int) float64 { return float64(w[p*cols+j]) * float64(dy[i*rows+p]) })
			})
			s.Gradient(grad, x, dy, rows, cols, n, list)
			check("gradient", grad, len(list), func(i, j int) (float64, float64) {
				sum, size := dot(n, func(p int) float64 { return float64(dy[p*rows+i]) * float64(x[p*cols+int(list[j])]) })
				before := float64(g[i*len(list)+j])
				return sum + before, size + math.Abs(before)
			})
		}
	}
}

// BenchmarkProducts takes the largest matrix of storyteller-22m's layers.
func BenchmarkProducts(b *testing.B) {
	const rows, cols, n = 2048, 384, 2048
	w, x, y := make([]float32, rows*cols), make([]float32, n*cols), make([]float32, n*rows)
	list := make([]int32, cols)
	for j := range list {
		list[j] = int32(j)
	}
	s := New(serial(1))
	for name, f := range map[string]func(){
		"forward":  func() { s.Forward(y, w, x, rows, cols, n) },
		"backward": func() { s.Backward(x, w, y, rows, cols, n) },
		"gradient": func() { s.Gradient(w, x, y, rows, cols, n, list) },
	} {
		b.Run(fmt.Sprintf("%s/%dx%dx%d", name, rows, cols, n), func(b *testing.B) {
			for b.Loop() {
				f()
			}
			b.ReportMetric(2*rows*cols*n*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFlop/s")
		})
	}
}
