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
// The keys of a row are cut into parts of partTokens. Every part is summed on
// its own, and the sums are merged in ascending order. That is what lets several
// workers share the keys of a single token (flash decoding); it is done likewise
// when one worker visits all parts, as in prompts. Parts and the blocks in
// them begin at fixed positions, and a row ends with its own position. So the
// position alone decides the order of every sum, and the rows that share a task,
// the pages, the chunks of a prompt and the number of workers do not matter.

const (
	// blockTokens is how many keys a step of the softmax takes: its cost per
	// row is spread over them, and 128 keys and values of 64 to 128 elements
	// take 32 to 64 KiB, which stay in the second-level cache.
	blockTokens = 128
	// partTokens is how many keys are summed before a merge: some microseconds
	// of work per head, which is what a task is worth. A multiple of blockTokens.
	partTokens = 256
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
	// part is the only part of the keys that the task visits, and slot the row of
	// Model.parts where the sums of its first query head go; -1 is all of them.
	part, slot int
}

// work is the number of keys that the last token of a span visits.
func (s *span) work() int {
	if s.part < 0 {
		return s.keys
	}
	return min(partTokens, s.keys-s.part*partTokens)
}

// longer orders spans by falling work, so that the pool's tails are short.
func longer(a, b span) int { return cmp.Compare(b.tokens*b.work(), a.tokens*a.work()) }

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

// maxParts returns how many parts the keys of one sequence have at most.
func maxParts(context int) int { return (context-1)/partTokens + 1 }

// partWidth is the length of a row of Model.parts: a sum, its largest score and
// the sum of its weights.
func (c *Config) partWidth() int { return c.HeadDim + 2 }

// joint is one token and key-value head whose parts are tasks of their own.
type joint struct{ token, head, slot, parts int }

// plan adds the attention tasks of one sequence: n tokens, the first of which
// is token first of the batch and stands at position pos. With split the keys
// of a single token are shared out too, as long as there is room for their sums.
func (m *Model) plan(first, n, pos, perSpan int, split bool) {
	c := &m.config
	group := c.Heads / c.KVHeads
	for from := 0; from < n; from += perSpan {
		tokens := min(perSpan, n-from)
		keys := pos + from + tokens
		parts := maxParts(keys)
		for head := range c.KVHeads {
			s := span{token: first + from, tokens: tokens, head: head, keys: keys, part: -1}
			if !split || n > 1 || parts < 2 || (m.slots+parts*group)*c.partWidth() > len(m.parts) {
				m.spans = append(m.spans, s)
				continue
			}
			m.joints = append(m.joints, joint{token: s.token, head: head, slot: m.slots, parts: parts})
			for s.part = range parts {
				s.slot = m.slots
				m.slots += group
				m.spans = append(m.spans, s)
			}
		}
		m.attention += tokens * keys * c.Heads * c.HeadDim / macsPerElement
	}
}

// block is a run of keys and values of one layer and head: F16, or Q8 where
// there are scales.
type block struct {
	keys, values           []uint16
	keys8, values8         []int8
	keyScales, valueScales []float32
}

// newBlock returns room for blockTokens keys and values.
func newBlock(f kv.Format, d int) block {
	if f == kv.Q8 {
		return block{
			keys8: make([]int8, blockTokens*d), values8: make([]int8, blockTokens*d),
			keyScales: make([]float32, blockTokens), valueScales: make([]float32, blockTokens),
		}
	}
	return block{keys: make([]uint16, blockTokens*d), values: make([]uint16, blockTokens*d)}
}

// inPage returns the block of n tokens that begins at token at of a page.
func inPage(cache *kv.Seq, page, layer, head, at, n, d int) (b block) {
	if cache.Geometry().Format == kv.Q8 {
		b.keys8, b.keyScales = cache.KeysQ8(page, layer, head)
		b.values8, b.valueScales = cache.ValuesQ8(page, layer, head)
		b.keys8, b.values8 = b.keys8[at*d:(at+n)*d], b.values8[at*d:(at+n)*d]
		b.keyScales, b.valueScales = b.keyScales[at:at+n], b.valueScales[at:at+n]
		return b
	}
	b.keys = cache.Keys(page, layer, head)[at*d : (at+n)*d]
	b.values = cache.Values(page, layer, head)[at*d : (at+n)*d]
	return b
}

// put copies o to position at of b.
func (b *block) put(at int, o *block, d int) {
	if b.keyScales == nil {
		copy(b.keys[at*d:], o.keys)
		copy(b.values[at*d:], o.values)
		return
	}
	copy(b.keys8[at*d:], o.keys8)
	copy(b.values8[at*d:], o.values8)
	copy(b.keyScales[at:], o.keyScales)
	copy(b.valueScales[at:], o.valueScales)
}

// score computes dst = q K for rows query rows and the first n keys.
func (b *block) score(dst, q []float32, rows, n, d int) {
	if b.keyScales == nil {
		kern.ScoresF16x(dst, q, b.keys, rows, n, d)
		return
	}
	kern.ScoresI8x(dst, q, b.keys8, rows, n, d)
	for r := range rows {
		kern.MulInto(dst[r*n:(r+1)*n], dst[r*n:(r+1)*n], b.keyScales)
	}
}

// add computes y += p V for rows query rows and the first n values. It may
// overwrite p.
func (b *block) add(y, p []float32, rows, n, d int) {
	if b.valueScales == nil {
		kern.WeightedSumF16x(y, p, b.values, rows, n, d)
		return
	}
	for r := range rows {
		kern.MulInto(p[r*n:(r+1)*n], p[r*n:(r+1)*n], b.valueScales)
	}
	kern.WeightedSumI8x(y, p, b.values8, rows, n, d)
}

// sums is the state of the softmax of some rows.
type sums struct {
	y        []float32 // (rows, HeadDim) sums of weighted values
	max, sum []float32 // (rows) largest score and sum of exp(score - max) so far
}

func newSums(rows, d int) sums {
	return sums{y: make([]float32, rows*d), max: make([]float32, rows), sum: make([]float32, rows)}
}

// reset empties the first rows rows.
func (s *sums) reset(rows, d int) {
	for r := range rows {
		s.max[r], s.sum[r] = float32(math.Inf(-1)), 0
	}
	clear(s.y[:rows*d])
}

// merge adds what a later part of the keys gave for row r: y, max and sum. It
// overwrites y.
func (s *sums) merge(r int, y []float32, hi, sum float32) {
	if sum == 0 {
		return // the row sees nothing of that part
	}
	d := len(y)
	top := max(s.max[r], hi)
	own, other := shrink(s.max[r], top), shrink(hi, top)
	kern.Scale(s.y[r*d:(r+1)*d], own)
	kern.Scale(y, other)
	kern.Add(s.y[r*d:(r+1)*d], y)
	s.sum[r] = s.sum[r]*own + sum*other
	s.max[r] = top
}

// shrink returns exp(from - to) for from <= to.
func shrink(from, to float32) float32 {
	if from == to {
		return 1
	}
	return float32(math.Exp(float64(from - to)))
}

// attender is one worker's part of the work memory.
type attender struct {
	q      []float32 // (rows, HeadDim) queries
	scores []float32 // (rows, blockTokens)
	piece  []float32 // (rows of a token, blockTokens) scores of a page
	sums             // of the part at hand
	total  sums      // of the parts before
	blocks [2]block  // gathered out of the pages, by format; made when first needed
	block  *block    // the one at hand
}

// attenders returns the state of each worker of the pool.
func attenders(c Config, pool model.Pool) []attender {
	rows := max(spanRows, c.Heads/c.KVHeads)
	workers := make([]attender, pool.Workers())
	for i := range workers {
		workers[i] = attender{
			q: make([]float32, rows*c.HeadDim), scores: make([]float32, rows*blockTokens),
			piece: make([]float32, c.Heads/c.KVHeads*blockTokens),
			sums:  newSums(rows, c.HeadDim), total: newSums(rows, c.HeadDim),
		}
	}
	return workers
}

// attendSpan does span i.
func (m *Model) attendSpan(worker, i int) {
	s, w, c, d := &m.spans[i], &m.workers[worker], &m.config, m.config.HeadDim
	group := c.Heads / c.KVHeads
	rows := s.tokens * group
	for t := range s.tokens {
		copy(w.q[t*group*d:(t+1)*group*d], m.qkv[(s.token+t)*c.QKV()+s.head*group*d:])
	}
	if s.part >= 0 {
		m.attendPart(w, s, s.part)
		width := c.partWidth()
		for g := range group {
			row := m.parts[(s.slot+g)*width:][:width]
			copy(row, w.y[g*d:(g+1)*d])
			row[d], row[d+1] = w.max[g], w.sum[g]
		}
		return
	}
	for part := range maxParts(s.keys) {
		m.attendPart(w, s, part)
		if part == 0 {
			w.sums, w.total = w.total, w.sums
			continue
		}
		for r := range rows {
			w.total.merge(r, w.y[r*d:(r+1)*d], w.max[r], w.sum[r])
		}
	}
	for t := range s.tokens {
		m.attend(s.token+t, s.head, &w.total, t*group)
	}
}

// attendPart sums one part of the keys of a span.
func (m *Model) attendPart(w *attender, s *span, part int) {
	c, d := &m.config, m.config.HeadDim
	group := c.Heads / c.KVHeads
	w.reset(s.tokens*group, d)
	first := s.keys - s.tokens // position of the first token
	last := min((part+1)*partTokens, s.keys)
	for from := part * partTokens; from < last; from += blockTokens {
		n := min(last-from, blockTokens)
		if s.tokens == 1 {
			w.visit(m.cache[s.token], m.layer, s.head, from, n, group, d)
			continue
		}
		w.gather(m.cache[s.token], m.layer, s.head, from, n, d)
		w.absorb(max(from-first, 0)*group, s.tokens*group, group, n, first+1-from, d)
	}
}

// joinParts merges the parts of a token and head that were tasks of their own.
func (m *Model) joinParts(worker, i int) {
	j, c, d, t := &m.joints[i], &m.config, m.config.HeadDim, &m.workers[worker].total
	group, width := c.Heads/c.KVHeads, c.partWidth()
	for g := range group {
		for part := range j.parts {
			row := m.parts[(j.slot+part*group+g)*width:][:width]
			if part == 0 {
				copy(t.y[g*d:], row[:d])
				t.max[g], t.sum[g] = row[d], row[d+1]
				continue
			}
			t.merge(g, row[:d], row[d], row[d+1])
		}
	}
	m.attend(j.token, j.head, t, 0)
}

// attend puts the rows of s from row first on, those of one token and key-value
// head, into the output of attention.
func (m *Model) attend(token, head int, s *sums, first int) {
	c, d := &m.config, m.config.HeadDim
	group := c.Heads / c.KVHeads
	out := m.attended[token*c.Heads*d+head*group*d:][:group*d]
	copy(out, s.y[first*d:])
	for g := range group {
		kern.Scale(out[g*d:(g+1)*d], 1/s.sum[first+g])
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
	per, format := cache.PageTokens(), cache.Geometry().Format
	to := &w.blocks[format]
	if to.keys == nil && to.keys8 == nil {
		*to = newBlock(format, d)
	}
	w.block = to
	for i := 0; i < n; {
		page, at, k := locate(from+i, n-i, per)
		b := inPage(cache, page, layer, head, at, k, d)
		to.put(i, &b, d)
		i += k
	}
}

// visit adds a block of n keys to the rows of one token. They are too few to
// be worth gathering it: their scores are gathered from page to page instead.
func (w *attender) visit(cache *kv.Seq, layer, head, from, n, rows, d int) {
	per := cache.PageTokens()
	for i := 0; i < n; {
		page, at, k := locate(from+i, n-i, per)
		b, piece := inPage(cache, page, layer, head, at, k, d), w.piece[:rows*k]
		b.score(piece, w.q[:rows*d], rows, k, d)
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
		b, piece := inPage(cache, page, layer, head, at, k, d), w.piece[:rows*k]
		for r := range rows {
			copy(piece[r*k:(r+1)*k], w.scores[r*n+i:])
		}
		b.add(w.y[:rows*d], piece, rows, k, d)
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
	w.block.score(scores, w.q[low*d:high*d], rows, n, d)
	for r := low; r < high; r++ {
		w.soften(r, scores[(r-low)*n:][:min(seen+r/group, n)], d)
	}
	if seen+low/group >= n {
		w.block.add(w.y[low*d:high*d], scores, rows, n, d)
		return
	}
	for r := low; r < high; r += group {
		visible, p := min(seen+r/group, n), scores[(r-low)*n:]
		for g := 1; g < group; g++ {
			copy(p[g*visible:(g+1)*visible], p[g*n:])
		}
		w.block.add(w.y[r*d:(r+group)*d], p[:group*visible], group, visible, d)
	}
}

// soften turns the scores of row r into weights and updates its softmax.
func (w *attender) soften(r int, scores []float32, d int) {
	if hi := kern.Max(scores); hi > w.max[r] {
		if w.sum[r] != 0 {
			less := shrink(w.max[r], hi)
			kern.Scale(w.y[r*d:(r+1)*d], less)
			w.sum[r] *= less
		}
		w.max[r] = hi
	}
	w.sum[r] += kern.ExpInto(scores, scores, w.max[r])
}
