package lowrank

import (
	"errors"
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"
)

// What decompositions refuse.
var (
	// ErrEmpty: the matrix has no rows or no columns.
	ErrEmpty = errors.New("empty matrix")
	// ErrNotFinite: an element is NaN or infinite, or so large that the
	// decomposition overflows.
	ErrNotFinite = errors.New("not a finite number")
	// ErrNoConvergence: the decomposition did not come to an end.
	ErrNoConvergence = errors.New("singular values did not converge")
)

// SVD is the thin decomposition W = U diag(s) V^T of a matrix, singular values
// in descending order. It is immutable.
type SVD struct {
	rows, cols int
	s          []float64
	u, v       mat.Dense // rows x len(s), cols x len(s)
}

// Decompose factorises w of rows x cols, row by row. It takes O(rows*cols*k)
// time and about 3*rows*cols + (rows+cols)*k numbers of memory, k being the
// smaller side. Errors wrap [ErrShape], [ErrEmpty], [ErrNotFinite] or
// [ErrNoConvergence].
func Decompose(rows, cols int, w []float64) (*SVD, error) {
	if err := check(rows, cols, w, alone{}); err != nil {
		return nil, err
	}
	var svd mat.SVD
	if !svd.Factorize(mat.NewDense(rows, cols, w), mat.SVDThin) {
		return nil, fmt.Errorf("lowrank: %w: %d x %d", ErrNoConvergence, rows, cols)
	}
	d := &SVD{rows: rows, cols: cols, s: svd.Values(nil)}
	for _, v := range d.s {
		if !finite(v) {
			return nil, fmt.Errorf("lowrank: singular value %v: %w", v, ErrNotFinite)
		}
	}
	svd.UTo(&d.u)
	svd.VTo(&d.v)
	return d, nil
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// Values returns the min(rows, cols) singular values, largest first. The slice
// is shared and not to be modified.
func (d *SVD) Values() []float64 { return d.s }

// Factors returns the best approximation of rank r in the Frobenius norm
// (Eckart and Young, 1936) as a, rows x r, and b, r x cols, both row by row
// and with half of every singular value: a = U_r S_r^1/2, b = S_r^1/2 V_r^T,
// which is also where PGSVD's alternating least squares starts. r is in
// [1, min(rows, cols)], or the error wraps [ErrShape].
func (d *SVD) Factors(r int) (a, b []float64, err error) {
	if r < 1 || r > len(d.s) {
		return nil, nil, fmt.Errorf("lowrank: %w: rank %d of a %d x %d matrix", ErrShape, r, d.rows, d.cols)
	}
	a, b = make([]float64, d.rows*r), make([]float64, r*d.cols)
	for k := range r {
		root := math.Sqrt(d.s[k])
		for i := range d.rows {
			a[i*r+k] = d.u.At(i, k) * root
		}
		for j := range d.cols {
			b[k*d.cols+j] = d.v.At(j, k) * root
		}
	}
	return a, b, nil
}
