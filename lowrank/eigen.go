package lowrank

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/lamina-llm/lamina/internal/kern"
)

// Pool runs loops on several goroutines. model.Pool is one.
type Pool interface {
	// Workers returns the number of goroutines that For may use, at least 1.
	Workers() int
	// For calls f for every i below n and returns when all calls have.
	For(n int, f func(worker, i int))
}

// Blocks of the algorithms below.
const (
	panelWidth = 32  // reflectors that are applied together
	taskRows   = 32  // rows of a task, at least
	mostRows   = 128 // and at most: they pass over a whole matrix in memory
	aloneBelow = 128 // sizes that are not worth a parallel loop
)

// eigen returns the eigenvalues of a symmetric n x n matrix, largest first, and
// the eigenvectors of the first count of them as rows. Both triangles of a are
// given; a is destroyed. Values are exact to some roundings of the largest one.
//
// It is the classical way, Householder reflectors to tridiagonal form and
// implicit QL from there (Golub and Van Loan, Matrix Computations, 8.3), with
// the reflectors in blocks and the rotations of many QL steps applied together,
// so that nearly all of the work is products and runs on all workers: gonum's
// takes minutes where this takes seconds.
func eigen(n int, a []float64, count int, pool Pool) (values, vectors []float64, err error) {
	unit := normalise(a)
	t := tridiagonal{n: n, a: a, d: make([]float64, n), e: make([]float64, n), tau: make([]float64, n), pool: pool}
	t.reduce()
	var z [][]float64
	if count > 0 {
		z = make([][]float64, (n+kern.RotateLanes-1)/kern.RotateLanes)
		for b := range z {
			z[b] = make([]float64, n*kern.RotateLanes)
			for lane := range min(kern.RotateLanes, n-b*kern.RotateLanes) {
				z[b][(b*kern.RotateLanes+lane)*kern.RotateLanes+lane] = 1
			}
		}
	}
	if err := t.iterate(z); err != nil {
		return nil, nil, err
	}
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(t.d[j], t.d[i]) })
	values = make([]float64, n)
	for k, i := range order {
		values[k] = t.d[i] * unit
	}
	if count == 0 {
		return values, nil, nil
	}
	vectors = make([]float64, count*n)
	parallel(pool, n, count, func(k int) {
		row := vectors[k*n : (k+1)*n]
		for i := range row {
			row[i] = z[i/kern.RotateLanes][order[k]*kern.RotateLanes+i%kern.RotateLanes]
		}
	})
	t.back(vectors, count)
	return values, vectors, nil
}

// normalise scales a to elements of at most 1, so that squares neither overflow
// nor vanish, by a power of two, so that nothing is rounded. It returns what to
// multiply with to get back.
func normalise(a []float64) (unit float64) {
	top := 0.0
	for _, x := range a {
		top = max(top, math.Abs(x))
	}
	if top == 0 {
		return 1
	}
	_, exp := math.Frexp(top)
	exp = max(exp, -1000)
	scale := math.Ldexp(1, -exp)
	for i := range a {
		a[i] *= scale
	}
	return math.Ldexp(1, exp)
}

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

// tridiagonal is a symmetric matrix on its way to diagonal form.
type tridiagonal struct {
	n    int
	a    []float64 // row j: the matrix, then from j+1 on the j-th reflector
	d, e []float64 // diagonal; e[j] couples j and j+1
	tau  []float64 // of the reflectors
	pool Pool
}

// reduce brings a to tridiagonal form by reflectors H = I - tau v v^T. Those of
// a panel are gathered, A - V W^T - W V^T, before they are applied to the rest.
func (t *tridiagonal) reduce() {
	n, a := t.n, t.a
	v, w := make([]float64, panelWidth*n), make([]float64, panelWidth*n)
	vt, wt := make([]float64, n*2*panelWidth), make([]float64, n*2*panelWidth)
	for j0 := 0; j0 < n-2; j0 += panelWidth {
		width := min(panelWidth, n-2-j0)
		for k := range width {
			t.reflect(j0+k, k, v, w)
		}
		// Rows of [V W] and of -[W V], side by side in memory.
		at, m := j0+width, n-j0-width
		for i := range m {
			p, q := vt[i*2*width:], wt[i*2*width:]
			for k := range width {
				x, y := v[k*n+at+i], w[k*n+at+i]
				p[k], p[width+k], q[k], q[width+k] = x, y, -y, -x
			}
		}
		parallel(t.pool, m, (m+taskRows-1)/taskRows, func(task int) {
			r := task * taskRows
			kern.MatMulF64(a[(at+r)*n+at:], n, vt, 2*width, wt[r*2*width:], 2*width, m, 2*width, min(taskRows, m-r))
		})
	}
	for j := max(n-2, 0); j < n; j++ {
		t.d[j] = a[j*n+j]
	}
	if n > 1 {
		t.e[n-2] = a[(n-2)*n+n-1]
	}
}

// reflect makes the reflector of column j, the k-th of its panel, in row k of v,
// and what it does to the matrix in row k of w.
func (t *tridiagonal) reflect(j, k int, v, w []float64) {
	n, a := t.n, t.a
	row := a[j*n+j : (j+1)*n]
	for p := range k {
		pv, pw := v[p*n+j:(p+1)*n], w[p*n+j:(p+1)*n]
		x, y := pw[0], pv[0]
		for i := range row {
			row[i] -= pv[i]*x + pw[i]*y
		}
	}
	t.d[j] = row[0]
	x := row[1:]
	rest := 0.0
	for _, y := range x[1:] {
		rest += y * y
	}
	own := v[k*n+j+1 : (k+1)*n]
	image := w[k*n+j+1 : (k+1)*n]
	clear(v[k*n : k*n+j+1])
	clear(w[k*n : k*n+j+1])
	if rest == 0 {
		t.e[j], t.tau[j] = x[0], 0
		clear(own)
		clear(image)
		clear(x)
		return
	}
	beta := -math.Copysign(math.Sqrt(x[0]*x[0]+rest), x[0])
	tau := (beta - x[0]) / beta
	scale := 1 / (x[0] - beta)
	for i := range x {
		x[i] *= scale
	}
	x[0] = 1
	copy(own, x)
	t.e[j], t.tau[j] = beta, tau
	m := len(own)
	clear(image)
	parallel(t.pool, m, (m+taskRows-1)/taskRows, func(task int) {
		r := task * taskRows
		kern.MatMulF64(image[r:], m, a[(j+1+r)*n+j+1:], n, own, m, min(taskRows, m-r), m, 1)
	})
	for p := range k {
		pv, pw := v[p*n+j+1:(p+1)*n], w[p*n+j+1:(p+1)*n]
		var inner [2]float64
		kern.MatMulF64(inner[:1], 1, pw, m, own, m, 1, m, 1)
		kern.MatMulF64(inner[1:], 1, pv, m, own, m, 1, m, 1)
		for i := range image {
			image[i] -= pv[i]*inner[0] + pw[i]*inner[1]
		}
	}
	inner := 0.0
	for i, y := range own {
		inner += image[i] * y
	}
	half := tau * inner / 2
	for i, y := range own {
		image[i] = tau * (image[i] - half*y)
	}
}

// sweep is one step of QL: rotations between elements top and top-1 and on down.
type sweep struct{ top, at, n int }

// maxRotations is how many rotations are gathered before they are applied.
const maxRotations = 1 << 16

// iterate finds the eigenvalues by implicit QL, in d, and multiplies its
// rotations onto the rows of z, [kern.RotateLanes] of them a block.
func (t *tridiagonal) iterate(z [][]float64) error {
	n, d, e := t.n, t.d, t.e
	norm := 0.0
	for i := range n {
		norm = max(norm, math.Abs(d[i])+math.Abs(e[i]))
	}
	const eps = 0x1p-53
	tiny := norm * eps / 1024
	var sweeps []sweep
	var cs []float64
	flush := func() {
		parallel(t.pool, n, len(z), func(b int) {
			for _, s := range sweeps {
				kern.Rotate(z[b], cs[2*s.at:2*(s.at+s.n)], s.top)
			}
		})
		sweeps, cs = sweeps[:0], cs[:0]
	}
	for l := range n {
		for turn := 0; ; turn++ {
			// Where eigenvalues are zero but for rounding, so is what couples them, and
			// it does not shrink: the longer it takes, the more counts as nothing.
			nothing := math.Ldexp(tiny, min(turn, 20))
			m := l
			for ; m < n-1; m++ {
				if x := math.Abs(e[m]); x <= nothing || x <= eps*(math.Abs(d[m])+math.Abs(d[m+1])) {
					break
				}
			}
			if m == l {
				break
			}
			if turn == 60 {
				return fmt.Errorf("lowrank: %w: eigenvalue %d of %d", ErrNoConvergence, l, n)
			}
			s := sweep{top: m, at: len(cs) / 2}
			cs = t.step(l, m, cs)
			s.n = len(cs)/2 - s.at
			if z == nil {
				cs = cs[:0]
				continue
			}
			if sweeps = append(sweeps, s); len(cs) > 2*maxRotations {
				flush()
			}
		}
	}
	flush()
	return nil
}

// step is one implicit QL step on rows l to m, which are coupled to no others.
// It appends cosines and sines to cs.
func (t *tridiagonal) step(l, m int, cs []float64) []float64 {
	d, e := t.d, t.e
	g := (d[l+1] - d[l]) / (2 * e[l])
	r := math.Hypot(g, 1)
	g = d[m] - d[l] + e[l]/(g+math.Copysign(r, g))
	s, c, p := 1.0, 1.0, 0.0
	for i := m - 1; i >= l; i-- {
		f, b := s*e[i], c*e[i]
		r = math.Sqrt(f*f + g*g)
		e[i+1] = r
		if r == 0 { // the matrix falls apart here
			d[i+1] -= p
			e[m] = 0
			return cs
		}
		s, c = f/r, g/r
		g = d[i+1] - p
		r = (d[i]-g)*s + 2*c*b
		p = s * r
		d[i+1] = g + p
		g = c*r - b
		cs = append(cs, c, s)
	}
	d[l] -= p
	e[l], e[m] = g, 0
	return cs
}

// back turns eigenvectors of the tridiagonal matrix, count rows of x, into those
// of the matrix that was reduced: the product of all reflectors times each, a
// panel I - V T V^T at a time.
func (t *tridiagonal) back(x []float64, count int) {
	n := t.n
	if n < 3 {
		return
	}
	for j0 := (n - 3) / panelWidth * panelWidth; j0 >= 0; j0 -= panelWidth {
		width := min(panelWidth, n-2-j0)
		at, m := j0+1, n-j0-1 // the reflectors are zero before
		v := make([]float64, width*m)
		for k := range width {
			copy(v[k*m+k:(k+1)*m], t.a[(j0+k)*n+j0+k+1:(j0+k+1)*n])
		}
		// T is upper triangular (Schreiber and Van Loan, 1989).
		gram, tt := make([]float64, width*width), make([]float64, width*width)
		kern.MatMulF64(gram, width, v, m, v, m, width, m, width)
		for k := range width {
			tt[k*width+k] = t.tau[j0+k]
			for i := range k {
				sum := 0.0
				for p := i; p < k; p++ {
					sum += tt[i*width+p] * gram[p*width+k]
				}
				tt[i*width+k] = -t.tau[j0+k] * sum
			}
		}
		vt := transpose(v, width, m, t.pool)
		parallel(t.pool, n, (count+taskRows-1)/taskRows, func(task int) {
			r := task * taskRows
			rows := min(taskRows, count-r)
			var p, q [taskRows * panelWidth]float64
			kern.MatMulF64(p[:], width, v, m, x[r*n+at:], n, width, m, rows)
			for i := range rows {
				for k := range width {
					sum := 0.0
					for l := k; l < width; l++ {
						sum += tt[k*width+l] * p[i*width+l]
					}
					q[i*width+k] = -sum
				}
			}
			kern.MatMulF64(x[r*n+at:], n, vt, width, q[:], width, m, width, rows)
		})
	}
}

// transpose returns the transpose of a rows x cols matrix.
func transpose(a []float64, rows, cols int, pool Pool) []float64 {
	t := make([]float64, len(a))
	const block = 16
	parallel(pool, max(rows, cols), (cols+block-1)/block, func(task int) {
		j0 := task * block
		for i0 := 0; i0 < rows; i0 += block {
			for i := i0; i < min(i0+block, rows); i++ {
				for j := j0; j < min(j0+block, cols); j++ {
					t[j*rows+i] = a[i*cols+j]
				}
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
