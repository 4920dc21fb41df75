package lowrank

import (
	"math"

	"github.com/lamina-llm/lamina/internal/kern"
)

// cholBlock is how many rows of a triangle are handled one by one; all before
// them are a product.
const cholBlock = 32

// leastPivot is how near to being singular a Gram matrix of vectors of length one
// may be, and goodPivot when one factorisation is enough to make them orthonormal.
const (
	leastPivot = 1e-11
	goodPivot  = 1e-3
)

// triangular is the lower Cholesky factor L of an n x n matrix, row by row, with
// elements off the diagonal negated: products here only ever add.
type triangular struct {
	n       int
	l       []float64
	inverse []float64 // of every block on the diagonal, cholBlock x n in all
	pool    Pool
}

// cholesky factorises a symmetric positive definite matrix in place, reading its
// lower triangle. least is the smallest square on the diagonal of L; below
// leastPivot the factorisation is given up.
func cholesky(n int, a []float64, pool Pool) (t *triangular, least float64) {
	t, least = &triangular{n: n, l: a, inverse: make([]float64, cholBlock*n), pool: pool}, math.Inf(1)
	own := make([]float64, cholBlock*n)
	for j0 := 0; j0 < n; j0 += cholBlock {
		width := min(cholBlock, n-j0)
		// A -= L L^T for the columns of the block, and all rows from it on.
		for i := range width {
			for j, v := range a[(j0+i)*n : (j0+i)*n+j0] {
				own[i*n+j] = -v
			}
		}
		update := func(r, rows int) {
			kern.MatMulF64(a[r*n+j0:], n, own, n, a[r*n:], n, width, j0, rows)
		}
		update(j0, width)
		for i := j0; i < j0+width; i++ {
			t.substitute(a[i*n:i*n+i+1], j0, i)
			pivot := a[i*n+i]
			for _, v := range a[i*n+j0 : i*n+i] {
				pivot -= v * v
			}
			if least = min(least, pivot); !(pivot >= leastPivot) {
				return nil, least
			}
			a[i*n+i] = math.Sqrt(pivot)
			for j := j0; j < i; j++ {
				a[i*n+j] = -a[i*n+j]
			}
		}
		t.invert(j0, width)
		below := n - j0 - width
		parallel(pool, n, (below+taskRows-1)/taskRows, func(task int) {
			r := j0 + width + task*taskRows
			rows := min(taskRows, n-r)
			update(r, rows)
			t.divide(a[r*n+j0:], j0, rows)
			for i := r; i < r+rows; i++ {
				for j := j0; j < j0+width; j++ {
					a[i*n+j] = -a[i*n+j]
				}
			}
		})
	}
	return t, least
}

// substitute solves L x = b in elements from to to-1 of x, which holds b; what
// the elements before them contribute was taken off.
func (t *triangular) substitute(x []float64, from, to int) {
	for i := from; i < to; i++ {
		sum := x[i]
		row := t.l[i*t.n+from : i*t.n+i]
		for j, v := range x[from:i] {
			sum += v * row[j]
		}
		x[i] = sum / t.l[i*t.n+i]
	}
}

// invert finds the inverse of the block of L on the diagonal at j0.
func (t *triangular) invert(j0, width int) {
	column := make([]float64, j0+width)
	for j := range width {
		clear(column)
		column[j0+j] = 1
		t.substitute(column, j0, j0+width)
		for i := range width {
			t.inverse[j0*cholBlock+i*width+j] = column[j0+i]
		}
	}
}

// divide multiplies n rows x, at a distance of t.n, with the inverse of the block
// at j0.
func (t *triangular) divide(x []float64, j0, n int) {
	var old [mostRows * cholBlock]float64
	width := min(cholBlock, t.n-j0)
	for i := range n {
		row := x[i*t.n : i*t.n+width]
		copy(old[i*width:], row)
		clear(row)
	}
	kern.MatMulF64(x, t.n, t.inverse[j0*cholBlock:], width, old[:], width, width, width, n)
}

// solve returns L^-1 y for n rows y of width cols.
func (t *triangular) solve(y []float64, cols int) []float64 {
	n := t.n
	x := transpose(y, n, cols, t.pool)
	each := share(cols, 4, t.pool)
	parallel(t.pool, n, (cols+each-1)/each, func(task int) {
		r := task * each
		rows := min(each, cols-r)
		for j0 := 0; j0 < n; j0 += cholBlock {
			width := min(cholBlock, n-j0)
			kern.MatMulF64(x[r*n+j0:], n, t.l[j0*n:], n, x[r*n:], n, width, j0, rows)
			t.divide(x[r*n+j0:], j0, rows)
		}
	})
	return transpose(x, cols, n, t.pool)
}
