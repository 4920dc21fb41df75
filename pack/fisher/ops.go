package fisher

import (
	"math"

	"github.com/lamina-llm/lamina/internal/kern"
)

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
		dx, dy, x, dw := dx[t*h:(t+1)*h], dy[t*h:(t+1)*h], x[t*h:(t+1)*h], m.rows[worker][:h]
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
