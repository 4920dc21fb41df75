// Package lowrank replaces a matrix by two thin ones, W ~ A B, and runs the
// pair as two products: y = A (B x). Ranks follow PGSVD (Solgi et al., arXiv
// 2510.05544): one relative tolerance for all matrices gives each its own rank.
//
// It does not know how the factors are stored. [Factor] works on anything that
// multiplies, coded or not. [Layer] and [Spectrum] work on a matrix in memory and
// are for packing, not for serving; [Decompose] is the plain way to the same,
// which they are measured against. The package does no I/O and takes no locks,
// and all that is done in parallel is done on the caller's [Pool].
//
// Ownership: operators and slices that are passed in are borrowed, by [NewFactor]
// and [NewLayer] for as long as what they return is used; slices that are returned
// belong to the caller, unless they say that they are shared. Concurrency: one
// Apply at a time per Factor; everything else is safe for concurrent use.
package lowrank

import (
	"errors"
	"fmt"
)

// ErrShape marks operators or slices whose sizes do not fit together.
var ErrShape = errors.New("shapes do not fit")

// Operator is the product with a matrix. model.Linear is one.
type Operator interface {
	// Dims returns the output width (rows) and the input width (cols).
	Dims() (rows, cols int)
	// Apply computes n products: dst[t*rows : (t+1)*rows] = W x[t*cols : (t+1)*cols].
	Apply(dst, x []float32, n int) error
}

// Factor is the operator A B, with A of rows x rank and B of rank x cols. It
// costs rank*(rows+cols) multiplications per vector instead of rows*cols.
type Factor struct {
	a, b             Operator
	rows, cols, rank int
	scratch          []float32
}

// NewFactor joins a and b. scratch holds B x between the two products; it is
// borrowed for the life of the Factor and has at least rank elements. Apply
// takes len(scratch)/rank vectors at a time, so give it as many as the largest
// batch to have each factor read once per call. Errors wrap [ErrShape].
func NewFactor(a, b Operator, scratch []float32) (*Factor, error) {
	rows, rank := a.Dims()
	inner, cols := b.Dims()
	switch {
	case rows < 1 || rank < 1 || cols < 1:
		return nil, fmt.Errorf("lowrank: %w: A is %d x %d, B is %d x %d", ErrShape, rows, rank, inner, cols)
	case rank != inner:
		return nil, fmt.Errorf("lowrank: %w: A is %d x %d but B has %d rows", ErrShape, rows, rank, inner)
	case len(scratch) < rank:
		return nil, fmt.Errorf("lowrank: %w: %d elements of scratch for rank %d", ErrShape, len(scratch), rank)
	}
	return &Factor{a, b, rows, cols, rank, scratch[:len(scratch)/rank*rank]}, nil
}

// Dims returns the rows of A and the columns of B.
func (f *Factor) Dims() (rows, cols int) { return f.rows, f.cols }

// Rank returns the width of what passes between the two products.
func (f *Factor) Rank() int { return f.rank }

// Apply computes dst[t*rows : (t+1)*rows] = A (B x[t*cols : (t+1)*cols]) for n
// vectors. dst and x must not overlap each other or the scratch. Errors wrap
// [ErrShape] or are those of A and B; dst is then undefined.
func (f *Factor) Apply(dst, x []float32, n int) error {
	if n < 0 || len(dst)/f.rows < n || len(x)/f.cols < n {
		return fmt.Errorf("lowrank: %w: %d vectors of %d to %d with %d and %d elements",
			ErrShape, n, f.cols, f.rows, len(x), len(dst))
	}
	most := len(f.scratch) / f.rank
	for from := 0; from < n; from += most {
		to := min(from+most, n)
		mid := f.scratch[:(to-from)*f.rank]
		if err := f.b.Apply(mid, x[from*f.cols:to*f.cols], to-from); err != nil {
			return fmt.Errorf("lowrank: second factor: %w", err)
		}
		if err := f.a.Apply(dst[from*f.rows:to*f.rows], mid, to-from); err != nil {
			return fmt.Errorf("lowrank: first factor: %w", err)
		}
	}
	return nil
}
