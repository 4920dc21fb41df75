package lowrank_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/lamina-llm/lamina/lowrank"
)

// golden is one matrix of testdata/golden.json, made by testdata/make_golden.py.
type golden struct {
	Name       string
	Rows, Cols int
	W, Values  []float64
	Errors     []float64    // by rank, from 0
	Ranks      [][2]float64 // tolerance, rank
	Products   []struct {
		Rank int
		W    []float64
	}
}

func load(t *testing.T) []golden {
	t.Helper()
	data, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []golden
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// far returns the largest difference relative to the largest element.
func far(got, want []float64) float64 {
	if len(got) != len(want) {
		return math.Inf(1)
	}
	var diff, top float64
	for i := range want {
		diff, top = max(diff, math.Abs(got[i]-want[i])), max(top, math.Abs(want[i]))
	}
	return diff / top
}

func TestAgainstNumPy(t *testing.T) {
	const tolerance = 1e-13 // some hundred roundings of float64
	for _, g := range load(t) {
		t.Run(g.Name, func(t *testing.T) {
			before := append([]float64(nil), g.W...)
			d, err := lowrank.Decompose(g.Rows, g.Cols, g.W)
			if err != nil {
				t.Fatal(err)
			}
			if far(g.W, before) != 0 {
				t.Error("Decompose changed its input")
			}
			if e := far(d.Values(), g.Values); e > tolerance {
				t.Errorf("singular values off by %g", e)
			}
			for r, want := range g.Errors {
				if got := lowrank.Error(d.Values(), r); math.Abs(got-want) > tolerance {
					t.Errorf("error at rank %d: %g, want %g", r, got, want)
				}
			}
			for _, p := range g.Ranks {
				if got := lowrank.Rank(d.Values(), p[0]); got != int(p[1]) {
					t.Errorf("tolerance %g: rank %d, want %g", p[0], got, p[1])
				}
			}
			for _, p := range g.Products {
				a, b, err := d.Factors(p.Rank)
				if err != nil {
					t.Fatal(err)
				}
				if e := far(product(a, b, g.Rows, p.Rank, g.Cols), p.W); e > tolerance {
					t.Errorf("rank %d: product off by %g", p.Rank, e)
				}
			}
		})
	}
}

// product multiplies out a (rows x r) and b (r x cols).
func product(a, b []float64, rows, r, cols int) []float64 {
	w := make([]float64, rows*cols)
	for i := range rows {
		for j := range cols {
			for k := range r {
				w[i*cols+j] += a[i*r+k] * b[k*cols+j]
			}
		}
	}
	return w
}

func TestRankEdges(t *testing.T) {
	values := []float64{3, 2, 1}
	for _, c := range []struct {
		eps  float64
		want int
	}{{0, 3}, {-1, 3}, {math.NaN(), 3}, {1, 1}, {math.Inf(1), 1}, {math.Sqrt(1.0 / 14), 2}, {math.Sqrt(5.0 / 14), 1}} {
		if got := lowrank.Rank(values, c.eps); got != c.want {
			t.Errorf("tolerance %g: rank %d, want %d", c.eps, got, c.want)
		}
	}
	if got := lowrank.Rank([]float64{0, 0}, 0); got != 1 {
		t.Errorf("zero matrix: rank %d, want 1", got)
	}
	if got := lowrank.Rank([]float64{2, 1, 0, 0}, 0); got != 2 {
		t.Errorf("deficient matrix without tolerance: rank %d, want 2", got)
	}
}

func TestMaxRank(t *testing.T) {
	for rows := range 40 {
		for cols := range 40 {
			got := lowrank.MaxRank(rows, cols)
			for r := range 42 {
				saves := r*(rows+cols) < rows*cols
				if r > 0 && saves != (r <= got) {
					t.Fatalf("%d x %d: MaxRank %d, but rank %d saves: %v", rows, cols, got, r, saves)
				}
				if r > 0 && lowrank.Saves(rows, cols, r) != saves {
					t.Fatalf("%d x %d: Saves(%d) is not %v", rows, cols, r, saves)
				}
			}
		}
	}
}

func TestDecomposeRefuses(t *testing.T) {
	for _, c := range []struct {
		rows, cols int
		w          []float64
		want       error
	}{
		{0, 0, nil, lowrank.ErrEmpty},
		{0, 3, nil, lowrank.ErrEmpty},
		{3, 0, nil, lowrank.ErrEmpty},
		{-1, -4, make([]float64, 4), lowrank.ErrShape},
		{2, 2, make([]float64, 3), lowrank.ErrShape},
		{1 << 32, 1 << 32, nil, lowrank.ErrShape},
		{2, 2, []float64{1, 2, math.NaN(), 4}, lowrank.ErrNotFinite},
		{2, 2, []float64{1, math.Inf(-1), 3, 4}, lowrank.ErrNotFinite},
		{2, 2, []float64{math.MaxFloat64, math.MaxFloat64, math.MaxFloat64, math.MaxFloat64}, lowrank.ErrNotFinite},
	} {
		if _, err := lowrank.Decompose(c.rows, c.cols, c.w); !errors.Is(err, c.want) {
			t.Errorf("%d x %d %v: error %v, want %v", c.rows, c.cols, c.w, err, c.want)
		}
	}
	d, err := lowrank.Decompose(2, 3, []float64{1, 2, 3, 4, 5, 7})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []int{-1, 0, 3} {
		if _, _, err := d.Factors(r); !errors.Is(err, lowrank.ErrShape) {
			t.Errorf("rank %d: error %v, want %v", r, err, lowrank.ErrShape)
		}
	}
}

// dense is the plainest Operator; it counts its calls.
type dense struct {
	rows, cols int
	w          []float64
	calls      int
	fail       error
}

func (d *dense) Dims() (rows, cols int) { return d.rows, d.cols }

func (d *dense) Apply(dst, x []float32, n int) error {
	d.calls++
	for t := range n {
		for i := range d.rows {
			var sum float64
			for j := range d.cols {
				sum += d.w[i*d.cols+j] * float64(x[t*d.cols+j])
			}
			dst[t*d.rows+i] = float32(sum)
		}
	}
	return d.fail
}

func TestFactorApply(t *testing.T) {
	const rows, cols, rank = 12, 9, 3
	rng := rand.New(rand.NewPCG(1, 2))
	numbers := func(n int) []float64 {
		v := make([]float64, n)
		for i := range v {
			v[i] = float64(rng.IntN(17) - 8) // small integers: every sum is exact
		}
		return v
	}
	a, b := numbers(rows*rank), numbers(rank*cols)
	whole := &dense{rows: rows, cols: cols, w: product(a, b, rows, rank, cols)}
	for _, room := range []int{1, 2, 7, 8} { // vectors per piece
		for _, n := range []int{0, 1, 2, 7} {
			first, second := &dense{rows: rows, cols: rank, w: a}, &dense{rows: rank, cols: cols, w: b}
			f, err := lowrank.NewFactor(first, second, make([]float32, room*rank+rank-1))
			if err != nil {
				t.Fatal(err)
			}
			if r, c := f.Dims(); r != rows || c != cols || f.Rank() != rank {
				t.Fatalf("%d x %d of rank %d", r, c, f.Rank())
			}
			x := make([]float32, n*cols)
			for i := range x {
				x[i] = float32(rng.IntN(9) - 4)
			}
			got, want := make([]float32, n*rows), make([]float32, n*rows)
			if err := f.Apply(got, x, n); err != nil {
				t.Fatal(err)
			}
			if err := whole.Apply(want, x, n); err != nil {
				t.Fatal(err)
			}
			for i := range want {
				if got[i] != want[i] {
					t.Fatalf("room %d, n %d: element %d is %v, want %v", room, n, i, got[i], want[i])
				}
			}
			if pieces := (n + room - 1) / room; first.calls != pieces || second.calls != pieces {
				t.Errorf("room %d, n %d: %d and %d calls, want %d", room, n, first.calls, second.calls, pieces)
			}
		}
	}
}

func TestFactorRefuses(t *testing.T) {
	op := func(rows, cols int) *dense { return &dense{rows: rows, cols: cols, w: make([]float64, rows*cols)} }
	scratch := make([]float32, 2)
	for _, c := range []struct{ a, b *dense }{
		{op(4, 2), op(3, 4)}, {op(4, 3), op(3, 4)}, {op(0, 2), op(2, 4)}, {op(4, 0), op(0, 4)}, {op(4, 2), op(2, 0)},
	} {
		if _, err := lowrank.NewFactor(c.a, c.b, scratch); !errors.Is(err, lowrank.ErrShape) {
			t.Errorf("%v and %v: error %v", c.a, c.b, err)
		}
	}
	f, err := lowrank.NewFactor(op(4, 2), op(2, 3), scratch)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ dst, x, n int }{{7, 6, 2}, {8, 5, 2}, {8, 6, -1}, {8, 6, math.MaxInt}} {
		if err := f.Apply(make([]float32, c.dst), make([]float32, c.x), c.n); !errors.Is(err, lowrank.ErrShape) {
			t.Errorf("%+v: error %v", c, err)
		}
	}
	broken := errors.New("broken")
	for _, which := range []int{0, 1} {
		ops := [2]*dense{op(4, 2), op(2, 3)}
		ops[which].fail = broken
		f, err := lowrank.NewFactor(ops[0], ops[1], scratch)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Apply(make([]float32, 4), make([]float32, 3), 1); !errors.Is(err, broken) {
			t.Errorf("factor %d fails: error %v", which, err)
		}
	}
}

// A matrix with a fast-falling spectrum is represented by two thin factors.
func Example() {
	w := []float64{ // 4 x 3, of rank 1
		1, 2, 3,
		2, 4, 6,
		3, 6, 9,
		4, 8, 12,
	}
	d, err := lowrank.Decompose(4, 3, w)
	if err != nil {
		fmt.Println(err)
		return
	}
	r := lowrank.Rank(d.Values(), 1e-6)
	a, b, err := d.Factors(r)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("rank %d saves: %v; %d + %d numbers\n", r, lowrank.Saves(4, 3, r), len(a), len(b))
	fmt.Printf("row 3 again: %.3f %.3f %.3f\n", a[2]*b[0], a[2]*b[1], a[2]*b[2])
	// Output:
	// rank 1 saves: true; 4 + 3 numbers
	// row 3 again: 3.000 6.000 9.000
}
