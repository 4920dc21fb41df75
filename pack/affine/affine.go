// Package affine makes linear transforms of the inputs of a matrix that are
// Kronecker products of two small matrices, P = P1 (x) P2, as FlatQuant (Sun et al.,
// 2025) and LLMCodec (Wang et al., arXiv 2606.05861) use: W x = (W P^-1) (P x).
//
// Let errors of the coded W P^-1 be white within a column, and every column have
// the step that suits it best. With G the covariance of inputs and S that of
// the rows of W, outputs then have the error, at a given rate,
//
//	log error = (1/n) sum over j of log (P G P^T)[j][j] + log (P^-T S P^-1)[j][j]
//
// which no P takes below (log det G + log det S) / n, and which P reaches that makes
// both products diagonal. [Joint] does that for the Kronecker products that are
// nearest to G and S; [Principal] takes S as the identity, so P is orthogonal.
//
// The package knows vectors and covariances, no files and no quantiser.
package affine

import (
	"errors"
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"
)

// Split returns the factors a*b = n, a at most b, that are closest to each
// other.
func Split(n int) (a, b int) {
	for a = int(math.Sqrt(float64(n))); n%a != 0; {
		a--
	}
	return a, n / a
}

// Transform is P = P1 (x) P2 of a*b elements: element i*b+k of a vector is row i,
// column k of an a x b matrix X, and P X is P1 X P2^T. It is immutable.
type Transform struct {
	a, b         int
	p1, p2       []float32 // a x a, b x b
	back1, back2 []float32 // transposed inverses
}

// newTransform returns the transform of two matrices that can be inverted.
func newTransform(p1, p2 *mat.Dense) (*Transform, error) {
	t := &Transform{}
	t.a, _ = p1.Dims()
	t.b, _ = p2.Dims()
	var err error
	if t.back1, err = transposedInverse(p1); err == nil {
		t.back2, err = transposedInverse(p2)
	}
	t.p1, t.p2 = floats(p1), floats(p2)
	return t, err
}

func floats(m *mat.Dense) []float32 {
	r, c := m.Dims()
	out := make([]float32, 0, r*c)
	for i := range r {
		for _, v := range m.RawRowView(i) {
			out = append(out, float32(v))
		}
	}
	return out
}

func transposedInverse(m *mat.Dense) ([]float32, error) {
	var inv mat.Dense
	if err := inv.Inverse(m); err != nil {
		return nil, fmt.Errorf("affine: %w", err)
	}
	return floats(mat.DenseCopyOf(inv.T())), nil
}

// Params returns the number of elements of P1 and P2.
func (t *Transform) Params() int { return t.a*t.a + t.b*t.b }

// Apply computes x = P x, an input. It may be called concurrently.
func (t *Transform) Apply(x []float32) { t.multiply(t.p1, t.p2, x) }

// ApplyRow computes w = P^-T w, a row of the matrix.
func (t *Transform) ApplyRow(w []float32) { t.multiply(t.back1, t.back2, w) }

func (t *Transform) multiply(p1, p2, x []float32) {
	y := make([]float32, t.a*t.b)
	for i := range t.a { // Y = X P2^T
		row, out := x[i*t.b:(i+1)*t.b], y[i*t.b:(i+1)*t.b]
		for k := range out {
			sum := float32(0)
			for l, v := range p2[k*t.b : (k+1)*t.b] {
				sum += v * row[l]
			}
			out[k] = sum
		}
	}
	clear(x[:t.a*t.b])
	for i := range t.a { // X = P1 Y
		out := x[i*t.b : (i+1)*t.b]
		for j, v := range p1[i*t.a : (i+1)*t.a] {
			for k, u := range y[j*t.b : (j+1)*t.b] {
				out[k] += v * u
			}
		}
	}
}

// Kronecker returns the symmetric matrices c1 (a x a) and c2 (b x b), of traces a
// and about that of c over a, whose Kronecker product is nearest to the covariance
// c in divergence: the maximum likelihood of matrix-variate normal vectors, by
// turns of closed-form steps (Dutilleul, The MLE algorithm for the matrix normal
// distribution, 1999). c is a*b x a*b and positive definite; at gives its elements.
func Kronecker(at func(i, j int) float64, a, b int) (c1, c2 *mat.SymDense, err error) {
	c1, c2 = mat.NewSymDense(a, nil), mat.NewSymDense(b, nil)
	for i := range a {
		c1.SetSym(i, i, 1)
	}
	const turns = 12
	for range turns {
		inv, err := inverse(c1)
		if err != nil {
			return nil, nil, err
		}
		for k := range b {
			for l := range k + 1 {
				sum := 0.0
				for i := range a {
					for j := range a {
						sum += inv.At(i, j) * at(j*b+k, i*b+l)
					}
				}
				c2.SetSym(k, l, sum/float64(a))
			}
		}
		if inv, err = inverse(c2); err != nil {
			return nil, nil, err
		}
		trace := 0.0
		for i := range a {
			for j := range i + 1 {
				sum := 0.0
				for k := range b {
					for l := range b {
						sum += inv.At(k, l) * at(i*b+l, j*b+k)
					}
				}
				c1.SetSym(i, j, sum/float64(b))
			}
			trace += c1.At(i, i)
		}
		c1.ScaleSym(float64(a)/trace, c1)
		c2.ScaleSym(trace/float64(a), c2)
	}
	return c1, c2, nil
}

var errSingular = errors.New("affine: covariance is singular")

func inverse(c *mat.SymDense) (*mat.SymDense, error) {
	var chol mat.Cholesky
	var inv mat.SymDense
	if !chol.Factorize(c) {
		return nil, errSingular
	}
	return &inv, chol.InverseTo(&inv)
}

// Principal returns the orthogonal P whose factors are the eigenvectors of g1
// and g2.
func Principal(g1, g2 *mat.SymDense) (*Transform, error) {
	p1, err := eigenvectors(g1)
	if err != nil {
		return nil, err
	}
	p2, err := eigenvectors(g2)
	if err != nil {
		return nil, err
	}
	return newTransform(mat.DenseCopyOf(p1.T()), mat.DenseCopyOf(p2.T()))
}

func eigenvectors(c *mat.SymDense) (*mat.Dense, error) {
	var e mat.EigenSym
	if !e.Factorize(c, true) {
		return nil, errors.New("affine: no eigenvectors")
	}
	var v mat.Dense
	e.VectorsTo(&v)
	return &v, nil
}

// Joint returns P whose factors P1, P2 make both Pi Gi Pi^T and Pi^-T Si Pi^-1
// diagonal, and the latter the identity.
func Joint(g1, g2, s1, s2 *mat.SymDense) (*Transform, error) {
	p1, err := joint(g1, s1)
	if err != nil {
		return nil, err
	}
	p2, err := joint(g2, s2)
	if err != nil {
		return nil, err
	}
	return newTransform(p1, p2)
}

// joint returns U^T R with S = R^T R and R G R^T = U L U^T.
func joint(g, s *mat.SymDense) (*mat.Dense, error) {
	var chol mat.Cholesky
	if !chol.Factorize(s) {
		return nil, errSingular
	}
	var r mat.TriDense
	chol.UTo(&r)
	var rg, rgr, p mat.Dense
	rg.Mul(&r, g)
	rgr.Mul(&rg, r.T())
	n, _ := rgr.Dims()
	sym := mat.NewSymDense(n, nil)
	for i := range n {
		for j := range i + 1 {
			sym.SetSym(i, j, (rgr.At(i, j)+rgr.At(j, i))/2)
		}
	}
	u, err := eigenvectors(sym)
	if err != nil {
		return nil, err
	}
	p.Mul(u.T(), &r)
	return &p, nil
}
