package decode

import (
	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/kern"
	"github.com/lamina-llm/lamina/internal/tile"
)

const (
	// partRows is how many rows of a panel are decoded before they are multiplied:
	// their levels stay in the first two levels of cache.
	partRows = 128
	// fewVectors is up to how many vectors the worker that decodes a chunk also
	// multiplies it. Beyond, products take longer than decoding and are shared out.
	fewVectors = 16
)

// partStep returns how many rows a part has, but for the last of a band, so
// that its levels and its sums of n vectors fit the memory of a worker.
func (c *Coded) partStep(n int) int {
	w := &c.ws.worker[0]
	return min(partRows, len(w.slab)/(tile.MaxWidth*16)*16, len(w.dots)/(min(n, tokenBlock)*16)*16)
}

// walk decodes one chunk part by part and multiplies each with all vectors.
func (c *Coded) walk(dst []float32, a *activations, w *worker, band, block int) error {
	zero := c.rans.WalkZero()
	return c.walkChunk(band*c.Blocks()+block, c.partStep(a.n), w, func(p *rans.Part) {
		for t := 0; t < a.n; t += tokenBlock {
			n := min(tokenBlock, a.n-t)
			c.multiplyPart(w.dots, a, p, t, n)
			c.accumulate(dst, a, w.dots, zero, t, n, p.Panel, p.Row, p.Row+p.Rows)
		}
	})
}

// walkChunk has chunk i checked and walks it in w's memory.
func (c *Coded) walkChunk(i, step int, w *worker, visit func(*rans.Part)) error {
	if err := c.checked(i); err != nil {
		return err
	}
	return c.rans.Walk(i, step, w.slab, visit, &w.scratch)
}

// byPart shares out the chunks of few bands. Whoever decodes a part multiplies
// it with the vectors, which are few; the sums of all panels are added up
// when all are there.
func (c *Coded) byPart(dst []float32, a *activations) {
	m, ws, n, step := c.rans, c.ws, a.n, c.partStep(a.n)
	zero := m.WalkZero()
	sums := func(panel, row, rows int) []int32 {
		return ws.dots[(panel*c.layout.Rows+row)*n:][:rows*n]
	}
	ws.pool.For(m.Chunks(), func(worker, i int) {
		w := &ws.worker[worker]
		if err := c.walkChunk(i, step, w, func(p *rans.Part) {
			c.multiplyPart(sums(p.Panel, p.Row, p.Rows), a, p, 0, n)
		}); err != nil {
			ws.fail(worker, err)
		}
	})
	r0, r1 := m.Band(0) // the tallest
	parts := (r1 - r0 + step - 1) / step
	ws.pool.For(m.Bands()*parts, func(_, i int) {
		r0, r1 := m.Band(i / parts)
		lo := r0 + i%parts*step
		hi := min(lo+step, r1)
		if lo >= hi {
			return // the last band is short
		}
		for p := range c.panels() {
			c.accumulate(dst, a, sums(p, lo, hi-lo), zero, 0, n, p, lo, hi)
		}
	})
}

// multiplyPart writes the products of a part with n vectors from vector t on to
// dots, vector after vector.
func (c *Coded) multiplyPart(dots []int32, a *activations, p *rans.Part, t, n int) {
	c0, c1 := c.columns(p.Panel)
	padded := c.start[c.panels()]
	q := a.q[t*padded+c0:]
	kern.MatMulU8S8(dots[:n*p.Rows], p.Levels, q, p.Rows, c1-c0, n, padded)
	for _, o := range p.Rest {
		for k := range n {
			dots[k*p.Rows+o.Row] += o.Delta * int32(q[k*padded+o.Col])
		}
	}
}
