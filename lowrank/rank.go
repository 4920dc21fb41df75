package lowrank

import "math"

// Error returns ||W - W_r||_F / ||W||_F of the best approximation of rank r,
// from the singular values of W in descending order:
// sqrt(sum of squares from r on / sum of all). It is 0 for r >= len(values)
// and for a zero matrix, 1 for r <= 0 otherwise.
func Error(values []float64, r int) float64 {
	if len(values) == 0 || r >= len(values) || values[0] == 0 {
		return 0
	}
	var all, tail float64
	for i := len(values) - 1; i >= 0; i-- { // smallest first: no small one is lost
		v := values[i] / values[0] // squares neither overflow nor vanish
		all += v * v
		if i == max(r, 0) {
			tail = all
		}
	}
	return math.Sqrt(tail / all)
}

// Rank returns the smallest r >= 1 with Error(values, r) <= eps, PGSVD's rank
// of a matrix with these singular values for the tolerance eps. An eps below
// 0 or NaN gives len(values), at which nothing is lost. values is not empty.
func Rank(values []float64, eps float64) int {
	lo, hi := 1, len(values)
	for lo < hi { // the error does not grow with r
		if r := (lo + hi) / 2; Error(values, r) <= eps {
			hi = r
		} else {
			lo = r + 1
		}
	}
	return hi
}

// MaxRank returns the largest rank whose factors hold fewer numbers than a
// rows x cols matrix, r*(rows+cols) < rows*cols; 0 if there is none.
func MaxRank(rows, cols int) int {
	if rows < 1 || cols < 1 {
		return 0
	}
	return (rows*cols - 1) / (rows + cols)
}

// Saves reports whether factors of rank r hold fewer numbers than the
// rows x cols matrix.
func Saves(rows, cols, r int) bool { return r <= MaxRank(rows, cols) }
