package pack

import (
	"fmt"
	"math"

	"github.com/lamina-llm/lamina/internal/kern"
	"github.com/lamina-llm/lamina/internal/tile"
	"github.com/lamina-llm/lamina/model"
)

// damping is what is added to the variances of a Gram matrix, to take off the
// correlations what so few tokens cannot know: a share of each, and the same for
// all, a share of their geometric mean, which a few large ones do not rule.
type damping struct{ own, even float64 }

var (
	dampDense = damping{1e-2, 0.3}
	dampLight = damping{5e-2, 0} // of regressions, and of factored matrices, whose losses are foretold from the steps
)

// dampFloor is added besides, for inputs that are (nearly) never in use, relative
// to the mean variance.
const dampFloor = 1e-3

// level returns what d adds to all variances of g alike, relative to their mean.
func (d damping) level(g *triangle, mean float64) float64 {
	sum := 0.0
	for j := range g.n {
		sum += math.Log(max(g.symmetric(j, j)/mean, dampFloor))
	}
	return d.even*math.Exp(sum/float64(g.n)) + dampFloor
}

// factorise returns, for H = g (the Gram matrix) with rows and columns put in the
// order perm, the factors of H = A^T D A with D diagonal and A unit lower
// triangular when read as in A[j][k], k < j: what the error of column k asks
// of column j. root[j] is the square root of D[j]: what an error of one in
// column j costs after all later columns made up for it.
func (g *triangle) factorise(perm []int, d damping, pool model.Pool) (a *triangle, root []float64, err error) {
	n := g.n
	mean := 0.0
	for j := range n {
		v := g.symmetric(j, j)
		if !(v >= 0) || math.IsInf(v, 0) {
			return nil, nil, fmt.Errorf("variance of input %d is %v; the activations overflow", j, v)
		}
		mean += v / float64(n)
	}
	if mean == 0 {
		mean = 1 // no input at all: plain rounding
	}
	a = newTriangle(n)
	even := d.level(g, mean)
	for damp := d.own; ; damp *= 10 {
		a.damped(g, perm, 1/mean, damp, even, pool)
		if root = a.cholesky(pool); root != nil {
			break
		}
		if damp > 1e3 {
			return nil, nil, fmt.Errorf("the Gram matrix of %d inputs has no Cholesky factor", n)
		}
	}
	for j := range n {
		t, r := j/tile.Lanes, j%tile.Lanes
		b, h := t*tile.Lanes, a.height(t)
		inv := float32(1 / root[j])
		kern.Scale(a.left[t][r*b:(r+1)*b], inv)
		kern.Scale(a.diag[t][r*h:(r+1)*h], inv)
		root[j] *= math.Sqrt(mean)
	}
	return a, root, nil
}

// damped sets a to k times g, rows and columns in the order perm, with damping:
// damp times each variance, and even.
func (a *triangle) damped(g *triangle, perm []int, k, damp, even float64, pool model.Pool) {
	pool.For(len(a.left), func(_, t int) {
		b, h := t*tile.Lanes, a.height(t)
		for r := range h {
			i := perm[b+r]
			row := a.left[t][r*b : (r+1)*b]
			for j := range row {
				row[j] = float32(k * g.symmetric(i, perm[j]))
			}
			row = a.diag[t][r*h : (r+1)*h]
			for j := range row {
				v := k * g.symmetric(i, perm[b+j])
				if j == r {
					v += damp*v + even
				}
				row[j] = float32(v)
			}
		}
	})
}

// panel is how many tile rows are finished before the rest is updated: products
// run along their rows, and short ones are slow.
const panel = 4

// cholesky replaces the symmetric matrix a = R^T R by the lower triangular R,
// from the last row to the first, and returns the diagonal of R; nil if the
// matrix is not positive definite to the precision of float32. What
// is right of the diagonal becomes 0.
//
// A finished row of tiles is kept transposed too, since the products that take
// it off the rows before it run down its columns.
func (a *triangle) cholesky(pool model.Pool) []float64 {
	n, root := a.n, make([]float64, a.n)
	own := make([]float32, n*tile.Lanes)               // the row of tiles at hand: per column, its elements
	all := make([]float32, n*min(n, panel*tile.Lanes)) // the same of the panel
	inv := make([]float32, tile.Lanes*tile.Lanes)
	for p1 := len(a.left); p1 > 0; {
		p0 := max(0, p1-panel)
		depth := min(n, p1*tile.Lanes) - p0*tile.Lanes
		at := 0
		for s := p1 - 1; s >= p0; s-- {
			h := a.height(s)
			if !finishTile(a.diag[s], h, inv, root[s*tile.Lanes:]) {
				return nil
			}
			pool.For(s, func(_, u int) { a.finishRow(s, u, own, inv, all[at:], depth) })
			pool.For(s-p0, func(_, i int) { a.update(p0+i, own, h) })
			at += h
		}
		pool.For(p0, func(_, i int) { a.update(p0-1-i, all, depth) }) // the longest first
		p1 = p0
	}
	return root
}

// finishTile replaces the symmetric tile d = R^T R by R and sets inv to the
// inverse of R^T, and root to R's diagonal; ok is false if there is no R.
func finishTile(d []float32, h int, inv []float32, root []float64) (ok bool) {
	var r, y [tile.Lanes * tile.Lanes]float64
	for j := h - 1; j >= 0; j-- {
		for k := j; k >= 0; k-- {
			v := float64(d[j*h+k])
			for i := j + 1; i < h; i++ {
				v -= r[i*h+j] * r[i*h+k]
			}
			if k == j {
				if !(v > 1e-7*float64(d[j*h+j])) {
					return false
				}
				root[j] = math.Sqrt(v)
				r[j*h+j] = root[j]
			} else {
				r[j*h+k] = v / root[j]
			}
		}
	}
	for c := range h {
		for i := c; i >= 0; i-- {
			v := 0.0
			if i == c {
				v = 1
			}
			for k := i + 1; k <= c; k++ {
				v -= r[k*h+i] * y[k*h+c]
			}
			y[i*h+c] = v / root[i]
		}
	}
	for i := range h * h {
		d[i], inv[i] = float32(r[i]), float32(y[i])
	}
	return true
}

// finishRow turns tile (s, u) into that of R, and puts it transposed into own
// and, at the distance of depth between columns, into all.
func (a *triangle) finishRow(s, u int, own, inv, all []float32, depth int) {
	const w = tile.Lanes
	b, h := s*w, a.height(s)
	var turned [w * w]float32
	for r := range h {
		for j, v := range a.left[s][r*b+u*w:][:w] {
			turned[j*h+r] = v
		}
	}
	columns := own[u*w*h : (u+1)*w*h]
	kern.MatMulF32(columns, inv[:h*h], turned[:], h, h, w)
	for j := range w {
		column := columns[j*h : (j+1)*h]
		copy(all[(u*w+j)*depth:], column)
		for r, v := range column {
			a.left[s][r*b+u*w+j] = v
		}
	}
}

// update takes finished rows off row t of tiles: columns holds depth elements
// of them per column.
func (a *triangle) update(t int, columns []float32, depth int) {
	const w = tile.Lanes
	var part [w * w]float32
	own := columns[t*w*depth : (t+1)*w*depth]
	b := t * w
	for u := range t + 1 {
		kern.MatMulF32(part[:], columns[u*w*depth:], own, w, depth, w)
		dst, ld := a.left[t], b
		if u == t {
			dst, ld = a.diag[t], w
		} else {
			dst = dst[u*w:]
		}
		for r := range w {
			row := dst[r*ld:][:w]
			for j, v := range part[r*w : (r+1)*w] {
				row[j] -= v
			}
		}
	}
}
