package pack

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/pack/quant"
)

// inputs returns n vectors of the given width: mixtures of few factors, with
// very unlike variances, and noise.
func inputs(r *rand.Rand, n, width, factors int, noise float64) []float32 {
	mix := make([]float64, width*factors)
	for i := range mix {
		mix[i] = r.NormFloat64() * math.Exp2(3*r.Float64()-3)
	}
	x := make([]float32, n*width)
	f := make([]float64, factors)
	for t := range n {
		for k := range f {
			f[k] = r.NormFloat64()
		}
		for j := range width {
			v := noise * r.NormFloat64()
			for k := range f {
				v += mix[j*factors+k] * f[k]
			}
			x[t*width+j] = float32(v)
		}
	}
	return x
}

func gramOf(x []float32, n, width int) *triangle {
	g := newTriangle(width)
	for at := 0; at < n; at += 100 {
		part := min(100, n-at)
		g.add(x[at*width:(at+part)*width], part, workers(2), new(columns))
	}
	return g
}

func gaussian(r *rand.Rand, n int) []float32 {
	w := make([]float32, n)
	for i := range w {
		w[i] = float32(r.NormFloat64())
	}
	return w
}

func TestGram(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, width := range []int{1, 63, 64, 150} {
		const n = 230
		x := inputs(r, n, width, 3, 0.5)
		g := gramOf(x, n, width)
		for i := range width {
			for j := range i + 1 {
				want, size := 0.0, 0.0
				for t := range n {
					p := float64(x[t*width+i]) * float64(x[t*width+j])
					want, size = want+p, size+math.Abs(p)
				}
				if got := g.symmetric(j, i); math.Abs(got-want) > 1e-5*size {
					t.Fatalf("width %d: element (%d, %d) is %v, want %v", width, i, j, got, want)
				}
			}
		}
	}
}

// The factors must give back the damped matrix, of several panels too.
func TestFactorise(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, width := range []int{1, 63, 64, 90, 256, 257, 600} {
		const n = 400
		g := gramOf(inputs(r, n, width, 20, 0.3), n, width)
		perm := r.Perm(width)
		a, root, err := g.factorise(perm, dampDense, workers(3))
		if err != nil {
			t.Fatal(err)
		}
		mean := 0.0
		for j := range width {
			mean += g.symmetric(j, j) / float64(width)
		}
		for i := range width {
			for j := range i + 1 {
				got := 0.0
				for c := i; c < width; c++ { // R[c][i] = a[c][i] root[c]
					got += float64(*a.at(c, i)) * root[c] * float64(*a.at(c, j)) * root[c]
				}
				want := g.symmetric(perm[i], perm[j])
				if i == j {
					want += dampDense.own*want + dampDense.level(g, mean)*mean
				}
				if math.Abs(got-want) > 1e-5*mean {
					t.Fatalf("width %d: element (%d, %d) is %v, want %v", width, i, j, got, want)
				}
			}
			if one := *a.at(i, i); math.Abs(float64(one)-1) > 1e-6 {
				t.Fatalf("width %d: element (%d, %d) of the factor is %v", width, i, i, one)
			}
		}
	}
}

// Inputs that all say the same have a Gram matrix of rank one, and ones that are never in
// use a row of zeros: damping must see to both.
func TestFactoriseSingular(t *testing.T) {
	for _, width := range []int{70, 300} {
		g := newTriangle(width)
		for i := range width {
			for j := 4; i > 3 && j <= i; j++ {
				*g.at(i, j) = 1
			}
		}
		if _, _, err := g.factorise(rand.New(rand.NewPCG(1, 1)).Perm(width), dampDense, workers(2)); err != nil {
			t.Errorf("width %d: %v", width, err)
		}
	}
}

// planned returns what a matrix (rows x width) whose outputs cost alike gets on
// inputs with that Gram matrix.
func planned(g *triangle, w []float32) (*feedback, error) {
	rows := len(w) / g.n
	cost := make([]float64, rows)
	for r := range cost {
		cost[r] = 1
	}
	f, err := newFeedback(g, rows, dampDense, workers(1))
	if err != nil {
		return nil, err
	}
	f.rows(wanted(cost, rowPower))
	for r := range rows {
		f.observe(r, w[r*g.n:(r+1)*g.n])
	}
	f.observed()
	f.shift(f.excess() / float64(rows))
	return f, nil
}

// reconstruct runs the loop over w (rows x width) and returns what stands for
// it, and the bits that were estimated. A step of one is the size of the weights.
func reconstruct(t *testing.T, f *feedback, mode rans.Mode, w []float32, step float64) (out []float32, bits float64) {
	t.Helper()
	n := f.a.n
	rows := len(w) / n
	fit, err := f.fit(quant.Kind{Mode: mode}, step, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	values, orig := make([]float32, len(w)), make([]float32, len(w))
	for r := range rows {
		for k, j := range f.perm {
			values[r*n+k] = w[r*n+j] / fit.plan.scale.Value(r)
		}
	}
	copy(orig, values)
	new(feedbackLoop).run(f, values, fit.plan.class, fit.groupCoders, func(int, []uint8, []int32) {})
	out = make([]float32, len(w))
	for r := range rows {
		for k, j := range f.perm {
			out[r*n+j] = (orig[r*n+k] - values[r*n+k]) * fit.plan.scale.Value(r)
		}
	}
	return out, fit.bits
}

// outputError returns the mean squared error of products with x.
func outputError(w, q, x []float32, width int) float64 {
	sum := 0.0
	rows, n := len(w)/width, len(x)/width
	d := make([]float32, len(w))
	for i := range d {
		d[i] = w[i] - q[i]
	}
	for r := range rows {
		for t := range n {
			dot := 0.0
			for j := range width {
				dot += float64(d[r*width+j]) * float64(x[t*width+j])
			}
			sum += dot * dot
		}
	}
	return sum / float64(rows*n)
}

// On inputs that go together, error feedback must beat plain quantisation with
// the same number of bits by far, on inputs that it has not seen.
func TestFeedbackBeatsPlain(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	const width, rows, n = 192, 128, 1500
	all := inputs(r, n+200, width, 48, 0.1)
	x, unseen := all[:n*width], all[n*width:]
	w := gaussian(r, rows*width)
	for _, mode := range []rans.Mode{rans.Scalar, rans.DQ} {
		f, err := planned(gramOf(x, n, width), w)
		if err != nil {
			t.Fatal(err)
		}
		q, bits := reconstruct(t, f, mode, w, 0.5)
		// Uniform inputs make the same loop a plain quantiser.
		id := newTriangle(width)
		for j := range width {
			*id.at(j, j) = 1
		}
		plain, err := planned(id, w)
		if err != nil {
			t.Fatal(err)
		}
		lo, hi := 0.05, 4.0
		var p []float32
		var plainBits float64
		for range 12 {
			mid := math.Sqrt(lo * hi)
			if p, plainBits = reconstruct(t, plain, mode, w, mid); plainBits > bits {
				lo = mid
			} else {
				hi = mid
			}
		}
		with, without := outputError(w, q, unseen, width), outputError(w, p, unseen, width)
		t.Logf("%v: %.3f bits, error %.5f; plain %.3f bits, %.5f", mode, bits, with, plainBits, without)
		if with > without/2 || math.Abs(plainBits-bits) > 0.05 {
			t.Errorf("%v: error %.5f at %.3f bits, plain %.5f at %.3f", mode, with, bits, without, plainBits)
		}
	}
}

// Fewer samples than inputs, dead inputs, one input that dwarfs the rest, no
// input at all: nothing may break, and the weights stay near.
func TestFeedbackDegenerate(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	const width, rows = 130, 64
	w := gaussian(r, rows*width)
	few := inputs(r, 20, width, 5, 0)
	dead := inputs(r, 300, width, 20, 0.1)
	huge := inputs(r, 300, width, 20, 0.1)
	for t := range 300 {
		for j := range 40 {
			dead[t*width+3*j] = 0
		}
		huge[t*width+7] = float32(1e4 * r.NormFloat64())
	}
	for name, x := range map[string][]float32{"few": few, "dead": dead, "huge": huge, "none": make([]float32, 64*width)} {
		for _, mode := range []rans.Mode{rans.Scalar, rans.DQ} {
			for _, step := range []float64{0.05, 0.5, 2} {
				f, err := planned(gramOf(x, len(x)/width, width), w)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				q, bits := reconstruct(t, f, mode, w, step)
				zero := outputError(w, make([]float32, len(w)), x, width)
				if e := outputError(w, q, x, width); !(e <= zero) || !(bits > 0 && bits < 10) {
					t.Errorf("%s, %v, step %v: error %v at %v bits, %v without any weights", name, mode, step, e, bits, zero)
				}
				for i, v := range q {
					if v-v != 0 {
						t.Fatalf("%s, %v, step %v: weight %d is %v", name, mode, step, i, v)
					}
				}
			}
		}
	}
	bad := inputs(r, 64, width, 5, 0)
	bad[5] = float32(math.Inf(1))
	if _, err := planned(gramOf(bad, 64, width), w); err == nil {
		t.Error("infinite activations were accepted")
	}
}

// The pool must run every index once, each worker at one index at a time.
func TestWorkers(t *testing.T) {
	var p model.Pool = workers(3)
	seen, busy := make([]int, 100), make([]int, p.Workers())
	p.For(len(seen), func(w, i int) {
		busy[w]++
		seen[i]++
	})
	total := 0
	for _, n := range busy {
		total += n
	}
	for i, n := range seen {
		if n != 1 || total != len(seen) {
			t.Fatalf("index %d ran %d times, %d in all", i, n, total)
		}
	}
}
