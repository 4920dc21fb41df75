package fisher

import (
	"math"

	"github.com/lamina-llm/lamina/internal/kern"
)

// some is how many vectors a task of a product takes.
const some = 256

// product computes dst[t] = w x[t] for n vectors; the matrix is packed.
func (m *Model) product(dst []float32, w *kern.Panels, x []float32, rows, cols, n int) {
	m.vectors.Reset(n, cols, m.Coarse)
	const few = 16
	m.pool.For((n+few-1)/few, func(_, i int) {
		m.vectors.Pack(i*few, min((i+1)*few, n), x, cols)
	})
	blocks := (n + some - 1) / some
	if blocks == 1 {
		blocks = 2 // there may be few panels
	}
	each := (n + blocks - 1) / blocks
	m.pool.For(w.Len()*blocks, func(_, i int) {
		i, t0 := i/blocks, i%blocks*each
		kern.MatMulPanels(dst[min(t0, n)*rows+i*kern.PanelRows:], rows, w, i, &m.vectors, t0, min(t0+each, n), 0, cols, false)
	})
}

// pack puts w (rows x cols) into panels.
func (m *Model) pack(p *kern.Panels, w []float32, rows, cols int) *kern.Panels {
	p.Reset(rows, cols, m.Coarse)
	m.pool.For(p.Len(), func(_, i int) { p.Pack(i, w, cols) })
	return p
}

// turn puts the transpose of w (rows x cols) into panels.
func (m *Model) turn(p *kern.Panels, w []float32, rows, cols int) *kern.Panels {
	p.Reset(cols, rows, m.Coarse)
	const some = 64 // rows a task, that those of wide matrices are read one after another
	m.pool.For((rows+some-1)/some, func(_, b int) {
		for i := range p.Len() {
			p.PackTransposed(i, w, cols, b*some, min((b+1)*some, rows))
		}
	})
	return p
}

func (m *Model) add(dst, x []float32, n int) {
	h := m.config.Hidden
	m.pool.For(n, func(_, t int) { kern.Add(dst[t*h:(t+1)*h], x[t*h:(t+1)*h]) })
}

func (m *Model) norm(dst, x, w []float32, n int) {
	h := m.config.Hidden
	m.pool.For(n, func(_, t int) { kern.RMSNorm(dst[t*h:(t+1)*h], x[t*h:(t+1)*h], w, m.config.NormEps) })
}

// normBack adds to dx what dy, the gradient of a norm's output, gives its
// input x.
func (m *Model) normBack(dx, dy, x, w []float32, n int) {
	h := m.config.Hidden
	m.pool.For(n, func(worker, t int) {
		dx, dy, x, dw := dx[t*h:(t+1)*h], dy[t*h:(t+1)*h], x[t*h:(t+1)*h], m.heads[worker].row[:h]
		inv := 1 / math.Sqrt(float64(kern.Dot(x, x))/float64(h)+float64(m.config.NormEps))
		kern.MulInto(dw, dy, w)
		k := float64(kern.Dot(dw, x)) * inv * inv * inv / float64(h)
		kern.Axpy(dx, float32(inv), dw)
		kern.Axpy(dx, float32(-k), x)
	})
}

// gateBack turns the gradients da of products of gates and ups into those of
// gates and ups, gu, one token's of each.
func gateBack(dgu, da, gu, e []float32) {
	f := len(da)
	g, u := gu[:f], gu[f:2*f]
	dg, du := dgu[:f], dgu[f:2*f]
	e = e[:f]
	copy(e, g)
	kern.Scale(e, -1)
	kern.ExpInto(e, e, 0)
	for j, x := range e {
		s := 1 / (1 + x)
		gs := g[j] * s
		du[j] = da[j] * gs
		dg[j] = da[j] * u[j] * (s + gs - gs*s)
	}
}

// rotate turns queries and keys by their positions, or gradients back. Queries
// take the scale of attention scores with them.
func (m *Model) rotate(qkv []float32, n int, back bool) {
	c := &m.config
	d, half := c.HeadDim, len(m.freq)
	scale := float32(1 / math.Sqrt(float64(d)))
	sines := m.sin
	if back {
		sines = m.minus
	}
	m.pool.For(n, func(_, t int) {
		row := qkv[t*c.QKV():]
		kern.Scale(row[:c.Heads*d], scale)
		cos, sin := m.cos[t*half:(t+1)*half], sines[t*half:(t+1)*half]
		for head := range c.Heads + c.KVHeads {
			kern.RoPE(row[head*d:(head+1)*d], cos, sin)
		}
	})
}
