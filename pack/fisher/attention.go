package fisher

import "github.com/lamina-llm/lamina/internal/kern"

// headScratch is what one worker needs, for an attention head or a token.
type headScratch struct {
	p, dp           []float32    // weights of keys by queries, and their gradients: window x window
	rows            kern.Panels  // keys, then values
	turned          kern.Panels  // values, keys, queries or gradients of outputs, a row per element of a head
	across          kern.Panels  // weights or their gradients, a row per key
	queries, weight kern.Vectors // queries or gradients of outputs; weights or their gradients, a vector per query
	row             []float32    // of Hidden or Intermediate
}

// square is how many queries, and keys, are looked at together: what lies behind
// the last query of a block is left out.
const square = kern.PanelRows

// weigh fills s.p with the attention weights of a head (n x n), as far as squares
// go that a query sees anything of.
func (m *Model) weigh(s *headScratch, head, n int) {
	c := &m.config
	d, ld := c.HeadDim, c.QKV()
	key := c.Heads + head/(c.Heads/c.KVHeads)
	s.queries.Reset(n, d, m.Coarse)
	s.queries.Pack(0, n, m.qkv[head*d:], ld)
	m.scores(s, s.p, m.qkv[key*d:], n)
	for t := range n {
		kern.Softmax(s.p[t*n : t*n+t+1])
		clear(s.p[t*n+t+1 : t*n+min(n, (t/square+1)*square)])
	}
}

// scores multiplies s.queries with rows of a head, QKV() apart: dst is n x n.
func (m *Model) scores(s *headScratch, dst, rows []float32, n int) {
	d := m.config.HeadDim
	s.rows.Reset(n, d, m.Coarse)
	for i := range s.rows.Len() {
		s.rows.Pack(i, rows, m.config.QKV())
		kern.MatMulPanels(dst[i*square*(n+1):], n, &s.rows, i, &s.queries, i*square, n, 0, d, false)
	}
}

// turn puts n vectors of a head, ld apart, into s.turned.
func (m *Model) turnHead(s *headScratch, x []float32, ld, n int) {
	s.turned.Reset(m.config.HeadDim, n, m.Coarse)
	for i := range s.turned.Len() {
		s.turned.PackTransposed(i, x, ld, 0, n)
	}
}

// along sums s.turned with the weights p (n x n) of every query: a result per
// query, ld apart.
func (m *Model) along(s *headScratch, dst []float32, ld int, p []float32, n int) {
	s.weight.Reset(n, n, m.Coarse)
	s.weight.Pack(0, n, p, n)
	for t := 0; t < n; t += square {
		end := min(n, t+square)
		for i := range s.turned.Len() {
			kern.MatMulPanels(dst[t*ld+i*kern.PanelRows:], ld, &s.turned, i, &s.weight, t, end, 0, end, false)
		}
	}
}

// down is along with a result per key, summed over the queries that see it.
func (m *Model) down(s *headScratch, dst []float32, p []float32, n int) {
	d := m.config.HeadDim
	s.across.Reset(n, n, m.Coarse)
	for i := range s.across.Len() {
		s.across.PackTransposed(i, p, n, i*square, n)
	}
	weights := s.across.Vectors()
	for u := 0; u < n; u += square {
		for i := range s.turned.Len() {
			kern.MatMulPanels(dst[u*d+i*kern.PanelRows:], d, &s.turned, i, &weights, u, min(n, u+square), u, n, false)
		}
	}
}

func (m *Model) attend(s *headScratch, head, n int) {
	c := &m.config
	d := c.HeadDim
	value := c.Heads + c.KVHeads + head/(c.Heads/c.KVHeads)
	m.weigh(s, head, n)
	m.turnHead(s, m.qkv[value*d:], c.QKV(), n)
	m.along(s, m.att[head*d:], c.Heads*d, s.p, n)
}

// attendBack fills the gradients of a head's queries, in m.dqkv, and what it adds
// to those of its keys and values, in m.dk and m.dv, from m.datt.
func (m *Model) attendBack(s *headScratch, head, n int) {
	c := &m.config
	d, ld := c.HeadDim, c.QKV()
	key := c.Heads + head/(c.Heads/c.KVHeads)
	m.weigh(s, head, n)
	m.turnHead(s, m.datt[head*d:], c.Heads*d, n)
	m.down(s, m.dv[head], s.p, n)

	s.queries.Pack(0, n, m.datt[head*d:], c.Heads*d)
	m.scores(s, s.dp, m.qkv[(key+c.KVHeads)*d:], n)
	for t := range n {
		p, dp := s.p[t*n:t*n+t+1], s.dp[t*n:t*n+t+1]
		sum := kern.Dot(p, dp)
		for u := range p {
			dp[u] = p[u] * (dp[u] - sum)
		}
		clear(s.dp[t*n+t+1 : t*n+min(n, (t/square+1)*square)])
	}
	m.turnHead(s, m.qkv[key*d:], ld, n)
	m.along(s, m.dqkv[head*d:], ld, s.dp, n)
	m.turnHead(s, m.qkv[head*d:], ld, n)
	m.down(s, m.dk[head], s.dp, n)
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
