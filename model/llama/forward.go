package llama

import (
	"context"
	"fmt"
	"math"

	"github.com/lamina-llm/lamina/internal/kern"
	"github.com/lamina-llm/lamina/model"
)

// Forward appends each sequence's tokens to its cache and gives the logits it
// wants to emit, sequence after sequence, token after token. emit may be nil
// if nothing is wanted. ctx is checked between layers.
//
// On any error every cache is as long as before. An error that wraps
// [model.ErrContextLength] or [model.ErrInvalid] is the caller's; others come
// from the weights, from ctx or from emit.
func (m *Model) Forward(ctx context.Context, batch []Seq, emit Emit) (err error) {
	m.start = m.start[:0]
	defer func() {
		if err == nil {
			return
		}
		for i := len(m.start) - 1; i >= 0; i-- { // backwards: a cache may occur twice
			_ = batch[i].KV.Truncate(m.start[i])
		}
	}()
	if err := m.enter(batch); err != nil || len(m.ids) == 0 {
		return err
	}
	if emit == nil && len(m.wanted) > 0 {
		return fmt.Errorf("llama: %w: logits are wanted but nothing takes them", model.ErrInvalid)
	}
	n := len(m.ids)
	if err := m.weights.Embed(ctx, m.x[:n*m.config.Hidden], m.ids); err != nil {
		return err
	}
	m.each(n, m.row.angles)
	for i := range m.config.Layers {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		layer, release, err := m.weights.Acquire(ctx, i)
		if err != nil {
			return err
		}
		err = m.block(i, layer, n)
		release()
		if err != nil {
			return fmt.Errorf("llama: layer %d: %w", i, err)
		}
	}
	return m.logits(ctx, emit)
}

// enter checks the batch, makes room in the caches and plans the attention.
func (m *Model) enter(batch []Seq) error {
	m.ids, m.at, m.cache = m.ids[:0], m.at[:0], m.cache[:0]
	m.wanted, m.spans = m.wanted[:0], m.spans[:0]
	c, total := &m.config, 0
	for i := range batch {
		total += len(batch[i].Tokens)
	}
	if total > m.options.MaxBatchTokens {
		return fmt.Errorf("llama: %w: batch of %d tokens, at most %d fit", model.ErrInvalid, total, m.options.MaxBatchTokens)
	}
	// Rows per task: as many as share a page well, but enough tasks for balance.
	rows := min(max(total*c.Heads/(4*m.pool.Workers()), 1), attentionRows)
	group := c.Heads / c.KVHeads
	for i, s := range batch {
		if err := m.check(s); err != nil {
			return fmt.Errorf("llama: sequence %d of the batch: %w", i, err)
		}
		pos, err := s.KV.Grow(len(s.Tokens))
		if err != nil {
			return fmt.Errorf("llama: sequence %d of the batch: %w", i, err)
		}
		m.start = append(m.start, pos)
		first := len(m.ids)
		for t, id := range s.Tokens {
			if s.Want == All || s.Want == Last && t == len(s.Tokens)-1 {
				m.wanted = append(m.wanted, wanted{seq: i, token: t, at: len(m.ids)})
			}
			m.ids, m.at, m.cache = append(m.ids, id), append(m.at, int32(pos+t)), append(m.cache, s.KV)
		}
		for to := len(s.Tokens) * group; to > 0; to -= rows { // late tokens see most: longest tasks first
			for head := range c.KVHeads {
				m.spans = append(m.spans, span{token: first, head: head, from: max(to-rows, 0), to: to})
			}
		}
	}
	return nil
}

// check reports what is wrong with one sequence.
func (m *Model) check(s Seq) error {
	if s.KV == nil || len(s.Tokens) == 0 {
		return fmt.Errorf("%w: no tokens or no cache", model.ErrInvalid)
	}
	c, g := &m.config, s.KV.Geometry()
	if g.Layers != c.Layers || g.KVHeads != c.KVHeads || g.HeadDim != c.HeadDim {
		return fmt.Errorf("%w: cache of %d layers, %d heads of %d does not fit the model", model.ErrInvalid, g.Layers, g.KVHeads, g.HeadDim)
	}
	if len(s.Tokens) > m.options.MaxContext-s.KV.Len() {
		return fmt.Errorf("%w: %d tokens after %d, at most %d", model.ErrContextLength, len(s.Tokens), s.KV.Len(), m.options.MaxContext)
	}
	for _, id := range s.Tokens {
		if id < 0 || int(id) >= c.Vocab {
			return fmt.Errorf("%w: token %d is outside the vocabulary of %d", model.ErrInvalid, id, c.Vocab)
		}
	}
	for w := range m.workers {
		if len(m.workers[w].scores) < g.PageTokens {
			m.workers[w].scores = make([]float32, g.PageTokens)
		}
	}
	return nil
}

// block runs one transformer block over the n tokens of the batch:
//
//	x += Out  attention(RoPE(QKV norm(x)))
//	x += Down SwiGLU(GateUp norm(x))
func (m *Model) block(i int, l *Layer, n int) error {
	c := &m.config
	if err := c.checkLayer(l); err != nil {
		return err
	}
	m.layer = i
	width, queries, inner := n*c.Hidden, n*c.Heads*c.HeadDim, n*c.Intermediate
	m.qkv, m.attended = m.work[:n*c.QKV()], m.work[n*c.QKV():n*c.QKV()+queries]
	m.gateUp, m.act = m.work[:2*inner], m.work[2*inner:3*inner]

	m.weight = l.AttnNorm
	m.each(n, m.row.norm)
	if err := l.QKV.Apply(m.qkv, m.y[:width], n); err != nil {
		return err
	}
	m.each(n, m.row.rotate)
	m.each(len(m.spans), m.row.attend)
	if err := l.Out.Apply(m.y[:width], m.attended, n); err != nil {
		return err
	}
	m.each(n, m.row.residual)

	m.weight = l.FFNNorm
	m.each(n, m.row.norm)
	if err := l.GateUp.Apply(m.gateUp, m.y[:width], n); err != nil {
		return err
	}
	m.each(n, m.row.swiglu)
	if err := l.Down.Apply(m.y[:width], m.act, n); err != nil {
		return err
	}
	m.each(n, m.row.residual)
	return nil
}

// each runs f for i in [0, n) on the pool; a single row stays on this goroutine.
func (m *Model) each(n int, f func(worker, i int)) {
	if n == 1 {
		f(0, 0)
		return
	}
	m.pool.For(n, f)
}

func (m *Model) anglesRow(_, t int) {
	half := len(m.frequencies)
	angles(m.cos[t*half:(t+1)*half], m.sin[t*half:(t+1)*half], m.frequencies, int(m.at[t]))
}

func (m *Model) normRow(_, t int) {
	h := m.config.Hidden
	kern.RMSNorm(m.y[t*h:(t+1)*h], m.x[t*h:(t+1)*h], m.weight, m.config.NormEps)
}

func (m *Model) residualRow(_, t int) {
	h := m.config.Hidden
	kern.Add(m.x[t*h:(t+1)*h], m.y[t*h:(t+1)*h])
}

func (m *Model) swigluRow(_, t int) {
	k := m.config.Intermediate
	gu := m.gateUp[t*2*k : (t+1)*2*k]
	kern.SwiGLU(m.act[t*k:(t+1)*k], gu[:k], gu[k:])
}

// rotateRow turns the queries and keys of one token by its position, scales
// the queries by 1/sqrt(HeadDim), and puts keys and values into the cache.
func (m *Model) rotateRow(_, t int) {
	c, d, half := &m.config, m.config.HeadDim, len(m.frequencies)
	cos, sin := m.cos[t*half:(t+1)*half], m.sin[t*half:(t+1)*half]
	row := m.qkv[t*c.QKV() : (t+1)*c.QKV()]
	queries, keys, values := row[:c.Heads*d], row[c.Heads*d:(c.Heads+c.KVHeads)*d], row[(c.Heads+c.KVHeads)*d:]
	for h := range c.Heads {
		kern.RoPE(queries[h*d:(h+1)*d], cos, sin)
	}
	scale := float32(1 / math.Sqrt(float64(d)))
	for i := range queries {
		queries[i] *= scale
	}
	for h := range c.KVHeads {
		kern.RoPE(keys[h*d:(h+1)*d], cos, sin)
		key, value := m.cache[t].At(int(m.at[t]), m.layer, h)
		kern.F32ToF16(key, keys[h*d:(h+1)*d])
		kern.F32ToF16(value, values[h*d:(h+1)*d])
	}
}

// attendSpan computes softmax(q K) V for the rows of one span in one pass over
// the pages. The softmax is the online one of Milakov and Gimelshein (2018):
// when a page raises a row's maximum, what was summed so far is scaled down.
// Page borders depend on positions alone, and so does every sum.
func (m *Model) attendSpan(worker, i int) {
	s, st, c, d := m.spans[i], &m.workers[worker], &m.config, m.config.HeadDim
	group, cache := c.Heads/c.KVHeads, m.cache[s.token]
	per := cache.PageTokens()
	for r := range s.to - s.from {
		st.max[r], st.sum[r] = float32(math.Inf(-1)), 0
		clear(m.output(s, s.from+r, group))
	}
	last := int(m.at[s.token+(s.to-1)/group])
	for page := range last/per + 1 {
		keys, values := cache.Keys(page, m.layer, s.head), cache.Values(page, m.layer, s.head)
		for r := range s.to - s.from {
			token, head := s.token+(s.from+r)/group, s.head*group+(s.from+r)%group
			visible := min(int(m.at[token])+1-page*per, per)
			if visible <= 0 {
				continue
			}
			q, out, scores := m.qkv[token*c.QKV()+head*d:][:d], m.output(s, s.from+r, group), st.scores[:visible]
			kern.ScoresF16(scores, q, keys, d)
			if _, hi := kern.MaxIndex(scores); hi > st.max[r] {
				shrink := float32(math.Exp(float64(st.max[r] - hi)))
				scale(out, shrink)
				st.sum[r] *= shrink
				st.max[r] = hi
			}
			st.sum[r] += kern.ExpInto(scores, scores, st.max[r])
			kern.WeightedSumF16(out, scores, values, d)
		}
	}
	for r := range s.to - s.from {
		scale(m.output(s, s.from+r, group), 1/st.sum[r])
	}
}

// output returns where row r of a span puts its HeadDim results.
func (m *Model) output(s span, r, group int) []float32 {
	c := &m.config
	at := (s.token+r/group)*c.Heads + s.head*group + r%group
	return m.attended[at*c.HeadDim : (at+1)*c.HeadDim]
}

func scale(x []float32, by float32) {
	for i := range x {
		x[i] *= by
	}
}

// logits applies the last norm and the head to the rows that are wanted,
// LogitRows at a time.
func (m *Model) logits(ctx context.Context, emit Emit) error {
	if len(m.wanted) == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	head, release, err := m.weights.AcquireHead(ctx)
	if err != nil {
		return err
	}
	defer release()
	c := &m.config
	if err := c.checkHead(head); err != nil {
		return fmt.Errorf("llama: %w", err)
	}
	h, v := c.Hidden, c.Vocab
	for first := 0; first < len(m.wanted); first += m.options.LogitRows {
		rows := m.wanted[first:min(first+m.options.LogitRows, len(m.wanted))]
		for r, w := range rows {
			kern.RMSNorm(m.y[r*h:(r+1)*h], m.x[w.at*h:(w.at+1)*h], head.Norm, c.NormEps)
		}
		out := m.work[:len(rows)*v]
		if err := head.Logits.Apply(out, m.y[:len(rows)*h], len(rows)); err != nil {
			return fmt.Errorf("llama: head: %w", err)
		}
		for r, w := range rows {
			if err := emit(w.seq, w.token, out[r*v:(r+1)*v]); err != nil {
				return err
			}
		}
	}
	return nil
}
