package fisher

import (
	"github.com/lamina-llm/lamina/internal/kern"
	"github.com/lamina-llm/lamina/pack/product"
)

// outputs returns the part of a head in rows of all heads' outputs.
func (m *Model) outputs(x []float32, head int) product.Rows {
	return product.Rows{X: x[head*m.config.HeadDim:], LD: m.config.Heads * m.config.HeadDim}
}

// headOf returns what a worker computes heads with.
func (m *Model) headOf(worker int) *product.Head {
	h := &m.heads[worker]
	h.Coarse = m.Coarse
	return h
}

func (m *Model) attend(n int) {
	c := &m.config
	m.pool.For(c.Heads, func(worker, head int) {
		q, k, v := product.Parts(m.qkv, c.Heads, c.KVHeads, c.HeadDim, head)
		m.headOf(worker).Forward(m.outputs(m.att, head), q, k, v, c.HeadDim, n)
	})
}

// attendBack fills the gradients m.dqkv from m.datt.
func (m *Model) attendBack(n int) {
	c, d := &m.config, m.config.HeadDim
	m.pool.For(c.Heads, func(worker, head int) {
		q, k, v := product.Parts(m.qkv, c.Heads, c.KVHeads, d, head)
		dq, _, _ := product.Parts(m.dqkv, c.Heads, c.KVHeads, d, head)
		dk, dv := product.Rows{X: m.dk[head], LD: d}, product.Rows{X: m.dv[head], LD: d}
		m.headOf(worker).Backward(dq, dk, dv, m.outputs(m.datt, head), q, k, v, d, n, false)
	})
	m.gatherHeads(n)
}

// gatherHeads adds up what the heads that share keys and values give their
// gradients.
func (m *Model) gatherHeads(n int) {
	c := &m.config
	d, group := c.HeadDim, c.Heads/c.KVHeads
	m.pool.For(n, func(_, t int) {
		row := m.dqkv[t*c.QKV():]
		for kv := range c.KVHeads {
			k, v := row[(c.Heads+kv)*d:][:d], row[(c.Heads+c.KVHeads+kv)*d:][:d]
			clear(k)
			clear(v)
			for head := kv * group; head < (kv+1)*group; head++ {
				kern.Add(k, m.dk[head][t*d:(t+1)*d])
				kern.Add(v, m.dv[head][t*d:(t+1)*d])
			}
		}
	})
}
