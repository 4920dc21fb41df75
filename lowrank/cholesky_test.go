package lowrank

import (
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/mat"
)

// TestCholesky compares with gonum's factor, and solves with it.
func TestCholesky(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, n := range []int{1, 2, 31, 32, 33, 64, 100, 161} {
		x := make([]float64, n*(n+20))
		for i := range x {
			x[i] = r.NormFloat64()
		}
		a := gram(x, x, n, n+20, goroutines(1))
		var want mat.Cholesky
		if !want.Factorize(mat.NewSymDense(n, append([]float64(nil), a...))) {
			t.Fatal("gonum finds no factor")
		}
		var low mat.TriDense
		want.LTo(&low)
		got, least := cholesky(n, append([]float64(nil), a...), goroutines(3))
		if got == nil {
			t.Fatalf("n %d: no factor, smallest pivot %v", n, least)
		}
		smallest := math.Inf(1)
		for i := range n {
			smallest = min(smallest, low.At(i, i)*low.At(i, i))
			for j := range i + 1 {
				v := got.l[i*n+j]
				if j < i {
					v = -v
				}
				if d := math.Abs(v - low.At(i, j)); !(d <= 1e-12*float64(n)) {
					t.Fatalf("n %d: element %d, %d is %v, want %v", n, i, j, v, low.At(i, j))
				}
			}
		}
		if math.Abs(least-smallest) > 1e-10*smallest {
			t.Errorf("n %d: smallest pivot %v, want %v", n, least, smallest)
		}
		// L (L^-1 y) = y.
		const cols = 70
		y := make([]float64, n*cols)
		for i := range y {
			y[i] = r.NormFloat64()
		}
		z := got.solve(y, cols)
		for i := range n {
			for c := range cols {
				sum := 0.0
				for j := range i + 1 {
					sum += low.At(i, j) * z[j*cols+c]
				}
				if d := math.Abs(sum - y[i*cols+c]); !(d <= 1e-12*float64(n)) {
					t.Fatalf("n %d: row %d, column %d off by %g", n, i, c, d)
				}
			}
		}
	}
}

// TestCholeskySingular: what is (nearly) singular has no factor, and NaN has none.
func TestCholeskySingular(t *testing.T) {
	for name, a := range map[string][]float64{
		"zero":     {0},
		"ones":     {1, 1, 1, 1},
		"negative": {1, 2, 2, 1},
		"nearly":   {1, 1 - 1e-13, 1 - 1e-13, 1},
		"NaN":      {1, math.NaN(), math.NaN(), 1},
	} {
		n := int(math.Sqrt(float64(len(a))))
		if f, least := cholesky(n, a, goroutines(1)); f != nil || least >= leastPivot {
			t.Errorf("%s: a factor, smallest pivot %v", name, least)
		}
	}
}

// TestGramRoute compares the way through W W^T or W^T W with the singular value
// decomposition of W itself: the profile, and the subspace of the truncation.
func TestGramRoute(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	normal := func(n int) []float64 {
		v := make([]float64, n)
		for i := range v {
			v[i] = r.NormFloat64()
		}
		return v
	}
	for name, value := range map[string]func(i int) float64{
		"even":     func(i int) float64 { return 1 - float64(i)/200 },
		"falling":  func(i int) float64 { return math.Pow(0.9, float64(i)) },
		"steps":    func(i int) float64 { return math.Pow(0.1, float64(i/40)) },
		"graded":   func(i int) float64 { return math.Pow(10, -float64(i)/20) },
		"low rank": func(i int) float64 { return float64(b2i(i < 40)) },
	} {
		for _, shape := range [][2]int{{120, 170}, {170, 120}} {
			const k = 120
			rows, cols := shape[0], shape[1]
			// Orthonormal rows of noise, scaled and multiplied out.
			u, err := orthonormalRows(normal(k*rows), k, rows)
			if err != nil {
				t.Fatal(err)
			}
			v, err := orthonormalRows(normal(k*cols), k, cols)
			if err != nil {
				t.Fatal(err)
			}
			for i := range k {
				for j := range rows {
					u[i*rows+j] *= value(i)
				}
			}
			w := product(transpose(u, k, rows, goroutines(1)), transpose(v, k, cols, goroutines(1)), rows, cols, k, goroutines(1))
			exact, err := Decompose(rows, cols, w)
			if err != nil {
				t.Fatal(err)
			}
			fast, err := NewLayer(rows, cols, w, nil, goroutines(3))
			if err != nil {
				t.Fatal(err)
			}
			// A value s is off by what rounding s^2 leaves, s1^2 u / s, down to zero
			// at noise.
			for i, s := range exact.Values() {
				if d := math.Abs(fast.Values()[i] - s); !(d <= 1e-12 || d <= 1e-13/s || s <= 2*noise && d <= 2*noise) {
					t.Errorf("%s, %d x %d: singular value %d is %v, want %v", name, rows, cols, i, fast.Values()[i], s)
				}
			}
			for rank := 0; rank <= k; rank++ {
				if a, b := Error(fast.Values(), rank), Error(exact.Values(), rank); math.Abs(a-b) > noise {
					t.Errorf("%s, %d x %d: error %v at rank %d, want %v", name, rows, cols, a, rank, b)
				}
			}
			// Where the values fall, A spans what the first columns of U do.
			const rank = 40
			gap := exact.Values()[rank-1] - exact.Values()[rank]
			p, err := fast.SVD(rank)
			if err != nil {
				t.Fatal(err)
			}
			var inner mat.Dense
			inner.Mul(mat.NewDense(rows, rank, p.A).T(), exact.u.Slice(0, rows, 0, rank))
			var svd mat.SVD
			if !svd.Factorize(&inner, mat.SVDNone) {
				t.Fatal("no angles")
			}
			if least := svd.Values(nil)[rank-1]; !(1-least <= 1e-12/(gap*gap)) {
				t.Errorf("%s, %d x %d: cosine of the largest angle between subspaces is 1 - %g", name, rows, cols, 1-least)
			}
			d, err := Distance(rows, cols, w, product(p.A, transpose(p.B, rank, cols, goroutines(1)), rows, cols, rank, goroutines(1)), nil, goroutines(1))
			if want := Error(exact.Values(), rank); err != nil || math.Abs(d-want) > noise {
				t.Errorf("%s, %d x %d: the truncation has error %v, want %v (%v)", name, rows, cols, d, want, err)
			}
		}
	}
}

// orthonormalRows makes n rows of width cols orthonormal.
func orthonormalRows(v []float64, n, cols int) ([]float64, error) {
	return (&Layer{k: cols, pool: goroutines(1)}).orthonormal(v, n)
}
