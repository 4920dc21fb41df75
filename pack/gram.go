package pack

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"

	"github.com/lamina-llm/lamina/internal/kern"
	"github.com/lamina-llm/lamina/internal/tile"
	"github.com/lamina-llm/lamina/model"
)

// triangle is the lower triangle of a square matrix in float32, cut into
// row tiles of one lane group: what lies left of the diagonal tile stands row
// by row, then the diagonal tile does. First it holds the Gram matrix of a
// layer input, later what error feedback needs.
type triangle struct {
	n    int
	left [][]float32 // tile t: height x 64 t
	diag [][]float32 // tile t: height x height
}

func newTriangle(n int) *triangle {
	g := &triangle{n: n}
	for at := 0; at < n; at += tile.Lanes {
		h := min(tile.Lanes, n-at)
		g.left = append(g.left, make([]float32, h*at))
		g.diag = append(g.diag, make([]float32, h*h))
	}
	return g
}

// triangleBytes returns the memory of a triangle.
func triangleBytes(n int) int64 { return 2 * int64(n) * int64(n+tile.Lanes) }

// height returns the rows of tile t.
func (g *triangle) height(t int) int { return min(tile.Lanes, g.n-t*tile.Lanes) }

// at returns the place of element (i, j), j at most i or in i's diagonal tile.
func (g *triangle) at(i, j int) *float32 {
	t := i / tile.Lanes
	if b := t * tile.Lanes; j >= b {
		return &g.diag[t][(i-b)*g.height(t)+j-b]
	}
	return &g.left[t][i%tile.Lanes*t*tile.Lanes+j]
}

// symmetric returns element (i, j) of the symmetric matrix.
func (g *triangle) symmetric(i, j int) float64 {
	return float64(*g.at(max(i, j), min(i, j)))
}

// scale multiplies g by k.
func (g *triangle) scale(k float64) {
	for t := range g.left {
		kern.Scale(g.left[t], float32(k))
		kern.Scale(g.diag[t], float32(k))
	}
}

// plus adds k times h, of the same size.
func (g *triangle) plus(h *triangle, k float64) {
	for t := range g.left {
		kern.Axpy(g.left[t], float32(k), h.left[t])
		kern.Axpy(g.diag[t], float32(k), h.diag[t])
	}
}

// trace returns the sum of the diagonal.
func (g *triangle) trace() (sum float64) {
	for j := range g.n {
		sum += g.symmetric(j, j)
	}
	return sum
}

// add adds X^T X for the n rows of x. scratch holds n columns.
func (g *triangle) add(x []float32, n int, pool model.Pool, scratch []float32) {
	// Columns of x side by side in memory: products run along the tokens.
	xt := scratch[:n*g.n]
	const block = 16
	pool.For((g.n+block-1)/block, func(_, b int) {
		for t := range n {
			for j := b * block; j < min((b+1)*block, g.n); j++ {
				xt[j*n+t] = x[t*g.n+j]
			}
		}
	})
	pool.For(len(g.left), func(_, i int) {
		t := len(g.left) - 1 - i // the longest first
		h, b := g.height(t), t*tile.Lanes
		var part [tile.Lanes * tile.Lanes]float32
		own := xt[b*n : (b+h)*n]
		for u := range t {
			kern.MatMulF32(part[:tile.Lanes*h], xt[u*tile.Lanes*n:], own, tile.Lanes, n, h)
			for r := range h {
				kern.Add(g.left[t][r*b+u*tile.Lanes:][:tile.Lanes], part[r*tile.Lanes:][:tile.Lanes])
			}
		}
		kern.MatMulF32(part[:h*h], own, own, h, n, h)
		kern.Add(g.diag[t], part[:h*h])
	})
}

// Damping of a Gram matrix: a share of every variance, which takes off the
// correlations what so few tokens cannot know, and a floor for inputs that are
// (nearly) never in use.
const (
	damping   = 5e-2
	dampFloor = 1e-3 // of the mean variance
)

// factorise returns, for H = g (the Gram matrix) with rows and columns put in the
// order perm, the factors of H = A^T D A with D diagonal and A unit lower
// triangular when read as in A[j][k], k < j: what the error of column k asks
// of column j. root[j] is the square root of D[j]: what an error of one in
// column j costs after all later columns made up for it.
func (g *triangle) factorise(perm []int) (a *triangle, root []float64, err error) {
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
	var chol mat.Cholesky
	h := mat.NewSymDense(n, nil)
	for damp := damping; ; damp *= 10 {
		// In reverse order, since the usual factorisation starts at the first.
		for i := range n {
			for j := i; j < n; j++ {
				v := g.symmetric(perm[n-1-i], perm[n-1-j]) / mean
				if i == j {
					v += damp*v + dampFloor
				}
				h.SetSym(i, j, v)
			}
		}
		if chol.Factorize(h) {
			break
		}
		if damp > 1e3 {
			return nil, nil, fmt.Errorf("the Gram matrix of %d inputs has no Cholesky factor", n)
		}
	}
	var u mat.TriDense
	chol.UTo(&u)
	raw := u.RawTriangular()
	a, root = newTriangle(n), make([]float64, n)
	for j := range n {
		row := raw.Data[(n-1-j)*raw.Stride:]
		for k := range j {
			*a.at(j, k) = float32(row[n-1-k] / row[n-1-j])
		}
		root[j] = row[n-1-j] * math.Sqrt(mean)
	}
	return a, root, nil
}
