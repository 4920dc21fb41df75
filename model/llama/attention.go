package llama

import (
	"cmp"
	"math"

	"github.com/lamina-llm/lamina/internal/kern"
	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/kv"
)

// Attention computes softmax(q K) V in tiles of query rows (one token, one head) by
// parts of partTokens keys, in one pass over the keys, after FlashAttention (Dao et
// al., 2022). Every part is summed on its own, and the sums are merged in ascending
// order by the online softmax of Milakov and Gimelshein (2018): what was summed with
// a smaller maximum is scaled down. That lets several workers share the keys of a
// single token (flash decoding); it is done likewise when one worker visits all
// parts, as in prompts.
//
// Queries and the weights of a part are rounded to 16 bits, as keys and values are
// in the cache, each row with a scale. So the products are sums of integers, which
// no order of additions changes. Parts begin at fixed positions, and a row ends with
// its own position, which thus decides every number that a row meets and the order of
// the few float32 sums. The rows that share a task, the pages, the chunks of a
// prompt and the number of workers do not matter.
//
// What rounding to 16 bits costs is about what F16 would: the numbers of a vector err
// by up to 2^-16 of the largest, or 2^-16.5 of its norm if that is more
// (kern.QuantizeDotI16), weights by 2^-16 of the sum of their part.

const (
	// partTokens is how many keys are summed before a merge: some microseconds
	// of work per head, which is what a task is worth, and the cost of the softmax
	// and the merge per row is spread over them. Panels of 256 keys and values of 64
	// to 128 elements take 64 to 128 KiB, which stay in the second-level cache.
	// A multiple of kern.StripLanes.
	partTokens = 256
	// spanRows is how many query rows share a copy of the panels of a part, so that
	// it costs little beside the products.
	spanRows = 128
	// tileQueries is how many rows have their scores at a time: 32 KiB of them. A
	// multiple of 4, as the kernels like rows.
	tileQueries = 32
	// valueStrip is the distance of the strips of a values panel. It exceeds their
	// length by a vector, lest the strips meet in a set of the first-level cache.
	valueStrip = partTokens*kern.StripLanes + 32
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
// as many as fill a span's rows, unless workers would run out of tasks. The
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

// meet takes maxima and sums of rows from low on, as many as top has, together with
// those of a further part, top and sum. It leaves in own and top the factors of what
// was summed so far and of that part.
func (s *sums) meet(low int, own, top, sum []float32) {
	largest, total := s.max[low:][:len(top)], s.sum[low:][:len(top)]
	for r, t := range top {
		both := max(largest[r], t)
		own[r], top[r] = largest[r]-both, t-both
		largest[r] = both
	}
	kern.ExpInto(own[:len(top)], own, 0)
	kern.ExpInto(top, top, 0)
	for r, t := range top {
		total[r] = total[r]*own[r] + sum[r]*t
	}
}

// attender is one worker's part of the work memory.
type attender struct {
	row16 []int16 // (HeadDim) a key or value on its way to the cache
	row8  []int8

	q      []int16   // (rows, HeadDim) queries
	qScale []float32 // (rows)

	// The part at hand.
	keys, values         []int16   // panels, where they are not those of the pages
	pieces               []piece   // one, of these, or one per page
	keyScale, valueScale []float32 // (partTokens)

	// The tile at hand.
	scores  []int32   // (tileQueries, partTokens)
	weights []int16   // (tileQueries, partTokens)
	added   []int32   // (tileQueries, dims()) weighted sums of the part
	x       []float32 // (partTokens)
	// (tileQueries) what 1 in added means; largest scores and sums of weights of the
	// part, then the factors of its merge, see meet.
	unit, top, sum, own [tileQueries]float32

	total sums // of the parts so far
}

// dims returns how many lanes a values panel has: HeadDim, in whole strips.
func dims(d int) int { return (d + kern.StripLanes - 1) / kern.StripLanes * kern.StripLanes }

// attenders returns the state of each worker of the pool.
func attenders(c Config, pool model.Pool) []attender {
	rows, d := max(spanRows, c.Heads/c.KVHeads), c.HeadDim
	workers := make([]attender, pool.Workers())
	for i := range workers {
		workers[i] = attender{
			q: make([]int16, rows*d), qScale: make([]float32, rows),
			keys: make([]int16, partTokens*d), values: make([]int16, dims(d)/kern.StripLanes*valueStrip),
			keyScale: make([]float32, partTokens), valueScale: make([]float32, partTokens),
			pieces: make([]piece, 0, partTokens/kern.StripLanes), row16: make([]int16, d), row8: make([]int8, d),
			scores: make([]int32, tileQueries*partTokens), weights: make([]int16, tileQueries*partTokens),
			added: make([]int32, tileQueries*dims(d)), x: make([]float32, partTokens), total: newSums(rows, d),
		}
	}
	return workers
}

// attendSpan does span i.
func (m *Model) attendSpan(worker, i int) {
	s, w, c, d := &m.spans[i], &m.workers[worker], &m.config, m.config.HeadDim
	group := c.Heads / c.KVHeads
	rows := s.tokens * group
	for r := range rows {
		q := m.qkv[(s.token+r/group)*c.QKV()+(s.head*group+r%group)*d:][:d]
		w.qScale[r] = kern.QuantizeDotI16(w.q[r*d:(r+1)*d], q)
	}
	w.total.reset(rows, d)
	if s.part >= 0 {
		m.attendPart(w, s, s.part)
		width := c.partWidth()
		for g := range group {
			row := m.parts[(s.slot+g)*width:][:width]
			copy(row, w.total.y[g*d:(g+1)*d])
			row[d], row[d+1] = w.total.max[g], w.total.sum[g]
		}
		return
	}
	for part := range maxParts(s.keys) {
		m.attendPart(w, s, part)
	}
	for t := range s.tokens {
		m.attend(s.token+t, s.head, &w.total, t*group)
	}
}

// attendPart adds one part of the keys of a span.
func (m *Model) attendPart(w *attender, s *span, part int) {
	c, d, cache := &m.config, m.config.HeadDim, m.cache[s.token]
	group, from := c.Heads/c.KVHeads, part*partTokens
	n := min(s.keys-from, partTokens)
	switch {
	case cache.Geometry().Format == kv.Q8:
		load[int8](w, cache, m.layer, s.head, from, n, d)
	case s.tokens > 1:
		load[int16](w, cache, m.layer, s.head, from, n, d)
	default:
		w.refer(cache, m.layer, s.head, from, n, d)
	}
	before := s.keys - s.tokens - from // keys of the part before the first token
	for low := max(-before, 0) * group; low < s.tokens*group; low += tileQueries {
		w.tile(low, min(low+tileQueries, s.tokens*group), group, before+1, n, d)
	}
}

// tile adds a part of n keys to rows [low, high). Token t, rows t*group and
// following, sees the first seen+t keys of it, at least one.
func (w *attender) tile(low, high, group, seen, n, d int) {
	rows, lanes := high-low, dims(d)
	keys := (min(seen+(high-1)/group, n) + kern.StripLanes - 1) / kern.StripLanes * kern.StripLanes // what the last row sees
	for _, p := range w.pieces {
		if n := min(p.n, keys-p.at); n > 0 {
			kern.MatMulI16(w.scores[p.at:], partTokens, w.q[low*d:high*d], d, p.keys, kern.StripLanes*d, rows, n/kern.StripLanes, d, false)
		}
	}
	for r := range rows {
		visible := min(seen+(low+r)/group, n)
		w.top[r], w.sum[r], w.unit[r] = kern.SoftenI16(w.weights[r*partTokens:][:keys], w.x, w.scores[r*partTokens:(r+1)*partTokens],
			w.keyScale, w.valueScale, visible, w.qScale[low+r])
	}
	w.total.meet(low, w.own[:], w.top[:rows], w.sum[:])
	for _, p := range w.pieces {
		if n := min(p.n, keys-p.at); n > 0 {
			kern.MatMulI16(w.added, lanes, w.weights[p.at:], partTokens, p.values, p.strip, rows, lanes/kern.StripLanes, n, p.at > 0)
		}
	}
	for r := range rows {
		kern.MergeI32(w.total.y[(low+r)*d:(low+r+1)*d], w.added[r*lanes:], w.own[r], w.unit[r], w.top[r])
	}
}

// joinParts merges the parts of a token and head that were tasks of their own.
func (m *Model) joinParts(worker, i int) {
	j, c, d, s := &m.joints[i], &m.config, m.config.HeadDim, &m.workers[worker].total
	group, width := c.Heads/c.KVHeads, c.partWidth()
	s.reset(group, d)
	for g := range group {
		y := s.y[g*d : (g+1)*d]
		for part := range j.parts {
			row := m.parts[(j.slot+part*group+g)*width:][:width]
			var own [1]float32
			s.meet(g, own[:], row[d:d+1], row[d+1:])
			kern.Scale(y, own[0]) // as kern.MergeI32 does it
			kern.Axpy(y, row[d], row[:d])
		}
	}
	m.attend(j.token, j.head, s, 0)
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

// block is what one page holds of a layer and head: panels as the kernels read them,
// each strip of the values as long as the page.
type block[E int8 | int16] struct {
	keys, values         []E
	keyScale, valueScale []float32
}

func (b *block[E]) read(cache *kv.Seq, page, layer, head int) {
	switch b := any(b).(type) {
	case *block[int8]:
		b.keys, b.keyScale = cache.KeysQ8(page, layer, head)
		b.values, b.valueScale = cache.ValuesQ8(page, layer, head)
	case *block[int16]:
		b.keys, b.keyScale = cache.Keys(page, layer, head)
		b.values, b.valueScale = cache.Values(page, layer, head)
	}
}

// put stores key and value of token at of the page, by way of row.
func (b *block[E]) put(at, per int, row []E, key, value []float32, quantizeKey, quantizeValue func([]E, []float32) float32) {
	b.keyScale[at] = quantizeKey(row, key)
	kern.PutKey(b.keys, at, row)
	b.valueScale[at] = quantizeValue(row, value)
	kern.PutValue(b.values, per*kern.StripLanes, at, row)
}

// piece is the panels of some successive keys and values of a part, a multiple of
// kern.StripLanes of which the last may be no tokens yet: any integers.
type piece struct {
	keys, values []int16
	strip        int // distance of the strips of values
	at, n        int // first, and how many
}

// load makes panels of the n keys and values from position from on. Parts begin and
// pages end at multiples of kern.StripLanes.
func load[E int8 | int16](w *attender, cache *kv.Seq, layer, head, from, n, d int) {
	const lanes = kern.StripLanes
	per := cache.PageTokens()
	var b block[E]
	for j := 0; j < n; {
		page, at := (from+j)/per, (from+j)%per
		b.read(cache, page, layer, head)
		here := min(per-at, n-j)
		copy(w.keyScale[j:j+here], b.keyScale[at:])
		copy(w.valueScale[j:j+here], b.valueScale[at:])
		whole := (here + lanes - 1) / lanes * lanes
		kern.Widen(w.keys[j*d:], b.keys[at*d:(at+whole)*d])
		for s := range dims(d) / lanes {
			kern.Widen(w.values[s*valueStrip+j*lanes:], b.values[(s*per+at)*lanes:][:whole*lanes])
		}
		j += here
	}
	w.pieces = append(w.pieces[:0], piece{w.keys, w.values, valueStrip, 0, (n + lanes - 1) / lanes * lanes})
}

// refer lets the pieces be the panels of the pages themselves: for few rows copying
// would cost more than the products.
func (w *attender) refer(cache *kv.Seq, layer, head, from, n, d int) {
	const lanes = kern.StripLanes
	per := cache.PageTokens()
	var b block[int16]
	w.pieces = w.pieces[:0]
	for j := 0; j < n; {
		page, at := (from+j)/per, (from+j)%per
		b.read(cache, page, layer, head)
		here := min(per-at, n-j)
		copy(w.keyScale[j:j+here], b.keyScale[at:])
		copy(w.valueScale[j:j+here], b.valueScale[at:])
		w.pieces = append(w.pieces, piece{b.keys[at*d:], b.values[at*lanes:], per * lanes, j, (here + lanes - 1) / lanes * lanes})
		j += here
	}
}
