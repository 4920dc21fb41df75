package affine

import (
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/mat"
)

// covariance returns a random one, and a function that reads it.
func covariance(r *rand.Rand, n int) *mat.SymDense {
	x := mat.NewDense(n, 2*n, nil)
	for i := range n {
		for j := range 2 * n {
			x.Set(i, j, r.NormFloat64()*math.Exp2(float64(i%5)/2))
		}
	}
	c := mat.NewSymDense(n, nil)
	c.SymOuterK(1/float64(2*n), x)
	return c
}

// full returns P as a matrix.
func (t *Transform) full() *mat.Dense {
	n := t.a * t.b
	p := mat.NewDense(n, n, nil)
	for j := range n {
		e := make([]float32, n)
		e[j] = 1
		t.Apply(e)
		for i, v := range e {
			p.Set(i, j, float64(v))
		}
	}
	return p
}

func TestSplit(t *testing.T) {
	for n, want := range map[int][2]int{1: {1, 1}, 7: {1, 7}, 384: {16, 24}, 1536: {32, 48}, 4096: {64, 64}, 14336: {112, 128}} {
		if a, b := Split(n); a != want[0] || b != want[1] {
			t.Errorf("%d = %d x %d, want %v", n, a, b, want)
		}
	}
}

// TestKronecker finds factors that are known, and beats others where there are
// none.
func TestKronecker(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	a, b := 4, 6
	want1, want2 := covariance(r, a), covariance(r, b)
	var c mat.Dense
	c.Kronecker(want1, want2)
	c1, c2, err := Kronecker(c.At, a, b)
	if err != nil {
		t.Fatal(err)
	}
	var got, diff mat.Dense
	got.Kronecker(c1, c2)
	diff.Sub(&got, &c)
	if e := mat.Norm(&diff, 2) / mat.Norm(&c, 2); e > 1e-9 {
		t.Errorf("the factors of a Kronecker product are off by %v", e)
	}

	g := covariance(r, a*b)
	if c1, c2, err = Kronecker(g.At, a, b); err != nil {
		t.Fatal(err)
	}
	// tr(C^-1 G) + log det C is stationary and smaller than nearby.
	cost := func(c1, c2 *mat.SymDense) float64 {
		var c, inv, prod mat.Dense
		c.Kronecker(c1, c2)
		if err := inv.Inverse(&c); err != nil {
			t.Fatal(err)
		}
		prod.Mul(&inv, g)
		d, _ := mat.LogDet(&c)
		return mat.Trace(&prod) + d
	}
	best := cost(c1, c2)
	for range 50 {
		o1, o2 := mat.NewSymDense(a, nil), mat.NewSymDense(b, nil)
		o1.AddSym(c1, scaled(covariance(r, a), r.Float64()*0.05))
		o2.AddSym(c2, scaled(covariance(r, b), r.Float64()*0.05))
		if other := cost(o1, o2); other < best {
			t.Errorf("cost %v, nearby %v", best, other)
		}
	}
	if _, _, err := Kronecker(func(int, int) float64 { return 0 }, 2, 2); err == nil {
		t.Error("no input has factors")
	}
}

func scaled(c *mat.SymDense, k float64) *mat.SymDense {
	c.ScaleSym(k, c)
	return c
}

// TestTransforms checks what the transforms diagonalise, and that products stay.
func TestTransforms(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	a, b := 3, 5
	g1, g2, s1, s2 := covariance(r, a), covariance(r, b), covariance(r, a), covariance(r, b)
	var g, s mat.Dense
	g.Kronecker(g1, g2)
	s.Kronecker(s1, s2)
	principal, err := Principal(g1, g2)
	if err != nil {
		t.Fatal(err)
	}
	joint, err := Joint(g1, g2, s1, s2)
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]*Transform{"principal": principal, "joint": joint} {
		p := x.full()
		var pg, pgp, inv, is, isi mat.Dense
		pg.Mul(p, &g)
		pgp.Mul(&pg, p.T())
		if e := offDiagonal(&pgp); e > 1e-5 {
			t.Errorf("%s: inputs stay correlated by %v", name, e)
		}
		if err := inv.Inverse(p); err != nil {
			t.Fatal(err)
		}
		is.Mul(inv.T(), &s)
		if x == principal {
			is.Mul(inv.T(), mat.NewDiagDense(a*b, ones(a*b)))
		}
		isi.Mul(&is, &inv)
		for i := range a * b {
			if v := isi.At(i, i); math.Abs(v-1) > 1e-4 {
				t.Errorf("%s: weights of column %d have variance %v, want 1", name, i, v)
			}
		}
		if e := offDiagonal(&isi); e > 1e-4 {
			t.Errorf("%s: weights are correlated by %v", name, e)
		}
		v, w := make([]float32, a*b), make([]float32, a*b)
		want, got := 0.0, 0.0
		for i := range v {
			v[i], w[i] = float32(r.NormFloat64()), float32(r.NormFloat64())
			want += float64(v[i]) * float64(w[i])
		}
		x.Apply(v)
		x.ApplyRow(w)
		for i := range v {
			got += float64(v[i]) * float64(w[i])
		}
		if math.Abs(got-want) > 1e-4 {
			t.Errorf("%s: a product of %v became %v", name, want, got)
		}
		if x.Params() != a*a+b*b {
			t.Errorf("%s: %d parameters", name, x.Params())
		}
	}
}

func ones(n int) []float64 {
	v := make([]float64, n)
	for i := range v {
		v[i] = 1
	}
	return v
}

// offDiagonal returns the largest correlation.
func offDiagonal(c *mat.Dense) (most float64) {
	n, _ := c.Dims()
	for i := range n {
		for j := range i {
			most = max(most, math.Abs(c.At(i, j))/math.Sqrt(c.At(i, i)*c.At(j, j)))
		}
	}
	return most
}
