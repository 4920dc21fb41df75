package pack

import (
	"github.com/lamina-llm/lamina/internal/kern"
	"github.com/lamina-llm/lamina/internal/tile"
	"github.com/lamina-llm/lamina/model"
)

// triangle is the lower triangle of a square matrix in float32, cut into
// row tiles of one lane group: what lies left of the diagonal tile stands row
// by row, then the diagonal tile does. First it holds the Gram matrix of a
// layer input, later what error feedback needs.
type triangle struct {
	n     int
	left  [][]float32 // tile t: height x 64 t
	diag  [][]float32 // tile t: height x height
	place *place      // where it is parked; nil if nowhere
}

func newTriangle(n int) *triangle {
	g := &triangle{n: n}
	g.allocate()
	return g
}

// allocate gives g its elements, all 0.
func (g *triangle) allocate() {
	g.left, g.diag = nil, nil
	for at := 0; at < g.n; at += tile.Lanes {
		h := min(tile.Lanes, g.n-at)
		g.left = append(g.left, make([]float32, h*at))
		g.diag = append(g.diag, make([]float32, h*h))
	}
}

// elements returns how many elements g has when it is in memory.
func (g *triangle) elements() (n int64) {
	for t := range g.tiles() {
		h := g.height(t)
		n += int64(h) * int64(t*tile.Lanes+h)
	}
	return n
}

// tiles returns the number of row tiles.
func (g *triangle) tiles() int { return (g.n + tile.Lanes - 1) / tile.Lanes }

// triangleBytes returns the memory of a triangle, about.
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

// columns are inputs of a Gram matrix column by column, in memory that is used
// again: products run along the tokens.
type columns struct {
	kern.Panels
	coarse bool // numbers of 8 bits are good enough
}

// take takes the n rows of x, which are cols numbers wide.
func (c *columns) take(x []float32, n, cols int, pool model.Pool) {
	c.Reset(cols, n, c.coarse)
	const some = 64
	pool.For((n+some-1)/some, func(_, b int) {
		for i := range c.Len() {
			c.PackTransposed(i, x, cols, b*some, min((b+1)*some, n))
		}
	})
}

// add adds X^T X for the n rows of x, which c takes.
func (g *triangle) add(x []float32, n int, pool model.Pool, c *columns) {
	c.take(x, n, g.n, pool)
	own := c.Vectors()
	pool.For(len(g.left), func(_, i int) {
		t := len(g.left) - 1 - i // the longest first
		h, b := g.height(t), t*tile.Lanes
		var part [tile.Lanes * tile.Lanes]float32 // in a cache; g hardly ever is
		for u := range t {
			kern.MatMulPanels(part[:], tile.Lanes, &c.Panels, u, &own, b, b+h, 0, n, false)
			for r := range h {
				kern.Add(g.left[t][r*b+u*tile.Lanes:][:tile.Lanes], part[r*tile.Lanes:])
			}
		}
		kern.MatMulPanels(part[:], h, &c.Panels, t, &own, b, b+h, 0, n, false)
		kern.Add(g.diag[t], part[:])
	})
}

// A panel is as high as a row tile.
const _ = uint(tile.Lanes-kern.PanelRows) + uint(kern.PanelRows-tile.Lanes)
