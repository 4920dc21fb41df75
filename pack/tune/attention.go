package tune

import (
	"github.com/lamina-llm/lamina/internal/kern"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/pack/product"
)

// heads is what attention needs, per worker.
type heads struct {
	product.Block
	p, dp          []float32       // weights of a head (n x n) and their gradients
	keys, values   product.Operand // transposed
	plain, queries product.Operand
}

// weigh fills h.p with the attention weights of a head over n tokens, whose rotated
// queries, keys and values qkv has. What a query does not see is 0.
func (h *heads) weigh(c *llama.Config, qkv []float32, head, n int) {
	d, ld := c.HeadDim, c.QKV()
	kv := head / (c.Heads / c.KVHeads)
	h.keys.SetTurned(qkv[(c.Heads+kv)*d:], ld, d, n)
	h.causal(h.p, qkv[head*d:], ld, &h.keys, n)
	for t := range n {
		row := h.p[t*n : (t+1)*n]
		kern.Softmax(row[:t+1])
		clear(row[t+1:])
	}
}

// causal computes dst[t][u] = x[t] b[u] for u up to t, and some beyond; rows of
// x are ld apart.
func (h *heads) causal(dst, x []float32, ld int, b *product.Operand, n int) {
	for t := 0; t < n; t += kern.OuterRows {
		rows := min(kern.OuterRows, n-t)
		h.Strip(dst[t*n:], n, rows, x[t*ld:], ld, 1, b, 0, b.Rows(), 0, product.Panels(t+rows), false)
	}
}

// mix computes dst[t] = sum over u up to t of p[t][u] b[u]; rows of dst are ld apart.
func (h *heads) mix(dst []float32, ld int, p []float32, b *product.Operand, n int) {
	for t := 0; t < n; t += kern.OuterRows {
		rows := min(kern.OuterRows, n-t)
		h.Strip(dst[t*ld:], ld, rows, p[t*n:], n, 1, b, 0, t+rows, 0, product.Panels(b.Cols()), false)
	}
}

// mixTurned computes dst[u] = sum over t from u of p[t][u] b[t], or adds it.
func (h *heads) mixTurned(dst []float32, ld int, p []float32, b *product.Operand, n int, add bool) {
	for u := 0; u < n; u += kern.OuterRows {
		rows := min(kern.OuterRows, n-u)
		h.Strip(dst[u*ld:], ld, rows, p[u:], 1, n, b, u, n, 0, product.Panels(b.Cols()), add)
	}
}

// attend computes what a head of n tokens puts out.
func (h *heads) attend(c *llama.Config, att, qkv []float32, head, n int) {
	d := c.HeadDim
	h.weigh(c, qkv, head, n)
	h.plain.Set(qkv[(c.Heads+c.KVHeads+head/(c.Heads/c.KVHeads))*d:], c.QKV(), n, d)
	h.mix(att[head*d:], c.Heads*d, h.p, &h.plain, n)
}

// attendBack fills dqkv of a head from datt. Keys and values serve several
// heads: the first of them sets their gradients, the others add.
func (h *heads) attendBack(c *llama.Config, dqkv, datt, qkv []float32, head, n int, first bool) {
	d, ld, la := c.HeadDim, c.QKV(), c.Heads*c.HeadDim
	kv := head / (c.Heads / c.KVHeads)
	key, value := (c.Heads+kv)*d, (c.Heads+c.KVHeads+kv)*d
	h.weigh(c, qkv, head, n)
	h.values.SetTurned(qkv[value:], ld, d, n)
	h.causal(h.dp, datt[head*d:], la, &h.values, n)
	h.plain.Set(datt[head*d:], la, n, d)
	h.mixTurned(dqkv[value:], ld, h.p, &h.plain, n, !first)
	for t := range n {
		p, dp := h.p[t*n:t*n+t+1], h.dp[t*n:t*n+t+1]
		sum := kern.Dot(p, dp)
		for u := range p {
			dp[u] = p[u] * (dp[u] - sum)
		}
		clear(h.dp[t*n+t+1 : (t+1)*n])
	}
	h.plain.Set(qkv[key:], ld, n, d)
	h.mix(dqkv[head*d:], ld, h.dp, &h.plain, n)
	h.queries.Set(qkv[head*d:], ld, n, d)
	h.mixTurned(dqkv[key:], ld, h.dp, &h.queries, n, !first)
}
