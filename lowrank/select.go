package lowrank

import (
	"fmt"
	"math"
)

// Shape is a matrix as the choice of ranks sees it.
type Shape struct {
	Rows, Cols int
	Values     []float64 // singular values, largest first
}

// Params returns how many numbers the matrix takes when approximated at rank r:
// r*(rows+cols), or rows*cols if that saves nothing or r is 0, which means dense.
func (s Shape) Params(r int) int64 {
	if r == 0 || !Saves(s.Rows, s.Cols, r) {
		return int64(s.Rows) * int64(s.Cols)
	}
	return int64(r) * int64(s.Rows+s.Cols)
}

// Rank returns PGSVD's rank for the tolerance eps, 0 (dense) if that saves
// nothing.
func (s Shape) Rank(eps float64) int {
	if r := Rank(s.Values, eps); Saves(s.Rows, s.Cols, r) {
		return r
	}
	return 0
}

// Uniform returns the rank that keeps the share keep of the parameters, at
// least 1; 0 (dense) if that saves nothing.
func (s Shape) Uniform(keep float64) int {
	// More than all is all: an int holds the product.
	r := max(1, int(math.Round(min(keep, 1)*float64(s.Rows)*float64(s.Cols)/float64(s.Rows+s.Cols))))
	if !Saves(s.Rows, s.Cols, r) {
		return 0
	}
	return r
}

// Tolerance returns the least tolerance at which all shapes together keep at
// most the share keep, in (0, 1], of their parameters. The error wraps
// [ErrShape] if keep is out of range or less than ranks of 1 leave.
func Tolerance(shapes []Shape, keep float64) (float64, error) {
	var all int64
	for _, s := range shapes {
		all += int64(s.Rows) * int64(s.Cols)
	}
	fits := func(eps float64) bool {
		var n int64
		for _, s := range shapes {
			n += s.Params(s.Rank(eps))
		}
		return float64(n) <= keep*float64(all)
	}
	switch {
	case !(keep > 0 && keep <= 1):
		return 0, fmt.Errorf("lowrank: %w: keeping %v of the parameters", ErrShape, keep)
	case !fits(1):
		return 0, fmt.Errorf("lowrank: %w: even rank 1 everywhere keeps more than %v of the parameters", ErrShape, keep)
	case fits(0):
		return 0, nil
	}
	lo, hi := 0.0, 1.0
	for range 60 { // parameters do not grow with the tolerance
		if mid := (lo + hi) / 2; fits(mid) {
			hi = mid
		} else {
			lo = mid
		}
	}
	return hi, nil
}
