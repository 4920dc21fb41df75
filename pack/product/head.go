package product

import "github.com/lamina-llm/lamina/internal/kern"

// Head computes causal attention of one head after another, forward and backward.
// Queries carry the scale of scores. The zero value is ready for products in
// float32; one goroutine uses it at a time.
type Head struct {
	// Coarse has products take numbers in bfloat16 where the processor multiplies
	// such.
	Coarse bool

	p, dp        []float32    // weights of keys by queries, and their gradients: n x n
	rows         kern.Panels  // keys, then values
	turned       kern.Panels  // values, keys, queries or gradients of outputs, a row per element of a head
	across       kern.Panels  // weights or their gradients, a row per key
	heads, weigh kern.Vectors // queries or gradients of outputs; weights or their gradients: a vector per query
}

// Rows are vectors of a head, one per token, that begin LD numbers apart.
type Rows struct {
	X  []float32
	LD int
}

// Parts returns the queries, keys and values of a head of d elements, where a token
// has those of all heads: queries of heads, keys of groups, values of groups.
func Parts(qkv []float32, heads, groups, d, head int) (q, k, v Rows) {
	ld, key := (heads+2*groups)*d, heads+head/(heads/groups)
	return Rows{qkv[head*d:], ld}, Rows{qkv[key*d:], ld}, Rows{qkv[(key+groups)*d:], ld}
}

// square is how many queries, and keys, are looked at together: what lies behind
// the last query of a block is left out.
const square = kern.PanelRows

// HeadBytes returns the memory of a Head after n tokens of heads of d elements,
// forward and backward.
func HeadBytes(n, d int) int64 {
	weights := 2*4*int64(n)*int64(n) + kern.PanelBytes(n, n, false) + kern.VectorBytes(n, n, false)
	return weights + kern.PanelBytes(d, n, false) + kern.PanelBytes(n, d, false) + kern.VectorBytes(n, d, false)
}

// Forward computes the outputs of a head of d elements for n tokens, from their
// queries, keys and values.
func (s *Head) Forward(out, q, k, v Rows, d, n int) {
	s.weights(q, k, d, n)
	s.turn(v, d, n)
	s.along(out, s.p, n)
}

// Backward turns the gradients dout of the outputs into those of queries, keys and
// values, or with add adds to those of keys and values.
func (s *Head) Backward(dq, dk, dv, dout, q, k, v Rows, d, n int, add bool) {
	s.weights(q, k, d, n)
	s.turn(dout, d, n)
	s.down(dv, s.p, n, add)

	s.dp = s.scores(s.dp, dout, v, d, n)
	for t := range n {
		p, dp := s.p[t*n:t*n+t+1], s.dp[t*n:t*n+t+1]
		sum := kern.Dot(p, dp)
		for u := range p {
			dp[u] = p[u] * (dp[u] - sum)
		}
		clearBehind(s.dp, t, n)
	}
	s.turn(k, d, n)
	s.along(dq, s.dp, n)
	s.turn(q, d, n)
	s.down(dk, s.dp, n, add)
}

// weights fills s.p with the attention weights, as far as squares go that a query
// sees anything of.
func (s *Head) weights(q, k Rows, d, n int) {
	s.p = s.scores(s.p, q, k, d, n)
	for t := range n {
		kern.Softmax(s.p[t*n : t*n+t+1])
		clearBehind(s.p, t, n)
	}
}

// clearBehind clears what query t does not see of its square.
func clearBehind(p []float32, t, n int) {
	clear(p[t*n+t+1 : t*n+min(n, (t/square+1)*square)])
}

// scores multiplies vectors x of queries with those of keys, in dst, which it makes n x n.
func (s *Head) scores(dst []float32, x, keys Rows, d, n int) []float32 {
	if cap(dst) < n*n {
		dst = make([]float32, n*n)
	}
	dst = dst[:n*n]
	s.rows.Reset(n, d, s.Coarse)
	s.heads.Reset(n, 0, d, s.Coarse)
	s.heads.Pack(0, n, x.X, x.LD)
	for i := range s.rows.Len() {
		s.rows.Pack(i, keys.X, keys.LD)
		kern.MatMulPanels(dst[i*square*(n+1):], n, &s.rows, i, &s.heads, i*square, n, 0, d, false)
	}
	return dst
}

// turn puts n vectors of a head into s.turned.
func (s *Head) turn(x Rows, d, n int) {
	s.turned.Reset(d, n, s.Coarse)
	for i := range s.turned.Len() {
		s.turned.PackTransposed(i, x.X, x.LD, 0, n)
	}
}

// along sums s.turned with the weights p of every query: a result per query.
func (s *Head) along(dst Rows, p []float32, n int) {
	s.weigh.Reset(n, 0, n, s.Coarse)
	s.weigh.Pack(0, n, p, n)
	for t := 0; t < n; t += square {
		end := min(n, t+square)
		for i := range s.turned.Len() {
			kern.MatMulPanels(dst.X[t*dst.LD+i*kern.PanelRows:], dst.LD, &s.turned, i, &s.weigh, t, end, 0, end, false)
		}
	}
}

// down is along with a result per key, summed over the queries that see it, or added.
func (s *Head) down(dst Rows, p []float32, n int, add bool) {
	s.across.Reset(n, n, s.Coarse)
	for i := range s.across.Len() {
		s.across.PackTransposed(i, p, n, i*square, n)
	}
	v := s.across.Vectors()
	for u := 0; u < n; u += square {
		for i := range s.turned.Len() {
			kern.MatMulPanels(dst.X[u*dst.LD+i*kern.PanelRows:], dst.LD, &s.turned, i, &v, u, min(n, u+square), u, n, add)
		}
	}
}
