package lowrank

import (
	"math"

	"github.com/lamina-llm/lamina/internal/kern"
)

// Blocks of the reduction.
const (
	panelWidth = 16  // reflectors that are gathered; all but the last loop over them is serial
	backWidth  = 128 // reflectors that are applied together to eigenvectors
	groups     = 16  // sums that are kept apart
	imageCols  = 256 // columns of a block that stays in a cache
)

// tridiagonal is a symmetric matrix on its way to diagonal form.
type tridiagonal struct {
	n    int
	a    []float64 // row j: upper triangle of the matrix, then from j+1 on the j-th reflector
	d, e []float64 // diagonal; e[j] couples j and j+1
	tau  []float64 // of the reflectors
	pool Pool
}

// panel is the reflectors v of some columns and what they do to the matrix,
// A - V W^T - W V^T.
type panel struct {
	v, w  []float64 // panelWidth x n
	pairs []float64 // n x 2 panelWidth: element i of all, v0 w0 v1 w1 ...
	coef  []float64 // 2 panelWidth
	parts []float64 // groups x n
	ones  [groups]float64
}

// reduce brings a to tridiagonal form by reflectors H = I - tau v v^T. Those of
// a panel are gathered before they are applied to the rest.
func (t *tridiagonal) reduce() {
	n, a := t.n, t.a
	p := panel{
		v: make([]float64, panelWidth*n), w: make([]float64, panelWidth*n),
		pairs: make([]float64, n*2*panelWidth), coef: make([]float64, 2*panelWidth), parts: make([]float64, groups*n),
	}
	for i := range p.ones {
		p.ones[i] = 1
	}
	swapped := make([]float64, n*2*panelWidth)
	for j0 := 0; j0 < n-2; j0 += panelWidth {
		width := min(panelWidth, n-2-j0)
		for k := range width {
			t.reflect(j0+k, k, &p)
		}
		at, m := j0+width, n-j0-width
		pairs := p.pairs[at*2*panelWidth:]
		for i := 0; i < 2*panelWidth*m; i += 2 {
			swapped[i], swapped[i+1] = -pairs[i+1], -pairs[i]
		}
		parallel(t.pool, m, (m+taskRows-1)/taskRows, func(task int) {
			r := task * taskRows
			kern.MatMulF64(a[(at+r)*n+at+r:], n, pairs[r*2*panelWidth:], 2*panelWidth, swapped[r*2*panelWidth:], 2*panelWidth, m-r, 2*width, min(taskRows, m-r))
		})
	}
	for j := max(n-2, 0); j < n; j++ {
		t.d[j] = a[j*n+j]
	}
	if n > 1 {
		t.e[n-2] = a[(n-2)*n+n-1]
	}
}

// reflect makes the reflector of column j, the k-th of its panel.
func (t *tridiagonal) reflect(j, k int, p *panel) {
	n, a := t.n, t.a
	row := a[j*n+j : (j+1)*n]
	clear(p.coef)
	for i := 0; i < 2*k; i += 2 {
		own := p.pairs[j*2*panelWidth:]
		p.coef[i], p.coef[i+1] = -own[i+1], -own[i]
	}
	kern.MatMulF64(row, len(row), p.pairs[j*2*panelWidth:], 2*panelWidth, p.coef, 2*panelWidth, len(row), padded(k), 1)
	t.d[j] = row[0]
	x := row[1:]
	rest := 0.0
	for _, y := range x[1:] {
		rest += y * y
	}
	own := p.v[k*n+j+1 : (k+1)*n]
	image := p.w[k*n+j+1 : (k+1)*n]
	clear(own)
	clear(image)
	if rest == 0 {
		t.e[j], t.tau[j] = x[0], 0
		clear(x)
	} else {
		beta := -math.Copysign(math.Sqrt(x[0]*x[0]+rest), x[0])
		tau := (beta - x[0]) / beta
		scale := 1 / (x[0] - beta)
		for i := range x {
			x[i] *= scale
		}
		x[0] = 1
		copy(own, x)
		t.e[j], t.tau[j] = beta, tau
		t.image(j, k, p)
		inner := 0.0
		for i, y := range own {
			inner += image[i] * y
		}
		half := tau * inner / 2
		for i, y := range own {
			image[i] = tau * (image[i] - half*y)
		}
	}
	for i, y := range own {
		pair := p.pairs[(j+1+i)*2*panelWidth+2*k:]
		pair[0], pair[1] = y, image[i]
	}
}

// image computes in row k of p.w what the matrix, with the reflectors of the
// panel before the k-th on it, makes of that one. It reads the upper triangle
// alone, once, which is what takes the time: a block of it serves for its own
// rows and, the other way, for its columns. The latter's sums are kept apart for
// groups of blocks, so that they do not depend on who computes what.
func (t *tridiagonal) image(j, k int, p *panel) {
	n, m := t.n, t.n-j-1
	a := t.a[(j+1)*n+j+1:]
	own, image := p.v[k*n+j+1:(k+1)*n], p.w[k*n+j+1:(k+1)*n]
	var inner [2 * panelWidth]float64
	if k > 0 {
		kern.MatMulF64(inner[:], k, p.v[j+1:], n, own, m, k, m, 1)
		kern.MatMulF64(inner[panelWidth:], k, p.w[j+1:], n, own, m, k, m, 1)
	}
	clear(p.coef)
	for i := range k {
		p.coef[2*i], p.coef[2*i+1] = -inner[panelWidth+i], -inner[i]
	}
	pairs := p.pairs[(j+1)*2*panelWidth:]
	blocks := (m + taskRows - 1) / taskRows
	parallel(t.pool, m, min(groups, blocks), func(group int) {
		part := p.parts[group*n : group*n+m]
		clear(part)
		for block := group; block < blocks; block += groups {
			r := block * taskRows
			rows := min(taskRows, m-r)
			kern.MatMulF64(image[r:], m, pairs[r*2*panelWidth:], 2*panelWidth, p.coef, 2*panelWidth, rows, padded(k), 1)
			// The square on the diagonal, of which one half is there.
			for i := range rows {
				line := a[(r+i)*n+r : (r+i)*n+r+rows]
				sum := line[i] * own[r+i]
				for c := i + 1; c < rows; c++ {
					sum += line[c] * own[r+c]
					image[r+c] += line[c] * own[r+i]
				}
				image[r+i] += sum
			}
			for c := r + rows; c < m; c += imageCols {
				width := min(imageCols, m-c)
				kern.MatMulF64(image[r:], m, a[r*n+c:], n, own[c:], m, rows, width, 1)
				addRows(part[c:c+width], a[r*n+c:], n, own[r:r+rows])
			}
		}
	})
	addRows(image, p.parts, n, p.ones[:min(groups, blocks)])
}

// padded is how many coefficients of k pairs are multiplied: a number that
// kernels like. Those beyond are zero.
func padded(k int) int { return (2*k + 7) &^ 7 }

// addRows adds x[i] times row i of a to dst.
func addRows(dst, a []float64, stride int, x []float64) {
	i := 0
	for ; i+4 <= len(x); i += 4 {
		x0, x1, x2, x3 := x[i], x[i+1], x[i+2], x[i+3]
		a0 := a[i*stride:][:len(dst)]
		a1 := a[(i+1)*stride:][:len(dst)]
		a2 := a[(i+2)*stride:][:len(dst)]
		a3 := a[(i+3)*stride:][:len(dst)]
		for j := range dst {
			dst[j] += (a0[j]*x0 + a1[j]*x1) + (a2[j]*x2 + a3[j]*x3)
		}
	}
	for ; i < len(x); i++ {
		for j, y := range a[i*stride:][:len(dst)] {
			dst[j] += y * x[i]
		}
	}
}

// back turns eigenvectors of the tridiagonal matrix, count rows of x, into those
// of the matrix that was reduced: the product of all reflectors times each, a
// block I - V T V^T at a time.
func (t *tridiagonal) back(x []float64, count int) {
	n := t.n
	if n < 3 {
		return
	}
	for j0 := (n - 3) / backWidth * backWidth; j0 >= 0; j0 -= backWidth {
		width := min(backWidth, n-2-j0)
		at, m := j0+1, n-j0-1 // the reflectors are zero before
		v := make([]float64, width*m)
		for k := range width {
			copy(v[k*m+k:(k+1)*m], t.a[(j0+k)*n+j0+k+1:(j0+k+1)*n])
		}
		tt := t.blockFactor(v, j0, width, m)
		vt := transpose(v, width, m, t.pool)
		each := share(count, 4, t.pool)
		parallel(t.pool, n, (count+each-1)/each, func(task int) {
			r := task * each
			rows := min(each, count-r)
			p, q := make([]float64, rows*width), make([]float64, rows*width)
			kern.MatMulF64(p, width, v, m, x[r*n+at:], n, width, m, rows)
			kern.MatMulF64(q, width, tt, width, p, width, width, width, rows)
			kern.MatMulF64(x[r*n+at:], n, vt, width, q, width, m, width, rows)
		})
	}
}

// blockFactor returns -T of the block of reflectors from the j0-th on, the rows
// of v. T is upper triangular (Schreiber and Van Loan, 1989).
func (t *tridiagonal) blockFactor(v []float64, j0, width, m int) []float64 {
	inner := gram(v, v, width, m, t.pool)
	tt := make([]float64, width*width)
	for k := range width {
		tau := t.tau[j0+k]
		tt[k*width+k] = -tau
		for i := range k {
			sum := 0.0
			for p := i; p < k; p++ {
				sum += tt[i*width+p] * inner[p*width+k]
			}
			tt[i*width+k] = -tau * sum
		}
	}
	return tt
}
