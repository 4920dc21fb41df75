package llama

import (
	"cmp"
	"math"

	"github.com/lamina-llm/lamina/internal/kern"
	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/kv"
)

// Attention computes softmax(q K) V in blocks of query rows (one token, one
// head) by blocks of keys, in one pass over the keys, after FlashAttention
// (Dao et al., 2022). The softmax is the online one of Milakov and Gimelshein
// (2018): when a block raises a row's maximum, what was summed so far is
// scaled down.
//
// Blocks of keys begin at multiples of blockTokens, and a row ends with its own
// position. So the position alone decides the order of every sum, and the
// rows that share a task, the pages and the chunks of a prompt do not matter.

const (
	// blockTokens is how many keys a step of the softmax takes: its cost per
	// row is spread over them, and 128 keys and values of 64 to 128 elements
	// take 32 to 64 KiB, which stay in the second-level cache.
	blockTokens = 128
	// spanRows is how many query rows share a block, so that copying it out of
	// the pages costs next to nothing.
	spanRows = 64
)

// span is one task of attention: some successive tokens of one sequence, one
// key-value head and all query heads of its group.
type span struct {
	token  int // index in the batch of the first token
	tokens int
	head   int // key-value head
	keys   int // that the last token sees
}

// longer orders spans by falling work, so that the pool's tails are short.
func longer(a, b span) int { return cmp.Compare(b.tokens*b.keys, a.tokens*a.keys) }

// spanTokens returns how many tokens share a task in a batch of total tokens:
// as many as fill a block's rows, unless workers would run out of tasks. The
// kernels like rows in fours.
func (c *Config) spanTokens(total, workers int) int {
	n := max(min(spanRows/(c.Heads/c.KVHeads), total*c.KVHeads/(4*workers)), 1)
	if n > 4 {
		n &^= 3
	}
	return n
}

// plan adds the attention tasks of one sequence: n tokens, the first of which
// is token first of the batch and stands at position pos.
func (m *Model) plan(first, n, pos, perSpan int) {
	c := &m.config
	for from := 0; from < n; from += perSpan {
		tokens := min(perSpan, n-from)
		keys := pos + from + tokens
		for head := range c.KVHeads {
			m.spans = append(m.spans, span{token: first + from, tokens: tokens, head: head, keys: keys})
		}
		m.attention += tokens * keys * c.Heads * c.HeadDim / macsPerElement
	}
}

// attender is one worker's part of the work memory.
type attender struct {
	q, y         []float32 // (rows, HeadDim) queries and sums
	scores       []float32 // (rows, blockTokens)
	piece        []float32 // (rows of a token, blockTokens) scores of a page
	max, sum     []float32 // (rows) largest score and sum of exp(score - max) so far
	keys, values []uint16  // (blockTokens, HeadDim)
}

// attenders returns the state of each worker of the pool.
func attenders(c Config, pool model.Pool) []attender {
	rows := max(spanRows, c.Heads/c.KVHeads)
	workers := make([]attender, pool.Workers())
	for i := range workers {
		workers[i] = attender{
			q: make([]float32, rows*c.HeadDim), y: make([]float32, rows*c.HeadDim), scores: make([]float32, rows*blockTokens),
			piece: make([]float32, c.Heads/c.KVHeads*blockTokens),
			max:   make([]float32, rows), sum: make([]float32, rows),
			keys: make([]uint16, blockTokens*c.HeadDim), values: make([]uint16, blockTokens*c.HeadDim),
		}
	}
	return workers
}

// attendSpan does span i.
func (m *Model) attendSpan(worker, i int) {
	s, w, c, d := m.spans[i], &m.workers[worker], &m.config, m.config.HeadDim
	group := c.Heads / c.KVHeads
	for t := range s.tokens {
		copy(w.q[t*group*d:(t+1)*group*d], m.qkv[(s.token+t)*c.QKV()+s.head*group*d:])
	}
	for r := range s.tokens * group {
		w.max[r], w.sum[r] = float32(math.Inf(-1)), 0
	}
	clear(w.y[:s.tokens*group*d])
	first := s.keys - s.tokens // position of the first token
	for from := 0; from < s.keys; from += blockTokens {
		n := min(s.keys-from, blockTokens)
		if s.tokens == 1 {
			w.visit(m.cache[s.token], m.layer, s.head, from, n, group, d)
			continue
		}
		w.gather(m.cache[s.token], m.layer, s.head, from, n, d)
		w.absorb(max(from-first, 0)*group, s.tokens*group, group, n, first+1-from, d)
	}
	for t := range s.tokens {
		out := m.attended[(s.token+t)*c.Heads*d+s.head*group*d:][:group*d]
		copy(out, w.y[t*group*d:])
		for g := range group {
			kern.Scale(out[g*d:(g+1)*d], 1/w.sum[t*group+g])
		}
	}
}

// locate returns the page of position pos, its place there, and how many of
// the n positions from there on the page holds.
func locate(pos, n, per int) (page, at, here int) {
	page, at = pos/per, pos%per
	return page, at, min(per-at, n)
}

// gather copies keys and values of n positions out of the pages.
func (w *attender) gather(cache *kv.Seq, layer, head, from, n, d int) {
	per := cache.PageTokens()
	for i := 0; i < n; {
		page, at, k := locate(from+i, n-i, per)
		copy(w.keys[i*d:(i+k)*d], cache.Keys(page, layer, head)[at*d:])
		copy(w.values[i*d:(i+k)*d], cache.Values(page, layer, head)[at*d:])
		i += k
	}
}

// visit adds a block of n keys to the rows of one token. They are too few to
// be worth gathering it: their scores are gathered from page to page instead.
func (w *attender) visit(cache *kv.Seq, layer, head, from, n, rows, d int) {
	per := cache.PageTokens()
	for i := 0; i < n; {
		page, at, k := locate(from+i, n-i, per)
		piece := w.piece[:rows*k]
		kern.ScoresF16x(piece, w.q[:rows*d], cache.Keys(page, layer, head)[at*d:], rows, k, d)
		for r := range rows {
			copy(w.scores[r*n+i:r*n+i+k], piece[r*k:])
		}
		i += k
	}
	for r := range rows {
		w.soften(r, w.scores[r*n:(r+1)*n], d)
	}
	for i := 0; i < n; {
		page, at, k := locate(from+i, n-i, per)
		piece := w.piece[:rows*k]
		for r := range rows {
			copy(piece[r*k:(r+1)*k], w.scores[r*n+i:])
		}
		kern.WeightedSumF16x(w.y[:rows*d], piece, cache.Values(page, layer, head)[at*d:], rows, k, d)
		i += k
	}
}

// absorb adds a block of n keys to rows [low, high). Token t, rows t*group and
// following, sees the first seen+t keys of it, at least one.
func (w *attender) absorb(low, high, group, n, seen, d int) {
	rows := high - low
	scores := w.scores[:rows*n]
	// Beyond what a row sees there are keys of later tokens, at most as many as
	// the span has tokens: cheaper to compute than to leave out.
	kern.ScoresF16x(scores, w.q[low*d:high*d], w.keys, rows, n, d)
	for r := low; r < high; r++ {
		w.soften(r, scores[(r-low)*n:][:min(seen+r/group, n)], d)
	}
	if seen+low/group >= n {
		kern.WeightedSumF16x(w.y[low*d:high*d], scores, w.values, rows, n, d)
		return
	}
	for r := low; r < high; r += group {
		visible, p := min(seen+r/group, n), scores[(r-low)*n:]
		for g := 1; g < group; g++ {
			copy(p[g*visible:(g+1)*visible], p[g*n:])
		}
		kern.WeightedSumF16x(w.y[r*d:(r+group)*d], p[:group*visible], w.values, group, visible, d)
	}
}

// soften turns the scores of row r into weights and updates its softmax.
func (w *attender) soften(r int, scores []float32, d int) {
	if hi := kern.Max(scores); hi > w.max[r] {
		if w.sum[r] != 0 {
			shrink := float32(math.Exp(float64(w.max[r] - hi)))
			kern.Scale(w.y[r*d:(r+1)*d], shrink)
			w.sum[r] *= shrink
		}
		w.max[r] = hi
	}
	w.sum[r] += kern.ExpInto(scores, scores, w.max[r])
}
