package tune

import "github.com/lamina-llm/lamina/pack/product"

// outputs returns the part of a head in rows of all heads' outputs.
func (n *network) outputs(x []float32, head int) product.Rows {
	return product.Rows{X: x[head*n.config.HeadDim:], LD: n.config.Heads * n.config.HeadDim}
}

// attend computes what a head puts out for the tokens of a window.
func (n *network) attend(h *product.Head, att, qkv []float32, head, tokens int) {
	c := &n.config
	q, k, v := product.Parts(qkv, c.Heads, c.KVHeads, c.HeadDim, head)
	h.Forward(n.outputs(att, head), q, k, v, c.HeadDim, tokens)
}

// attendBack fills the gradients dqkv of the heads that share keys and values from
// datt: the first of them sets those of keys and values, the others add.
func (n *network) attendBack(h *product.Head, dqkv, datt, qkv []float32, kv, tokens int) {
	c := &n.config
	group := c.Heads / c.KVHeads
	for head := kv * group; head < (kv+1)*group; head++ {
		q, k, v := product.Parts(qkv, c.Heads, c.KVHeads, c.HeadDim, head)
		dq, dk, dv := product.Parts(dqkv, c.Heads, c.KVHeads, c.HeadDim, head)
		h.Backward(dq, dk, dv, n.outputs(datt, head), q, k, v, c.HeadDim, tokens, head > kv*group)
	}
}
