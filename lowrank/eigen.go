package lowrank

import (
	"math"
	"slices"
)

// eigen returns the eigenvalues of a symmetric n x n matrix, largest first, and
// the eigenvectors of the first count of them as rows. Both triangles of a are
// given; a is destroyed. Values are exact to some roundings of the largest one.
//
// It is the classical way, Householder reflectors to tridiagonal form (Golub and
// Van Loan, Matrix Computations, 8.3), in blocks, and from there implicit QL for
// values alone, divide and conquer for vectors, so that nearly all of the work is
// products and runs on all workers: gonum's takes minutes where this takes seconds.
func eigen(n int, a []float64, count int, pool Pool) (values, vectors []float64, err error) {
	unit := normalise(a, n, pool)
	t := tridiagonal{n: n, a: a, d: make([]float64, n), e: make([]float64, n), tau: make([]float64, n), pool: pool}
	t.reduce()
	if count == 0 {
		err = t.iterate(nil)
		slices.Sort(t.d)
	} else {
		vectors, err = t.divide(count)
	}
	if err != nil {
		return nil, nil, err
	}
	values = t.d
	slices.Reverse(values)
	for i := range values {
		values[i] *= unit
	}
	if count == 0 {
		return values, nil, nil
	}
	parallel(pool, n, count/2, func(i int) {
		x, y := vectors[i*n:(i+1)*n], vectors[(count-1-i)*n:(count-i)*n]
		for j := range x {
			x[j], y[j] = y[j], x[j]
		}
	})
	t.back(vectors, count)
	return values, vectors, nil
}

// normalise scales a to elements of at most 1, or little more where they are so
// large that the way back would be infinite, so that squares neither overflow nor
// vanish: by a power of two, so that nothing is rounded. It returns what to multiply
// with to get back.
func normalise(a []float64, n int, pool Pool) (unit float64) {
	top := largest(a, n, pool)
	if top == 0 {
		return 1
	}
	_, exp := math.Frexp(top)
	exp = min(max(exp, -1000), 1000)
	scale := math.Ldexp(1, -exp)
	parallel(pool, n, n, func(i int) {
		for j := range n {
			a[i*n+j] *= scale
		}
	})
	return math.Ldexp(1, exp)
}

// largest returns the greatest magnitude in a matrix.
func largest(a []float64, rows int, pool Pool) float64 {
	cols := len(a) / rows
	tops := make([]float64, rows)
	parallel(pool, min(rows, cols), rows, func(r int) {
		top := 0.0
		for _, x := range a[r*cols : (r+1)*cols] {
			top = max(top, math.Abs(x))
		}
		tops[r] = top
	})
	return slices.Max(tops)
}
