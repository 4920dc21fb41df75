package fisher

import (
	"math"

	"github.com/lamina-llm/lamina/internal/kern"
)

// product computes dst[t] = w x[t] for n vectors; w is rows x cols.
func (m *Model) product(dst, w, x []float32, rows, cols, n int) {
	const tile = 32
	m.pool.For((n+tile-1)/tile, func(_, i int) {
		t := i * tile
		k := min(tile, n-t)
		kern.MatMulF32(dst[t*rows:], w, x[t*cols:], rows, cols, k)
	})
}

// back computes dx[t] = w^T dy[t].
func (m *Model) back(dx, dy, w []float32, rows, cols, n int) {
	m.turn(m.turned, w, rows, cols)
	m.product(dx, m.turned, dy, cols, rows, n)
}

// turn transposes w (rows x cols) into dst.
func (m *Model) turn(dst, w []float32, rows, cols int) {
	const tile = 32
	m.pool.For((cols+tile-1)/tile, func(_, i int) {
		j1 := min((i+1)*tile, cols)
		for r0 := 0; r0 < rows; r0 += tile {
			for j := i * tile; j < j1; j++ {
				for r := r0; r < min(r0+tile, rows); r++ {
					dst[j*rows+r] = w[r*cols+j]
				}
			}
		}
	})
}

func transpose(dst, w []float32, rows, cols int) {
	for r := range rows {
		for j := range cols {
			dst[j*rows+r] = w[r*cols+j]
		}
	}
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
	m.pool.For(n, func(_, t int) {
		dx, dy, x := dx[t*h:(t+1)*h], dy[t*h:(t+1)*h], x[t*h:(t+1)*h]
		inv := 1 / math.Sqrt(float64(kern.Dot(x, x))/float64(h)+float64(m.config.NormEps))
		along := 0.0
		for j, d := range dy {
			along += float64(d) * float64(w[j]) * float64(x[j])
		}
		k := float32(along * inv * inv * inv / float64(h))
		for j, d := range dy {
			dx[j] += d*w[j]*float32(inv) - k*x[j]
		}
	})
}

// rotate turns queries and keys by their positions, or gradients back. Queries
// take the scale of attention scores with them.
func (m *Model) rotate(qkv []float32, n int, back bool) {
	c := &m.config
	d, half := c.HeadDim, len(m.freq)
	scale := float32(1 / math.Sqrt(float64(d)))
	m.pool.For(n, func(_, t int) {
		row := qkv[t*c.QKV():]
		kern.Scale(row[:c.Heads*d], scale)
		cos, sin := m.cos[t*half:(t+1)*half], m.sin[t*half:(t+1)*half]
		for head := range c.Heads + c.KVHeads {
			x := row[head*d : (head+1)*d]
			if !back {
				kern.RoPE(x, cos, sin)
				continue
			}
			for i := range half {
				a, b := x[i], x[i+half]
				x[i], x[i+half] = a*cos[i]+b*sin[i], b*cos[i]-a*sin[i]
			}
		}
	})
}

// gather copies n vectors of a head out of (or back into) rows of stride ld.
func gather(dst, src []float32, at, ld, d, n int) {
	for t := range n {
		copy(dst[t*d:(t+1)*d], src[t*ld+at:])
	}
}

// weigh fills s.p with the attention weights of a head (n x n) and s.v with its
// values.
func (m *Model) weigh(s *headScratch, head, n int) {
	c := &m.config
	d, ld := c.HeadDim, c.QKV()
	kv := head / (c.Heads / c.KVHeads)
	gather(s.q, m.qkv, head*d, ld, d, n)
	gather(s.k, m.qkv, (c.Heads+kv)*d, ld, d, n)
	gather(s.v, m.qkv, (c.Heads+c.KVHeads+kv)*d, ld, d, n)
	kern.MatMulF32(s.p, s.k, s.q, n, d, n)
	for t := range n {
		kern.Softmax(s.p[t*n : t*n+t+1])
		clear(s.p[t*n+t+1 : (t+1)*n])
	}
}

func (m *Model) attend(s *headScratch, head, n int) {
	d, ld := m.config.HeadDim, m.config.Heads*m.config.HeadDim
	m.weigh(s, head, n)
	transpose(s.t2, s.v, n, d)
	kern.MatMulF32(s.o, s.t2, s.p, d, n, n)
	for t := range n {
		copy(m.att[t*ld+head*d:][:d], s.o[t*d:(t+1)*d])
	}
}

// attendBack fills dqkv of a head from datt. Keys and values serve several
// heads; the first of them sets their gradients, the others add.
func (m *Model) attendBack(s *headScratch, head, n int, first bool) {
	c := &m.config
	d, ld := c.HeadDim, c.QKV()
	kv := head / (c.Heads / c.KVHeads)
	m.weigh(s, head, n)
	gather(s.do, m.datt, head*d, c.Heads*d, d, n)
	kern.MatMulF32(s.dp, s.v, s.do, n, d, n)
	transpose(s.t, s.p, n, n)
	transpose(s.t2, s.do, n, d)
	kern.MatMulF32(s.dv, s.t2, s.t, d, n, n)
	for t := range n {
		p, dp := s.p[t*n:t*n+t+1], s.dp[t*n:t*n+t+1]
		sum := kern.Dot(p, dp)
		for u := range p {
			dp[u] = p[u] * (dp[u] - sum)
		}
		clear(s.dp[t*n+t+1 : (t+1)*n])
	}
	transpose(s.t2, s.k, n, d)
	kern.MatMulF32(s.dq, s.t2, s.dp, d, n, n)
	transpose(s.t, s.dp, n, n)
	transpose(s.t2, s.q, n, d)
	kern.MatMulF32(s.dk, s.t2, s.t, d, n, n)
	for t := range n {
		row := m.dqkv[t*ld:]
		copy(row[head*d:(head+1)*d], s.dq[t*d:])
		k, v := row[(c.Heads+kv)*d:][:d], row[(c.Heads+c.KVHeads+kv)*d:][:d]
		if first {
			clear(k)
			clear(v)
		}
		kern.Add(k, s.dk[t*d:(t+1)*d])
		kern.Add(v, s.dv[t*d:(t+1)*d])
	}
}
