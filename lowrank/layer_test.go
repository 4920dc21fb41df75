package lowrank_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lamina-llm/lamina/lowrank"
	"github.com/lamina-llm/lamina/weights/safetensors"
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

const two = goroutines(2)

// alsGolden is testdata/als.json, made by testdata/make_als.py.
type alsGolden struct {
	Small []struct {
		Name                 string
		Rows, Cols, Rank     int
		W, Gram, Last, White []float64
		Errors               []float64 // start, then every turn
		Optimum              float64
	}
	Storyteller []struct {
		Name    string
		Samples int
		Values  []float64    // every 16th
		Ranks   [][2]float64 // tolerance, rank
		ALS     []struct {
			Rank    int
			Errors  []float64
			Optimum float64
		}
	}
}

func loadALS(t *testing.T) (g alsGolden) {
	t.Helper()
	data, err := os.ReadFile("testdata/als.json")
	if err == nil {
		err = json.Unmarshal(data, &g)
	}
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// closeErrors checks relative errors of an approximation. Errors are roots, so one of
// zero is zero but for the root of a rounding.
func closeErrors(t *testing.T, what string, got, want []float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d errors, want %d", what, len(got), len(want))
	}
	for i := range got {
		if d := math.Abs(got[i]*got[i] - want[i]*want[i]); !(d < 1e-12) {
			t.Errorf("%s: error %d is %.15g, want %.15g", what, i, got[i], want[i])
		}
		if i > 0 && got[i]*got[i] > got[i-1]*got[i-1]+1e-14 {
			t.Errorf("%s: the error grows in turn %d, from %g to %g", what, i, got[i-1], got[i])
		}
	}
}

func TestALSAgainstNumPy(t *testing.T) {
	for _, g := range loadALS(t).Small {
		t.Run(g.Name, func(t *testing.T) {
			l, err := lowrank.NewLayer(g.Rows, g.Cols, g.W, g.Gram, two)
			if err != nil {
				t.Fatal(err)
			}
			compare := func(what string, p *lowrank.Pair, want []float64) {
				t.Helper()
				if e := far(product(p.A, p.B, g.Rows, p.Rank, g.Cols), want); e > 1e-7 {
					t.Errorf("%s: product off by %g", what, e)
				}
				d, err := lowrank.Distance(g.Rows, g.Cols, g.W, product(p.A, p.B, g.Rows, p.Rank, g.Cols), g.Gram, two)
				if last := p.Errors[len(p.Errors)-1]; err != nil || math.Abs(d*d-last*last) > 1e-12 {
					t.Errorf("%s: claims error %v, has %v (%v)", what, last, d, err)
				}
			}
			// Every iterate: runs that end after that many turns.
			for turns := range g.Errors {
				p, err := l.ALS(g.Rank, turns)
				if err != nil {
					t.Fatal(err)
				}
				closeErrors(t, "ALS", p.Errors, g.Errors[:turns+1])
				if turns == len(g.Errors)-1 {
					compare("ALS", p, g.Last)
				}
			}
			plain, err := l.SVD(g.Rank)
			if err != nil {
				t.Fatal(err)
			}
			closeErrors(t, "SVD", plain.Errors, g.Errors[:1])
			best, err := l.Optimal(g.Rank)
			if err != nil {
				t.Fatal(err)
			}
			if g.White != nil {
				closeErrors(t, "optimum", best.Errors, []float64{g.Optimum})
				compare("optimum", best, g.White)
			}
			lost := best.Errors[0] * best.Errors[0] * l.Energy()
			if r, err := l.OptimalRank(lost + 1e-9*l.Energy()); err != nil || r > g.Rank {
				t.Errorf("rank %d for what rank %d loses (%v)", r, g.Rank, err)
			}
			if r, err := l.OptimalRank(lost * 0.999); lost > 1e-9*l.Energy() && (err != nil || r != g.Rank+1) {
				t.Errorf("rank %d for less than what rank %d loses (%v)", r, g.Rank, err)
			}
			if last := g.Errors[len(g.Errors)-1]; best.Errors[0] > last+1e-6 {
				t.Errorf("optimum %g above ALS %g", best.Errors[0], last)
			}
		})
	}
}

// TestStoryteller compares a trained model's matrices, of the sizes that occur,
// with NumPy.
func TestStoryteller(t *testing.T) {
	const folder = "../../shared/models/storyteller-22m"
	if _, err := os.Stat(folder); err != nil {
		t.Skip("no checkpoint in ../shared/models/storyteller-22m")
	}
	f, err := safetensors.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	read := func(name string, rows int) (w []float64, height, width int) {
		for _, info := range f.Tensors() {
			if info.Name == name {
				height, width = info.Shape[0], info.Shape[1]
			}
		}
		if rows > 0 {
			height = rows
		}
		v := make([]float32, height*width)
		if err := f.ReadRows(name, 0, height, v); err != nil {
			t.Fatal(err)
		}
		w = make([]float64, len(v))
		for i, x := range v {
			w[i] = float64(x)
		}
		return w, height, width
	}
	for _, g := range loadALS(t).Storyteller {
		t.Run(g.Name, func(t *testing.T) {
			w, rows, cols := read(g.Name, 0)
			x, samples, _ := read("model.embed_tokens.weight", g.Samples)
			second := make([]float64, cols*cols)
			for s := range samples {
				row := x[s*cols : (s+1)*cols]
				for i, a := range row {
					for j, b := range row {
						second[i*cols+j] += a * b
					}
				}
			}
			l, err := lowrank.NewLayer(rows, cols, w, second, two)
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range g.Values {
				if got := l.Values()[16*i]; math.Abs(got-want) > 1e-9*g.Values[0] {
					t.Errorf("singular value %d: %v, want %v", 16*i, got, want)
				}
			}
			values, err := lowrank.Spectrum(rows, cols, w, two)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range g.Ranks {
				if got := lowrank.Rank(values, p[0]); got != int(p[1]) {
					t.Errorf("tolerance %g: rank %d, want %g", p[0], got, p[1])
				}
			}
			for _, c := range g.ALS {
				p, err := l.ALS(c.Rank, len(c.Errors)-1)
				if err != nil {
					t.Fatal(err)
				}
				for i, want := range c.Errors {
					if math.Abs(p.Errors[i]-want) > 1e-7 || i > 0 && p.Errors[i] > p.Errors[i-1]+1e-12 {
						t.Errorf("rank %d, turn %d: error %.9f, want %.9f", c.Rank, i, p.Errors[i], want)
					}
				}
				best, err := l.Optimal(c.Rank)
				if err != nil {
					t.Fatal(err)
				}
				if c.Optimum > 0 && math.Abs(best.Errors[0]-c.Optimum) > 1e-7 {
					t.Errorf("rank %d: optimum %.9f, want %.9f", c.Rank, best.Errors[0], c.Optimum)
				}
			}
		})
	}
}

func random(n int, seed uint64) []float64 {
	r := rand.New(rand.NewPCG(seed, 1))
	v := make([]float64, n)
	for i := range v {
		v[i] = r.NormFloat64()
	}
	return v
}

func unit(n int) []float64 {
	m := make([]float64, n*n)
	for i := range n {
		m[i*n+i] = 1
	}
	return m
}

func TestLayerEdges(t *testing.T) {
	for _, c := range []struct {
		name             string
		rows, cols, rank int
		w                []float64
		want             float64 // relative error of every method
	}{
		{"zero", 4, 5, 2, make([]float64, 20), 0},
		{"one by one", 1, 1, 1, []float64{-3}, 0},
		{"row", 1, 4, 1, random(4, 2), 0},
		{"column", 4, 1, 1, random(4, 3), 0},
		{"full", 5, 4, 4, random(20, 4), 0},
		{"deficient", 3, 3, 2, []float64{1, 2, 3, 2, 4, 6, -1, -2, -3}, 0},
		{"repeated", 2, 2, 1, []float64{0, 1, 1, 0}, math.Sqrt(0.5)},
		{"huge", 2, 2, 1, []float64{0, 1e200, 1e200, 0}, math.Sqrt(0.5)},
		{"minute", 2, 2, 1, []float64{0, 1e-200, 1e-200, 0}, math.Sqrt(0.5)},
	} {
		t.Run(c.name, func(t *testing.T) {
			second := unit(c.cols)
			if c.name == "huge" || c.name == "minute" {
				second = nil // the energy of the outputs is beyond float64
			}
			l, err := lowrank.NewLayer(c.rows, c.cols, c.w, second, two)
			if err != nil {
				t.Fatal(err)
			}
			pairs := map[string]*lowrank.Pair{}
			if pairs["svd"], err = l.SVD(c.rank); err != nil {
				t.Fatal(err)
			}
			if second != nil {
				var e1, e2 error
				pairs["als"], e1 = l.ALS(c.rank, 5)
				pairs["optimal"], e2 = l.Optimal(c.rank)
				if err := errors.Join(e1, e2); err != nil {
					t.Fatal(err)
				}
			}
			for name, p := range pairs {
				v := product(p.A, p.B, c.rows, p.Rank, c.cols)
				top, diff := 0.0, 0.0
				for i := range v {
					top, diff = max(top, math.Abs(c.w[i])), max(diff, math.Abs(v[i]-c.w[i]))
				}
				if c.want == 0 && !(diff <= 1e-12*top) {
					t.Errorf("%s: off by %g of %g", name, diff, top)
				}
				if p.Errors != nil && math.Abs(p.Errors[len(p.Errors)-1]-c.want) > 1e-7 {
					t.Errorf("%s: errors %v, want %g", name, p.Errors, c.want)
				}
			}
		})
	}
}

// TestNoReach: W only sees what no input has. Nothing is lost, and nothing
// divides by zero.
func TestNoReach(t *testing.T) {
	w := []float64{0, 1, 0, 2, 0, 3}
	second := []float64{5, 0, 0, 0}
	l, err := lowrank.NewLayer(3, 2, w, second, two)
	if err != nil {
		t.Fatal(err)
	}
	p, err := l.ALS(1, 3)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range append(append([]float64{}, p.A...), p.B...) {
		if v != 0 {
			t.Fatalf("factors %v and %v, want zeros", p.A, p.B)
		}
	}
}

// TestIndefinite: what rounding, or a caller, made of a Gram matrix may give some
// outputs a negative energy. That counts as none, and nothing is NaN.
func TestIndefinite(t *testing.T) {
	w, second := []float64{1, 1}, []float64{1, -3, -3, 1} // w second w^T is -4
	l, err := lowrank.NewLayer(1, 2, w, second, two)
	if err != nil {
		t.Fatal(err)
	}
	p, err := l.ALS(1, 2)
	if err != nil {
		t.Fatal(err)
	}
	if bad := slices.ContainsFunc(slices.Concat(p.A, p.B, p.Errors), func(v float64) bool { return v-v != 0 }); bad || l.Energy() != 0 {
		t.Errorf("energy %v, %+v", l.Energy(), p)
	}
	if d, err := lowrank.Distance(1, 2, w, []float64{1, -1}, second, two); err != nil || d != 0 {
		t.Errorf("distance %v, %v", d, err)
	}
}

// TestHugeEnergy: eigenvalues beyond half of what a float64 holds are no infinities.
func TestHugeEnergy(t *testing.T) {
	l, err := lowrank.NewLayer(2, 2, []float64{1, 0, 0, 1}, []float64{1e308, 0, 0, 1e307}, two)
	if err != nil {
		t.Fatal(err)
	}
	p, err := l.Optimal(1)
	if err != nil || math.Abs(p.Errors[0]-math.Sqrt(1.0/11)) > 1e-12 {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := lowrank.Distance(1, 1, []float64{1e200}, []float64{1}, nil, two); !errors.Is(err, lowrank.ErrNotFinite) {
		t.Errorf("distance of what overflows: %v", err)
	}
}

// TestOptimalRank: the fewest that lose no more than was allowed, in the unit of
// the energy; without a number to go by nothing is lost.
func TestOptimalRank(t *testing.T) {
	l, err := lowrank.NewLayer(3, 3, []float64{3, 0, 0, 0, 2, 0, 0, 0, 1}, unit(3), two)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		lost float64
		want int
	}{{0, 3}, {0.99, 3}, {1.01, 2}, {5.01, 1}, {100, 1}, {-1, 3}, {math.NaN(), 3}, {math.Inf(1), 1}} {
		if r, err := l.OptimalRank(c.lost); err != nil || r != c.want {
			t.Errorf("losing %v: rank %d, %v, want %d", c.lost, r, err, c.want)
		}
	}
}

func TestLayerRefuses(t *testing.T) {
	nan := math.NaN()
	for name, c := range map[string]struct {
		rows, cols int
		w, second  []float64
		want       error
	}{
		"empty":                 {0, 3, nil, nil, lowrank.ErrEmpty},
		"shape":                 {2, 2, make([]float64, 5), nil, lowrank.ErrShape},
		"NaN in the source":     {2, 2, []float64{1, 2, nan, 4}, nil, lowrank.ErrNotFinite},
		"infinity":              {2, 2, []float64{1, 2, math.Inf(1), 4}, unit(2), lowrank.ErrNotFinite},
		"Gram of other size":    {2, 2, random(4, 1), unit(3), lowrank.ErrShape},
		"no inputs":             {2, 2, random(4, 1), make([]float64, 4), lowrank.ErrNoInputs},
		"negative variance":     {2, 2, random(4, 1), []float64{1, 0, 0, -1}, lowrank.ErrNoInputs},
		"NaN in the Gram":       {2, 2, random(4, 1), []float64{1, nan, nan, 1}, lowrank.ErrNotFinite},
		"NaN on its diagonal":   {2, 2, random(4, 1), []float64{1, 0, 0, nan}, lowrank.ErrNotFinite},
		"outputs that overflow": {1, 2, []float64{1e160, 1}, unit(2), lowrank.ErrNotFinite},
	} {
		if _, err := lowrank.NewLayer(c.rows, c.cols, c.w, c.second, two); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	l, err := lowrank.NewLayer(3, 2, random(6, 1), nil, two)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []int{-1, 0, 3} {
		if _, err := l.SVD(r); !errors.Is(err, lowrank.ErrShape) {
			t.Errorf("rank %d: %v", r, err)
		}
	}
	if _, err := l.ALS(1, 1); !errors.Is(err, lowrank.ErrNoInputs) {
		t.Errorf("ALS without inputs: %v", err)
	}
}

func TestSelect(t *testing.T) {
	shapes := []lowrank.Shape{
		{Rows: 100, Cols: 100, Values: spectrum(100, 0.9)},
		{Rows: 40, Cols: 160, Values: spectrum(40, 1)}, // flat: nothing to save
		{Rows: 160, Cols: 40, Values: spectrum(40, 0.8)},
	}
	all := int64(100*100 + 2*40*160)
	last := 0.0
	for _, keep := range []float64{1, 0.9, 0.8, 0.6, 0.5, 0.2} {
		eps, err := lowrank.Tolerance(shapes, keep)
		if err != nil {
			t.Fatal(err)
		}
		count := func(eps float64) (n int64) {
			for _, s := range shapes {
				r := s.Rank(eps)
				if r > 0 && (lowrank.Error(s.Values, r) > eps || !lowrank.Saves(s.Rows, s.Cols, r)) {
					t.Errorf("keep %v: rank %d", keep, r)
				}
				n += s.Params(r)
			}
			return n
		}
		if eps < last {
			t.Errorf("keep %v: tolerance %v below %v", keep, eps, last)
		}
		last = eps
		if got := float64(count(eps)) / float64(all); got > keep {
			t.Errorf("keep %v: %v are left at %v", keep, got, eps)
		}
		if eps > 0 && float64(count(eps*(1-1e-9)))/float64(all) <= keep {
			t.Errorf("keep %v: a tolerance below %v would do", keep, eps)
		}
	}
	for _, keep := range []float64{0, -1, 1.1, math.NaN(), 0.001} {
		if _, err := lowrank.Tolerance(shapes, keep); !errors.Is(err, lowrank.ErrShape) {
			t.Errorf("keep %v: %v", keep, err)
		}
	}
	for _, c := range []struct {
		keep float64
		want int
	}{{0.8, 40}, {0.001, 1}, {1, 0}, {0.5, 25}, {1e300, 0}, {math.Inf(1), 0}} {
		if got := shapes[0].Uniform(c.keep); got != c.want {
			t.Errorf("uniform %v: rank %d, want %d", c.keep, got, c.want)
		}
	}
}

func spectrum(n int, fall float64) []float64 {
	v := make([]float64, n)
	for i := range v {
		v[i] = math.Pow(fall, float64(i))
	}
	return v
}

// BenchmarkLlamaLayer prepares the seven matrices of a layer of Llama-3-8B's
// proportions, at a quarter, half or all of its width, and takes ten turns of ALS
// at ranks that keep 80 %. The largest takes about 8 GiB and minutes:
// go test ./lowrank -run XX -bench LlamaLayer/4096 -benchtime 1x.
func BenchmarkLlamaLayer(b *testing.B) {
	pool := takers(runtime.GOMAXPROCS(0))
	for _, width := range []int{512, 1024, 2048, 4096} {
		b.Run(fmt.Sprint(width), func(b *testing.B) {
			var prepare, als time.Duration
			last := 0.0
			for b.Loop() {
				second := map[int][]float64{width: spiked(width), width * 7 / 2: spiked(width * 7 / 2)}
				for i, shape := range [][2]int{
					{width, width}, {width / 4, width}, {width / 4, width}, {width, width}, // q, k, v, o
					{width * 7 / 2, width}, {width * 7 / 2, width}, {width, width * 7 / 2}, // gate, up, down
				} {
					rows, cols := shape[0], shape[1]
					w := random(rows*cols, uint64(i))
					start := time.Now()
					l, err := lowrank.NewLayer(rows, cols, w, second[cols], pool)
					if err != nil {
						b.Fatal(err)
					}
					ready := time.Now()
					p, err := l.ALS(int(0.8*float64(rows*cols)/float64(rows+cols)), 10)
					if err != nil {
						b.Fatal(err)
					}
					prepare, als = prepare+ready.Sub(start), als+time.Since(ready)
					last = p.Errors[10]
				}
			}
			b.ReportMetric(prepare.Seconds()/float64(b.N), "s/prepare")
			b.ReportMetric(als.Seconds()/float64(b.N), "s/als")
			b.ReportMetric(last, "error")
		})
	}
}

// takers are goroutines that take the next index when they are done with one.
type takers int

func (g takers) Workers() int { return int(g) }

func (g takers) For(n int, f func(worker, i int)) {
	var wait sync.WaitGroup
	var next atomic.Int64
	for w := range min(int(g), n) {
		wait.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(w, i)
			}
		})
	}
	wait.Wait()
}

// spiked returns a Gram matrix of n inputs whose variances spread over some
// orders of magnitude, with one direction that all share.
func spiked(n int) []float64 {
	x, m := random(n, 2), make([]float64, n*n)
	for i := range n {
		for j := range n {
			m[i*n+j] = x[i] * x[j]
		}
		m[i*n+i] += math.Exp(2 * x[n-1-i])
	}
	return m
}
