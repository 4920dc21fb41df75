package lowrank

import (
	"errors"
	"fmt"
	"math"
	"slices"

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
// k = min(rows, cols), and turns in that of K's eigenvectors, where multiplying
// by K is no product at all.
//
// Decomposition goes through W W^T or W^T W, in float64: singular values below
// 1e-7 of the largest are noise. A Layer is immutable.
type Layer struct {
	rows, cols, k int
	w             []float64
	values        []float64 // singular values
	start         []float64 // k x k: left singular vectors in the basis, as rows; nil is the identity
	right         []float64 // k x cols: right singular vectors as rows, if W is higher than wide; else nil
	modes         []float64 // k x k: eigenvectors of K in the basis, as rows; nil without Gram matrix
	carried       []float64 // its eigenvalues: the output energy that each carries
	energy        float64   // tr K
	pool          Pool
}

// noise is what singular values from a Gram matrix are good for, relative to
// the largest.
const noise = 1e-7

// NewLayer prepares w of rows x cols, row by row. second is the Gram matrix of
// the inputs, cols x cols, both triangles, in any unit; nil leaves only [Layer.SVD].
// w is kept and must not change; second is borrowed during the call. Time is
// O(rows*cols*k + rows*cols^2), done on the pool.
// Errors wrap [ErrShape], [ErrEmpty], [ErrNotFinite], [ErrNoInputs] or
// [ErrNoConvergence].
func NewLayer(rows, cols int, w, second []float64, pool Pool) (*Layer, error) {
	if err := check(rows, cols, w, pool); err != nil {
		return nil, err
	}
	if second != nil {
		if err := checkGram(cols, second, pool); err != nil {
			return nil, err
		}
	}
	l := &Layer{rows: rows, cols: cols, k: min(rows, cols), w: w, pool: pool}
	squares, vectors, err := side(rows, cols, w, l.k, pool)
	if err != nil {
		return nil, err
	}
	l.values = roots(squares)
	if rows <= cols { // the basis is the identity
		l.start = vectors
	} else { // the basis is that of the left singular vectors W V / s, which is never made
		l.right = vectors
	}
	if second == nil {
		return l, nil
	}
	var k []float64
	if l.right == nil {
		k = congruent(w, second, l.k, cols, pool)
	} else { // W in the basis is s V^T
		k = congruent(l.right, second, l.k, cols, pool)
		parallel(pool, l.k, l.k, func(i int) {
			for j, s := range l.values {
				k[i*l.k+j] *= s * l.values[i]
			}
		})
	}
	for i := range l.k {
		l.energy += k[i*l.k+i]
	}
	if !finite(l.energy) {
		return nil, fmt.Errorf("lowrank: %w: output energy %v", ErrNotFinite, l.energy)
	}
	l.energy = max(0, l.energy) // of a Gram matrix that is none, if only by rounding
	if l.carried, l.modes, err = eigen(l.k, k, l.k, pool); err != nil {
		return nil, err
	}
	return l, nil
}

// congruent returns W M W^T for symmetric M, w being n x cols.
func congruent(w, m []float64, n, cols int, pool Pool) []float64 {
	if n >= cols {
		return gram(w, product(w, m, n, cols, cols, pool), n, cols, pool)
	}
	// M = L + L^T, with half of the diagonal in L: W L takes half a product, and what
	// W makes of it is half of the result.
	half := make([]float64, n*cols)
	const block = 128
	parallel(pool, cols, (cols+block-1)/block, func(task int) {
		c := task * block
		width := min(block, cols-c)
		var corner [block * block]float64 // columns of L
		for j := range width {
			row := m[(c+j)*cols+c : (c+j)*cols+c+width]
			corner[j*width+j] = row[j] / 2
			copy(corner[j*width+j+1:(j+1)*width], row[j+1:])
		}
		kern.MatMulF64(half[c:], cols, corner[:], width, w[c:], cols, width, width, n)
		if rest := c + width; rest < cols {
			kern.MatMulF64(half[c:], cols, m[c*cols+rest:], cols, w[rest:], cols, width, cols-rest, n)
		}
	})
	k := product(half, w, n, n, cols, pool)
	parallel(pool, n, n, func(i int) {
		for j := range i + 1 {
			k[i*n+j] += k[j*n+i]
		}
	})
	mirror(k, n, pool)
	return k
}

// Spectrum returns the singular values of w, largest first; those below 1e-7
// of it come as zeros. Errors are those of [NewLayer].
func Spectrum(rows, cols int, w []float64, pool Pool) ([]float64, error) {
	if err := check(rows, cols, w, pool); err != nil {
		return nil, err
	}
	squares, _, err := side(rows, cols, w, 0, pool)
	if err != nil {
		return nil, err
	}
	return roots(squares), nil
}

// check refuses what is not a matrix of finite numbers.
func check(rows, cols int, w []float64, pool Pool) error {
	switch {
	case rows == 0 || cols == 0:
		return fmt.Errorf("lowrank: %w: %d x %d", ErrEmpty, rows, cols)
	case rows < 0 || cols < 0 || len(w)/rows < cols || rows*cols != len(w):
		return fmt.Errorf("lowrank: %w: %d elements for %d x %d", ErrShape, len(w), rows, cols)
	}
	if i := firstNotFinite(w, rows, pool); i >= 0 {
		return fmt.Errorf("lowrank: row %d, column %d: %v: %w", i/cols, i%cols, w[i], ErrNotFinite)
	}
	return nil
}

// firstNotFinite returns the index of the first element of a matrix that is not
// finite, or -1.
func firstNotFinite(w []float64, rows int, pool Pool) int {
	cols := len(w) / rows
	first := make([]int, rows)
	parallel(pool, min(rows, cols), rows, func(r int) {
		first[r] = slices.IndexFunc(w[r*cols:(r+1)*cols], func(v float64) bool { return v-v != 0 })
	})
	for r, c := range first {
		if c >= 0 {
			return r*cols + c
		}
	}
	return -1
}

// checkGram refuses what cannot be X X^T of any inputs but zeros.
func checkGram(n int, m []float64, pool Pool) error {
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
	if i := firstNotFinite(m, n, pool); i >= 0 {
		return fmt.Errorf("lowrank: Gram matrix, row %d, column %d: %v: %w", i/n, i%n, m[i], ErrNotFinite)
	}
	if trace == 0 {
		return fmt.Errorf("lowrank: %w: all inputs are zero", ErrNoInputs)
	}
	return nil
}

// side returns the squares of the singular values of w, scaled, and count
// eigenvectors of the smaller of w w^T and w^T w, as rows.
func side(rows, cols int, w []float64, count int, pool Pool) (squares scaled, vectors []float64, err error) {
	top := largest(w, rows, pool)
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

// Distance returns ||(W - V) X|| / ||W X|| for two matrices of rows x cols and
// the Gram matrix of the inputs; nil stands for the identity. It is 0 if W X is.
// Errors wrap [ErrShape], [ErrEmpty], [ErrNotFinite] or [ErrNoInputs].
func Distance(rows, cols int, w, v, second []float64, pool Pool) (float64, error) {
	if err := errors.Join(check(rows, cols, w, pool), check(rows, cols, v, pool)); err != nil {
		return 0, err
	}
	if second != nil {
		if err := checkGram(cols, second, pool); err != nil {
			return 0, err
		}
	}
	diff := make([]float64, len(w))
	for i := range w {
		diff[i] = w[i] - v[i]
	}
	loss, all := energy(diff, second, rows, cols, pool), energy(w, second, rows, cols, pool)
	if !finite(loss) || !finite(all) {
		return 0, fmt.Errorf("lowrank: %w: %v lost of an output energy of %v", ErrNotFinite, loss, all)
	}
	if all <= 0 {
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
