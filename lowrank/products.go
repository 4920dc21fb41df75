package lowrank

import (
	"github.com/lamina-llm/lamina/internal/kern"
)

// Pool runs loops on several goroutines. model.Pool is one.
type Pool interface {
	// Workers returns the number of goroutines that For may use, at least 1.
	Workers() int
	// For calls f for every i below n and returns when all calls have.
	For(n int, f func(worker, i int))
}

// Sizes of parallel work.
const (
	taskRows   = 32  // rows of a task, at least
	mostRows   = 128 // and at most: they pass over a whole matrix in memory
	aloneBelow = 128 // sizes that are not worth a parallel loop
)

// parallel runs f for every i below tasks, on the pool if the problem of size n
// is worth it.
func parallel(pool Pool, n, tasks int, f func(i int)) {
	if n < aloneBelow {
		for i := range tasks {
			f(i)
		}
		return
	}
	pool.For(tasks, func(_, i int) { f(i) })
}

// transpose returns the transpose of a rows x cols matrix.
func transpose(a []float64, rows, cols int, pool Pool) []float64 {
	t := make([]float64, len(a))
	const block = 16
	parallel(pool, max(rows, cols), (cols+block-1)/block, func(task int) {
		j0 := task * block
		width := min(block, cols-j0)
		// Rows may lie so far apart that they want the same places of a cache: each is
		// read, and each written, at one go.
		var square [block * block]float64
		for i0 := 0; i0 < rows; i0 += block {
			height := min(block, rows-i0)
			for i := range height {
				for j, x := range a[(i0+i)*cols+j0 : (i0+i)*cols+j0+width] {
					square[j*block+i] = x
				}
			}
			for j := range width {
				copy(t[(j0+j)*rows+i0:(j0+j)*rows+i0+height], square[j*block:])
			}
		}
	})
	return t
}

// share returns how many of n rows a task takes if every worker is to have about
// the given number of tasks.
func share(n, tasks int, pool Pool) int {
	return min(max(n/(tasks*pool.Workers())&^3, taskRows), mostRows)
}

// product returns x y^T for x of n rows and y of rows rows, both of width cols.
func product(x, y []float64, n, rows, cols int, pool Pool) []float64 {
	dst := make([]float64, n*rows)
	each := share(n, 4, pool)
	parallel(pool, max(n, rows), (n+each-1)/each, func(task int) {
		r := task * each
		kern.MatMulF64(dst[r*rows:], rows, y, cols, x[r*cols:], cols, rows, cols, min(each, n-r))
	})
	return dst
}

// gram returns x y^T, both of n rows, when that is symmetric: y is x itself or
// x times a symmetric matrix. It takes half the work of product.
func gram(x, y []float64, n, cols int, pool Pool) []float64 {
	dst := make([]float64, n*n)
	each := share(n, 8, pool)
	parallel(pool, n, (n+each-1)/each, func(task int) {
		r := n - 1 - task*each // the longest rows first
		first := max(0, r-each+1)
		kern.MatMulF64(dst[first*n:], n, y, cols, x[first*cols:], cols, r+1, cols, r+1-first)
	})
	mirror(dst, n, pool)
	return dst
}

// mirror copies the lower triangle to the upper one, a square of few rows at a
// time.
func mirror(a []float64, n int, pool Pool) {
	const block = 16
	parallel(pool, n, (n+block-1)/block, func(task int) {
		i0 := task * block
		for j0 := i0; j0 < n; j0 += block {
			for j := j0; j < min(j0+block, n); j++ {
				for i := i0; i < min(i0+block, j); i++ {
					a[i*n+j] = a[j*n+i]
				}
			}
		}
	})
}
