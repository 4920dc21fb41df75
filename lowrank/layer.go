package lowrank

import (
	"errors"
	"fmt"
	"math"

	"github.com/lamina-llm/lamina/internal/kern"
)

// ErrNoInputs marks a Gram matrix that says nothing: zero, or not that of any
// inputs.
var ErrNoInputs = errors.New("no use as a Gram matrix of inputs")

// Layer is a matrix W, by itself or with the Gram matrix M = X X^T of the inputs
// X that it meets, ready to be approximated by A B of any rank.
//
// Every approximation here is a projection: A has orthonormal columns in the
// column space of W, and B = A^T W. That covers the truncated SVD and, up to a
// change of basis between the two factors, alternating least squares: with any
// A, B = (A^T A)^+ A^T W projects W on the columns of A; with B = C W,
//
//	A = W M B^T (B M B^T)^+ = K C^T (C K C^T)^+,  K = W M W^T,
//
// spans what K makes of the columns of C^T, which span what the columns of the A
// before it do. So one turn of the alternation multiplies a subspace by K, whose
// leading eigenvectors are the optimum (those are the left singular vectors of
// W M^1/2, so no factor of M is needed), and the error that is left is
//
//	||(W - A B) X||^2 = tr K - tr(A^T K A).
//
// The work is done in a basis of the column space, of dimension
// k = min(rows, cols).
//
// Decomposition goes through W W^T or W^T W, in float64: singular values below
// 1e-7 of the largest are noise. A Layer is immutable.
type Layer struct {
	rows, cols, k int
	values        []float64 // singular values
	start         []float64 // k x k: left singular vectors in the basis, as rows
	basis         []float64 // rows x k; nil is the identity
	r             []float64 // k x cols: W in the basis
	km            []float64 // k x k: K in the basis; nil without Gram matrix
	energy        float64   // tr K
	pool          Pool
}

// noise is what singular values from a Gram matrix are good for, relative to
// the largest.
const noise = 1e-7

// NewLayer prepares w of rows x cols, row by row. second is the Gram matrix of
// the inputs, cols x cols, both triangles, in any unit; nil leaves only [Layer.SVD].
// Both are borrowed during the call; w is kept if it is not higher than wide and
// must not change then. Time is O(rows*cols*k + rows*cols^2), done on the pool.
// Errors wrap [ErrShape], [ErrEmpty], [ErrNotFinite], [ErrNoInputs] or
// [ErrNoConvergence].
func NewLayer(rows, cols int, w, second []float64, pool Pool) (*Layer, error) {
	if err := check(rows, cols, w); err != nil {
		return nil, err
	}
	if second != nil {
		if err := checkGram(cols, second); err != nil {
			return nil, err
		}
	}
	l := &Layer{rows: rows, cols: cols, k: min(rows, cols), pool: pool}
	squares, vectors, err := side(rows, cols, w, l.k, pool)
	if err != nil {
		return nil, err
	}
	l.values = roots(squares)
	if rows <= cols {
		l.r, l.start = w, vectors
	} else {
		// The basis is that of the left singular vectors U = W V / s.
		wv := product(w, vectors, rows, l.k, cols, pool) // rows x k
		for i := range rows {
			for j, s := range l.values {
				if s > 0 {
					wv[i*l.k+j] /= s
				} else {
					wv[i*l.k+j] = 0
				}
			}
		}
		l.basis = wv
		for j, s := range l.values {
			for i := range cols {
				vectors[j*cols+i] *= s
			}
		}
		l.r = vectors
		l.start = make([]float64, l.k*l.k)
		for i := range l.k {
			l.start[i*l.k+i] = 1
		}
	}
	if second == nil {
		return l, nil
	}
	l.km = gram(l.r, product(l.r, second, l.k, cols, cols, pool), l.k, cols, pool)
	for i := range l.k {
		l.energy += l.km[i*l.k+i]
	}
	if !finite(l.energy) {
		return nil, fmt.Errorf("lowrank: %w: output energy %v", ErrNotFinite, l.energy)
	}
	return l, nil
}

// Spectrum returns the singular values of w, largest first; those below 1e-7
// of it come as zeros. Errors are those of [NewLayer].
func Spectrum(rows, cols int, w []float64, pool Pool) ([]float64, error) {
	if err := check(rows, cols, w); err != nil {
		return nil, err
	}
	squares, _, err := side(rows, cols, w, 0, pool)
	if err != nil {
		return nil, err
	}
	return roots(squares), nil
}

// check refuses what is not a matrix of finite numbers.
func check(rows, cols int, w []float64) error {
	switch {
	case rows == 0 || cols == 0:
		return fmt.Errorf("lowrank: %w: %d x %d", ErrEmpty, rows, cols)
	case rows < 0 || cols < 0 || len(w)/rows < cols || rows*cols != len(w):
		return fmt.Errorf("lowrank: %w: %d elements for %d x %d", ErrShape, len(w), rows, cols)
	}
	for i, v := range w {
		if !finite(v) {
			return fmt.Errorf("lowrank: row %d, column %d: %v: %w", i/cols, i%cols, v, ErrNotFinite)
		}
	}
	return nil
}

// checkGram refuses what cannot be X X^T of any inputs but zeros.
func checkGram(n int, m []float64) error {
	if len(m)/n != n || len(m)%n != 0 {
		return fmt.Errorf("lowrank: %w: %d elements for a Gram matrix of %d inputs", ErrShape, len(m), n)
	}
	trace := 0.0
	for i := range n {
		v := m[i*n+i]
		if v < 0 {
			return fmt.Errorf("lowrank: %w: input %d has variance %v", ErrNoInputs, i, v)
		}
		trace += v
	}
	for i, v := range m {
		if !finite(v) {
			return fmt.Errorf("lowrank: Gram matrix, row %d, column %d: %v: %w", i/n, i%n, v, ErrNotFinite)
		}
	}
	if trace == 0 {
		return fmt.Errorf("lowrank: %w: all inputs are zero", ErrNoInputs)
	}
	return nil
}

// side returns the squares of the singular values of w, scaled, and count
// eigenvectors of the smaller of w w^T and w^T w, as rows.
func side(rows, cols int, w []float64, count int, pool Pool) (squares scaled, vectors []float64, err error) {
	top := 0.0
	for _, v := range w {
		top = max(top, math.Abs(v))
	}
	squares.unit = 1
	if top > 0 && (top > 1e100 || top < 1e-100) { // squares would overflow or vanish
		squares.unit = top
		w = append([]float64(nil), w...)
		for i := range w {
			w[i] /= top
		}
	}
	k := rows
	if rows > cols {
		w, k, cols = transpose(w, rows, cols, pool), cols, rows
	}
	squares.values, vectors, err = eigen(k, gram(w, w, k, cols, pool), count, pool)
	return squares, vectors, err
}

// scaled is a list of squares in units of unit^2.
type scaled struct {
	values []float64
	unit   float64
}

// roots returns the singular values.
func roots(s scaled) []float64 {
	out := make([]float64, len(s.values))
	for i, v := range s.values {
		if v > noise*noise*s.values[0] {
			out[i] = math.Sqrt(v) * s.unit
		}
	}
	return out
}

// Values returns the singular values of W, largest first, those below 1e-7 of it
// as zeros. The slice is shared and not to be modified.
func (l *Layer) Values() []float64 { return l.values }

// Energy returns ||W X||^2, in the unit of the Gram matrix; 0 without one.
func (l *Layer) Energy() float64 { return l.energy }

// Pair is an approximation W ~ A B.
type Pair struct {
	Rank int
	A    []float64 // rows x Rank, orthonormal columns (zero ones beyond the rank of W or of its inputs)
	B    []float64 // Rank x cols

	// Errors is ||(W - A B) X|| / ||W X||: of the start and after every turn
	// for ALS, one value for the others, nil without Gram matrix. It never
	// grows beyond rounding.
	Errors []float64
}

// SVD returns the best approximation in the Frobenius norm, with the singular
// values in B. The error wraps [ErrShape] if r is not in [1, min(rows, cols)].
func (l *Layer) SVD(r int) (*Pair, error) {
	if err := l.checkRank(r); err != nil {
		return nil, err
	}
	q := l.start[:r*l.k]
	p := l.pair(q, r)
	if l.km != nil {
		p.Errors = []float64{l.left(q, l.image(q, r))}
	}
	return p, nil
}

// Optimal returns the approximation of least ||(W - A B) X||, which is what
// SVD-LLM (arXiv 2403.07378) gets from the SVD of W T with M = T T^T, and where
// ALS goes. Columns of A come in the order of the output energy that they carry.
// Errors wrap [ErrShape], [ErrNoInputs] or [ErrNoConvergence].
func (l *Layer) Optimal(r int) (*Pair, error) {
	if err := l.checkWeighted(r); err != nil {
		return nil, err
	}
	_, q, err := eigen(l.k, append([]float64(nil), l.km...), r, l.pool)
	if err != nil {
		return nil, err
	}
	p := l.pair(q, r)
	p.Errors = []float64{l.left(q, l.image(q, r))}
	return p, nil
}

// OptimalRank returns the smallest rank, at least 1, at which [Layer.Optimal]
// loses at most the given part of Energy. Errors are those of Optimal.
func (l *Layer) OptimalRank(lost float64) (int, error) {
	if err := l.checkWeighted(1); err != nil {
		return 0, err
	}
	values, _, err := eigen(l.k, append([]float64(nil), l.km...), 0, l.pool)
	if err != nil {
		return 0, err
	}
	r, tail := len(values), 0.0
	for ; r > 1; r-- {
		if tail += max(values[r-1], 0); tail > lost {
			break
		}
	}
	return r, nil
}

// ALS returns PGSVD's approximation: turns of alternating least squares,
// starting from the SVD. Columns of A come in the order of the output energy that
// they carry. Where inputs span fewer dimensions than r, what they do not reach is
// lost, as with the pseudo-inverses of the paper: columns of A and rows of B are
// zero. Errors wrap [ErrShape], [ErrNoInputs] or [ErrNoConvergence].
func (l *Layer) ALS(r, turns int) (*Pair, error) {
	if err := l.checkWeighted(r); err != nil {
		return nil, err
	}
	if turns < 0 {
		return nil, fmt.Errorf("lowrank: %w: %d turns", ErrShape, turns)
	}
	q := append([]float64(nil), l.start[:r*l.k]...)
	var errs []float64
	y := l.image(q, r)
	errs = append(errs, l.left(q, y))
	for range turns {
		var err error
		if q, err = l.orthonormal(y, r); err != nil {
			return nil, err
		}
		y = l.image(q, r)
		errs = append(errs, l.left(q, y))
	}
	// Within the subspace, the directions of most output energy first.
	_, turn, err := eigen(r, gram(q, y, r, l.k, l.pool), r, l.pool)
	if err != nil {
		return nil, err
	}
	q = product(turn, transpose(q, r, l.k, l.pool), r, l.k, r, l.pool)
	p := l.pair(q, r)
	p.Errors = errs
	return p, nil
}

func (l *Layer) checkRank(r int) error {
	if r < 1 || r > l.k {
		return fmt.Errorf("lowrank: %w: rank %d of a %d x %d matrix", ErrShape, r, l.rows, l.cols)
	}
	return nil
}

func (l *Layer) checkWeighted(r int) error {
	if l.km == nil {
		return fmt.Errorf("lowrank: %w: none was given", ErrNoInputs)
	}
	return l.checkRank(r)
}

// image returns K times each of the r rows of q.
func (l *Layer) image(q []float64, r int) []float64 { return product(q, l.km, r, l.k, l.k, l.pool) }

// left returns the relative error of the projection on the rows of q, with y
// their images.
func (l *Layer) left(q, y []float64) float64 {
	if l.energy == 0 { // W itself is zero, or no input reaches it
		return 0
	}
	kept := 0.0
	for i, x := range q {
		kept += x * y[i]
	}
	return math.Sqrt(max(0, 1-kept/l.energy))
}

// pair makes factors of the projection on the r rows of q.
func (l *Layer) pair(q []float64, r int) *Pair {
	p := &Pair{Rank: r}
	if l.basis == nil {
		p.A = transpose(q, r, l.k, l.pool)
	} else {
		p.A = product(l.basis, q, l.rows, r, l.k, l.pool)
	}
	p.B = product(q, transpose(l.r, l.k, l.cols, l.pool), r, l.cols, l.k, l.pool)
	return p
}

// orthonormal returns r orthonormal rows that span what the rows of y do, the
// last ones zero if that is less; y is overwritten. It goes through a Cholesky
// factor of their Gram matrix, again if that was not near the identity (Yamamoto
// et al., Roundoff error analysis of the CholeskyQR2 algorithm, 2015), or through
// eigenvectors if there is none.
func (l *Layer) orthonormal(y []float64, r int) ([]float64, error) {
	q := y
	for range 2 {
		// Rows of one length: what is left to the factor is their angles.
		parallel(l.pool, l.k, r, func(i int) {
			row := q[i*l.k : (i+1)*l.k]
			sum := 0.0
			for _, x := range row {
				sum += x * x
			}
			if sum > 0 {
				scale := 1 / math.Sqrt(sum)
				for j := range row {
					row[j] *= scale
				}
			}
		})
		inner := gram(q, q, r, l.k, l.pool)
		factor, least := cholesky(r, append([]float64(nil), inner...), l.pool)
		if factor != nil {
			if q = factor.solve(q, l.k); least > goodPivot {
				break
			}
			continue
		}
		values, turn, err := eigen(r, inner, r, l.pool)
		if err != nil {
			return nil, err
		}
		for i, v := range values {
			scale := 0.0
			if v > values[0]*0x1p-50*float64(r) {
				scale = 1 / math.Sqrt(v)
			}
			for j := range r {
				turn[i*r+j] *= scale
			}
		}
		q = product(turn, transpose(q, r, l.k, l.pool), r, l.k, r, l.pool)
	}
	return q, nil
}

// Distance returns ||(W - V) X|| / ||W X|| for two matrices of rows x cols and
// the Gram matrix of the inputs; nil stands for the identity. It is 0 if W X is.
func Distance(rows, cols int, w, v, second []float64, pool Pool) (float64, error) {
	if err := errors.Join(check(rows, cols, w), check(rows, cols, v)); err != nil {
		return 0, err
	}
	if second != nil {
		if err := checkGram(cols, second); err != nil {
			return 0, err
		}
	}
	diff := make([]float64, len(w))
	for i := range w {
		diff[i] = w[i] - v[i]
	}
	loss, all := energy(diff, second, rows, cols, pool), energy(w, second, rows, cols, pool)
	if all == 0 {
		return 0, nil
	}
	return math.Sqrt(max(0, loss) / all), nil
}

// energy returns tr(W M W^T).
func energy(w, second []float64, rows, cols int, pool Pool) float64 {
	y := w
	if second != nil {
		y = product(w, second, rows, cols, cols, pool)
	}
	sum := make([]float64, 1)
	for i := range rows {
		kern.MatMulF64(sum, 1, w[i*cols:], cols, y[i*cols:], cols, 1, cols, 1)
	}
	return sum[0]
}
