package lowrank

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
)

// goroutines is the plainest Pool.
type goroutines int

func (g goroutines) Workers() int { return int(g) }

func (g goroutines) For(n int, f func(worker, i int)) {
	var wait sync.WaitGroup
	for w := range int(g) {
		wait.Go(func() {
			for i := w; i < n; i += int(g) {
				f(w, i)
			}
		})
	}
	wait.Wait()
}

// TestEigen checks what defines eigenvectors: A v = lambda v, and v orthonormal.
func TestEigen(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, n := range []int{1, 2, 3, 4, 15, 16, 17, 33, 34, 35, 66, 67, 130, 200, 331} {
		third := (n + 2) / 3
		some := make([]float64, third*n)
		for i := range some {
			some[i] = r.NormFloat64()
		}
		some, err := orthonormalRows(some, third, n)
		if err != nil {
			t.Fatal(err)
		}
		some = transpose(some, third, n, goroutines(1))
		projector := gram(some, some, n, third, goroutines(1)) // two thirds of its eigenvalues are 0
		for name, make := range map[string]func(i, j int) float64{
			"noise":     func(i, j int) float64 { return r.NormFloat64() },
			"zero":      func(i, j int) float64 { return 0 },
			"identity":  func(i, j int) float64 { return float64(b2i(i == j)) * 3 },
			"ones":      func(i, j int) float64 { return 1 },
			"graded":    func(i, j int) float64 { return math.Pow(0.7, float64(i+j)) * r.NormFloat64() },
			"split":     func(i, j int) float64 { return float64(b2i(i/3 == j/3)) * r.NormFloat64() },
			"tridiag":   func(i, j int) float64 { return float64(b2i(j-i <= 1)) * r.NormFloat64() },
			"projector": func(i, j int) float64 { return projector[i*n+j] },
			"tiny":      func(i, j int) float64 { return 1e-150 * r.NormFloat64() },
			"huge":      func(i, j int) float64 { return 1e308 * float64(b2i(i == j)) / float64(1+i) },
			"glued": func(i, j int) float64 { // Wilkinson's W21+ again and again: eigenvalues in pairs, which come in clusters
				switch {
				case i == j:
					return math.Abs(float64(i%21 - 10))
				case j-i == 1 && j%21 == 0:
					return 1e-8
				}
				return float64(b2i(j-i == 1))
			},
			"difference": func(i, j int) float64 { return float64(2*b2i(i == j) - b2i(j-i == 1)) },
			"large gap":  func(i, j int) float64 { return r.NormFloat64() + 1e9*float64(b2i(i+j == 0)) },
		} {
			t.Run(fmt.Sprintf("%s/%d", name, n), func(t *testing.T) { testEigen(t, n, make) })
		}
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func testEigen(t *testing.T, n int, element func(i, j int) float64) {
	a, norm := make([]float64, n*n), 0.0
	for i := range n {
		for j := i; j < n; j++ {
			a[i*n+j] = element(i, j)
			a[j*n+i] = a[i*n+j]
		}
	}
	for _, x := range a {
		norm = math.Hypot(norm, x)
	}
	values, vectors, err := eigen(n, append([]float64(nil), a...), n, goroutines(3))
	if err != nil {
		t.Fatal(err)
	}
	alone, none, err := eigen(n, append([]float64(nil), a...), 0, goroutines(1))
	if err != nil || none != nil {
		t.Fatal(none, err)
	}
	limit := 1e-14 * math.Sqrt(float64(n)) * 4
	for k, v := range values {
		if math.Abs(v-alone[k]) > limit*norm || k > 0 && v > values[k-1] {
			t.Fatalf("value %d: %v, without vectors %v", k, v, alone[k])
		}
		x := vectors[k*n : (k+1)*n]
		for i := range n {
			sum := 0.0
			for j := range n {
				sum += a[i*n+j] * x[j]
			}
			if d := math.Abs(sum - v*x[i]); !(d <= limit*norm) {
				t.Fatalf("vector %d, element %d: off by %g of %g", k, i, d, norm)
			}
		}
		for l := range k + 1 {
			sum := 0.0
			for i := range n {
				sum += x[i] * vectors[l*n+i]
			}
			if d := math.Abs(sum - float64(b2i(k == l))); !(d <= limit) {
				t.Fatalf("vectors %d and %d: inner product off by %g", k, l, d)
			}
		}
	}
}
