package llama

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/lamina-llm/lamina/internal/kern"
	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/kv"
)

// Forward appends each sequence's tokens to its cache and gives the logits it
// wants to emit, sequence after sequence, token after token. emit may be nil
// if nothing is wanted. ctx is checked between layers.
//
// On any error every cache is as long as before. An error that wraps
// [model.ErrContextLength] or [model.ErrInvalid] is the caller's; others come
// from the weights, from ctx or from emit.
func (m *Model) Forward(ctx context.Context, batch []Seq, emit Emit) error {
	if emit == nil {
		return m.ForwardRows(ctx, batch, nil)
	}
	return m.ForwardRows(ctx, batch, func(rows []Row) error {
		for _, r := range rows {
			if err := emit(r.Seq, r.Token, r.Logits); err != nil {
				return err
			}
		}
		return nil
	})
}

// ForwardRows is Forward for a caller that wants the rows of logits together.
func (m *Model) ForwardRows(ctx context.Context, batch []Seq, emit EmitRows) (err error) {
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
	c, n := &m.config, len(m.ids)
	if err := m.weights.Embed(ctx, m.x[:n*c.Hidden], m.ids); err != nil {
		return err
	}
	m.each(n, n*c.HeadDim*8, m.row.angles) // sines are dear
	for i := range c.Layers {
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
	m.wanted, m.spans, m.attention = m.wanted[:0], m.spans[:0], 0
	m.joints, m.slots = m.joints[:0], 0
	total := 0
	for i := range batch {
		total += len(batch[i].Tokens)
	}
	if total > m.options.MaxBatchTokens {
		return fmt.Errorf("llama: %w: batch of %d tokens, at most %d fit", model.ErrInvalid, total, m.options.MaxBatchTokens)
	}
	workers := m.pool.Workers()
	perSpan := m.config.spanTokens(total, workers)
	split := workers > 1 && total*m.config.KVHeads < 4*workers
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
		m.plan(first, len(s.Tokens), pos, perSpan, split)
	}
	slices.SortFunc(m.spans, longer)
	return nil
}

// PageTokens returns the height of a page for so many tokens: Forward wants pages to
// hold a multiple of kern.StripLanes.
func PageTokens(tokens int) int {
	return (tokens + kern.StripLanes - 1) / kern.StripLanes * kern.StripLanes
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
	if g.PageTokens%kern.StripLanes != 0 {
		return fmt.Errorf("%w: pages of %d tokens, want a multiple of %d", model.ErrInvalid, g.PageTokens, kern.StripLanes)
	}
	if len(s.Tokens) > m.options.MaxContext-s.KV.Len() {
		return fmt.Errorf("%w: %d tokens after %d, at most %d", model.ErrContextLength, len(s.Tokens), s.KV.Len(), m.options.MaxContext)
	}
	for _, id := range s.Tokens {
		if id < 0 || int(id) >= c.Vocab {
			return fmt.Errorf("%w: token %d is outside the vocabulary of %d", model.ErrInvalid, id, c.Vocab)
		}
	}
	return nil
}

// block runs one transformer block over the n tokens of the batch:
//
//	x += Out  attention(RoPE(QKV norm(x)))
//	x += Down SwiGLU(GateUp norm(x))
//
// It leaves the last addition, of y to x, to whoever reads x next, who has the
// row in the cache then.
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
	if i == 0 { // x is the embedding, y nothing yet
		m.each(n, width, m.row.norm)
	} else {
		m.each(n, width, m.row.addNorm)
	}
	if err := l.QKV.Apply(m.qkv, m.y[:width], n); err != nil {
		return err
	}
	m.each(n, rotateElements*len(m.qkv), m.row.rotate)
	m.each(len(m.spans), m.attention, m.row.attend)
	m.each(len(m.joints), m.slots*c.partWidth(), m.row.join)
	if err := l.Out.Apply(m.y[:width], m.attended, n); err != nil {
		return err
	}

	m.weight = l.FFNNorm
	m.each(n, width, m.row.addNorm)
	if err := l.GateUp.Apply(m.gateUp, m.y[:width], n); err != nil {
		return err
	}
	m.each(n, len(m.gateUp), m.row.swiglu)
	return l.Down.Apply(m.y[:width], m.act, n)
}

const (
	// leastElements is how many elements a loop must touch to go to the pool:
	// fewer take the caller less time, some microseconds, than a wake-up.
	leastElements = 1 << 14
	// macsPerElement is what attention does in the time of one such element.
	macsPerElement = 8
	// rotateElements is how many such elements take as long as one that is
	// rotated and put into the cache.
	rotateElements = 4
)

// each runs f for i in [0, n), on the pool if enough elements are touched.
func (m *Model) each(n, elements int, f func(worker, i int)) {
	if n == 1 || elements < leastElements {
		for i := range n {
			f(0, i)
		}
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

func (m *Model) addNormRow(_, t int) {
	h := m.config.Hidden
	kern.Add(m.x[t*h:(t+1)*h], m.y[t*h:(t+1)*h])
	m.normRow(0, t)
}

func (m *Model) swigluRow(_, t int) {
	k := m.config.Intermediate
	gu := m.gateUp[t*2*k : (t+1)*2*k]
	kern.SwiGLU(m.act[t*k:(t+1)*k], gu[:k], gu[k:])
}

// rotateRow turns the queries and keys of one token by its position, scales
// the queries by 1/sqrt(HeadDim), and puts keys and values into the cache.
func (m *Model) rotateRow(worker, t int) {
	c, d, half := &m.config, m.config.HeadDim, len(m.frequencies)
	cos, sin := m.cos[t*half:(t+1)*half], m.sin[t*half:(t+1)*half]
	row := m.qkv[t*c.QKV() : (t+1)*c.QKV()]
	queries, keys, values := row[:c.Heads*d], row[c.Heads*d:(c.Heads+c.KVHeads)*d], row[(c.Heads+c.KVHeads)*d:]
	for h := range c.Heads {
		kern.RoPE(queries[h*d:(h+1)*d], cos, sin)
	}
	kern.Scale(queries, float32(1/math.Sqrt(float64(d))))
	for h := range c.KVHeads {
		kern.RoPE(keys[h*d:(h+1)*d], cos, sin)
		m.store(worker, m.cache[t], int(m.at[t]), h, keys[h*d:(h+1)*d], values[h*d:(h+1)*d])
	}
}

// store puts key and value of one token and head into its cache.
func (m *Model) store(worker int, cache *kv.Seq, pos, head int, key, value []float32) {
	w, per := &m.workers[worker], cache.PageTokens()
	if cache.Geometry().Format == kv.Q8 {
		var b block[int8]
		b.read(cache, pos/per, m.layer, head)
		b.put(pos%per, per, w.row8, key, value, kern.QuantizeI8, kern.QuantizeI8)
		return
	}
	var b block[int16]
	b.read(cache, pos/per, m.layer, head)
	b.put(pos%per, per, w.row16, key, value, kern.QuantizeDotI16, kern.QuantizeI16)
}

// logits applies the last norm and the head to the rows that are wanted,
// LogitRows at a time.
func (m *Model) logits(ctx context.Context, emit EmitRows) error {
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
			x := m.x[w.at*h : (w.at+1)*h]
			kern.Add(x, m.y[w.at*h:(w.at+1)*h])
			kern.RMSNorm(m.y[r*h:(r+1)*h], x, head.Norm, c.NormEps) // r <= at: no y that is yet to be added
		}
		out := m.work[:len(rows)*v]
		if err := head.Logits.Apply(out, m.y[:len(rows)*h], len(rows)); err != nil {
			return fmt.Errorf("llama: head: %w", err)
		}
		m.rows = m.rows[:0]
		for r, w := range rows {
			m.rows = append(m.rows, Row{Seq: w.seq, Token: w.token, Logits: out[r*v : (r+1)*v]})
		}
		if err := emit(m.rows); err != nil {
			return err
		}
	}
	return nil
}
