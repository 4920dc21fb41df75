package decode

import (
	"fmt"
	"slices"

	"github.com/lamina-llm/lamina/internal/kern"
)

// Coded is the operator y = W x over coded chunks. Nothing decoded is kept
// between calls.
type Coded struct {
	*Matrix
	ws *Workspace
}

// NewCoded returns the operator of m in ws, whose size must cover m.
func NewCoded(m *Matrix, ws *Workspace) *Coded { return &Coded{m, ws} }

// Apply computes n products; see model.Linear. It returns an error that wraps
// rans.ErrCorrupt or planes.ErrCorrupt if a chunk does not decode.
func (c *Coded) Apply(dst, x []float32, n int) error {
	rows, cols := c.Dims()
	dst, x = dst[:n*rows], x[:n*cols]
	if n == 0 {
		return nil
	}
	return c.apply(dst, c.quantise(c.ws, x, cols, rows, n))
}

// apply multiplies the vectors of a.
func (c *Coded) apply(dst []float32, a *activations) error {
	workers, bands, cells := c.ws.pool.Workers(), c.Bands(), c.panels()*padRows(c.layout.Rows)
	switch {
	case c.planes != nil || workers == 1 || bands >= 2*workers || a.n == 1 && cells > len(c.ws.dots):
		c.byBand(dst, a)
	case a.n == 1:
		c.byChunk(dst, a)
	case a.n <= fewVectors && a.n*c.panels()*c.layout.Rows <= len(c.ws.dots):
		c.byPart(dst, a)
	default:
		c.byRound(dst, a)
	}
	if err := c.ws.takeErr(); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	return nil
}

// byBand gives each worker whole rows: nothing is shared.
func (c *Coded) byBand(dst []float32, a *activations) {
	ws := c.ws
	ws.pool.For(c.Bands(), func(worker, band int) {
		w := &ws.worker[worker]
		for block := range c.Blocks() {
			var err error
			switch {
			case c.rans == nil:
				err = c.batch(dst, a, w, band, block)
			case a.n == 1:
				err = c.single(dst, a, w, band, block)
			default:
				err = c.walk(dst, a, w, band, block)
			}
			if err != nil {
				ws.fail(worker, err)
				return
			}
		}
	})
}

// checked has chunk i checked, if that is wanted.
func (c *Coded) checked(i int) error {
	if c.check == nil {
		return nil
	}
	return c.check(i)
}

// single multiplies one chunk with the only vector of a as it is decoded.
func (c *Coded) single(dst []float32, a *activations, w *worker, band, block int) error {
	m := c.rans
	r0, r1 := m.Band(band)
	p0, p1 := m.Block(block)
	room := padRows(r1 - r0)
	w.out = w.out[:0]
	for p := range p1 - p0 {
		w.out = append(w.out, w.dots[p*room:(p+1)*room])
	}
	i := band*m.Blocks() + block
	if err := c.checked(i); err != nil {
		return err
	}
	if err := m.Dots(i, a.q, a.sum, w.out, &w.scratch); err != nil {
		return err
	}
	for p := p0; p < p1; p++ {
		c.accumulate(dst, a, w.out[p-p0], 0, 0, 1, p, r0, r1)
	}
	return nil
}

// batch decodes one chunk, of pictures, and multiplies it with all vectors.
func (c *Coded) batch(dst []float32, a *activations, w *worker, band, block int) error {
	if err := c.decode(w, band*c.Blocks()+block); err != nil {
		return err
	}
	r0, _ := c.Band(band)
	p0, _ := c.Block(block)
	c.patch(w, r0, p0)
	b0, b1 := c.bandBlocks(band)
	for b := b0; b < b1; b++ {
		c.multiply(dst, a, w, w.dots, block, r0, b)
	}
	return nil
}

// byChunk shares out the chunks of few bands, whose sums of the only vector
// then wait for each other.
func (c *Coded) byChunk(dst []float32, a *activations) {
	m, ws := c.rans, c.ws
	stride := padRows(c.layout.Rows)
	ws.pool.For(m.Chunks(), func(worker, i int) {
		w := &ws.worker[worker]
		r0, r1 := m.Band(i / m.Blocks())
		p0, p1 := m.Block(i % m.Blocks())
		w.out = w.out[:0]
		for p := p0; p < p1; p++ {
			// Only the last band can need padding, so bands do not overlap here.
			w.out = append(w.out, ws.dots[p*stride+r0:][:padRows(r1-r0)])
		}
		err := c.checked(i)
		if err == nil {
			err = m.Dots(i, a.q, a.sum, w.out, &w.scratch)
		}
		if err != nil {
			ws.fail(worker, err)
		}
	})
	const block = 4096 // fewer rows are done before a second worker is awake
	center := a.centers(ws.center, 0)
	ws.pool.For((c.layout.Rows+block-1)/block, func(_, i int) {
		r0 := i * block
		r1 := min(r0+block, c.layout.Rows)
		kern.SumPanels(dst[r0:r1], ws.dots[r0:], stride, center, a.scale, c.row[r0:r1])
	})
}

// byRound decodes a few chunks at a time, one per worker, and shares out the
// row blocks of their products with all vectors.
func (c *Coded) byRound(dst []float32, a *activations) {
	m, ws := c.Matrix, c.ws
	workers := ws.pool.Workers()
	for first := 0; first < m.Chunks(); first += workers {
		round := min(workers, m.Chunks()-first)
		ws.pool.For(round, func(_, i int) {
			if err := c.decode(&ws.worker[i], first+i); err != nil {
				ws.fail(i, err)
			}
			r0, _ := m.Band((first + i) / m.Blocks())
			p0, _ := m.Block((first + i) % m.Blocks())
			c.patch(&ws.worker[i], r0, p0)
		})
		for i := 0; i < round; {
			// Chunks of one band are multiplied together, in panel order.
			band, j := (first+i)/m.Blocks(), i+1
			for j < round && (first+j)/m.Blocks() == band {
				j++
			}
			r0, _ := m.Band(band)
			b0, b1 := c.bandBlocks(band)
			from := i
			ws.pool.For(b1-b0, func(worker, b int) {
				for k := from; k < j; k++ {
					c.multiply(dst, a, &ws.worker[k], ws.worker[worker].dots, (first+k)%m.Blocks(), r0, b0+b)
				}
			})
			i = j
		}
	}
}

// decode fills w's slab with the levels of chunk i.
func (c *Coded) decode(w *worker, i int) error {
	if err := c.checked(i); err != nil {
		return err
	}
	m := c.Matrix
	r0, r1 := m.Band(i / m.Blocks())
	p0, p1 := m.Block(i % m.Blocks())
	w.levels, w.sparse = w.levels[:0], w.sparse[:0]
	at := 0
	for p := p0; p < p1; p++ {
		c0, c1 := c.columns(p)
		size := padRows(r1-r0) * (c1 - c0)
		w.levels = append(w.levels, w.slab[at:at+size])
		at += size
	}
	add := func(p, row, col int, delta int32) {
		w.sparse = append(w.sparse, outlier{int32(p0 + p), int32(r0 + row), int32(col), delta})
	}
	if c.rans == nil {
		return c.planes.Levels(i, w.levels, add, &w.picture)
	}
	return c.rans.Levels(i, w.levels, add, &w.scratch)
}

// patch adds the outliers of the decoded chunk in w, whose band and block start
// at row r0 and panel p0, to its levels as far as those stay what the kernels multiply.
func (c *Coded) patch(w *worker, r0, p0 int) {
	rest := w.sparse[:0]
	for _, o := range w.sparse {
		c0, c1 := c.columns(int(o.panel))
		if !patch(&w.levels[int(o.panel)-p0][(int(o.row)-r0)*(c1-c0)+int(o.col)], o.delta) {
			rest = append(rest, o)
		}
	}
	w.sparse = rest
}

// multiply adds the products of row block b of the decoded chunk in w, whose
// band starts at row r0, to dst.
func (c *Coded) multiply(dst []float32, a *activations, w *worker, dots []int32, block, r0, b int) {
	lo, hi := c.rowRange(b)
	p0, p1 := c.Block(block)
	for p := p0; p < p1; p++ {
		c0, c1 := c.columns(p)
		levels := w.levels[p-p0][(lo-r0)*(c1-c0) : (hi-r0)*(c1-c0)]
		c.panel(dst, a, levels, c.zero, rowOutliers(w.sparse, p, lo, hi), dots, p, lo, hi)
	}
}

// Rows decodes single rows: dst[t*cols : (t+1)*cols] = row ids[t] of W. Each
// band is decoded once however many of its rows are wanted.
func (c *Coded) Rows(dst []float32, ids []int32) error { return c.RowsFrom(dst, ids, nil) }

// RowsFrom is Rows for a matrix whose chunks need not be attached: fetch, if
// not nil, is called for every chunk that is needed, one at a time, and returns
// its bytes, which must stay valid until the next call.
func (c *Coded) RowsFrom(dst []float32, ids []int32, fetch func(chunk int) ([]byte, error)) error {
	m, ws := c.Matrix, c.ws
	rows, cols := c.Dims()
	for t, id := range ids {
		if id < 0 || int(id) >= rows {
			return fmt.Errorf("decode: row %d of %d", id, rows)
		}
		clear(dst[t*cols : (t+1)*cols])
	}
	one := func(worker, band int) {
		if err := c.bandRows(dst, ids, &ws.worker[worker], band, fetch); err != nil {
			ws.fail(worker, err)
		}
	}
	if fetch == nil && len(ids) > 1 {
		ws.pool.For(m.Bands(), one)
	} else {
		for band := range m.Bands() {
			one(0, band)
		}
	}
	if err := ws.takeErr(); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	m.undo(dst, len(ids))
	return nil
}

// bandRows decodes the wanted rows of one band.
func (c *Coded) bandRows(dst []float32, ids []int32, w *worker, band int, fetch func(chunk int) ([]byte, error)) error {
	m, cols := c.Matrix, c.layout.Cols
	r0, r1 := m.Band(band)
	wanted := func(id int32) bool { return int(id) >= r0 && int(id) < r1 }
	if !slices.ContainsFunc(ids, wanted) {
		return nil
	}
	for block := range m.Blocks() {
		i := band*m.Blocks() + block
		if fetch != nil {
			data, err := fetch(i)
			if err == nil {
				err = m.AttachChunk(i, data)
			}
			if err != nil {
				return err
			}
		}
		if err := c.decode(w, i); err != nil {
			return err
		}
		for t, id := range ids {
			if wanted(id) {
				c.row32(dst[t*cols:(t+1)*cols], w, block, r0, int(id))
			}
		}
	}
	return nil
}

// row32 writes the weights of row id, of the decoded chunk in w, to dst.
func (c *Coded) row32(dst []float32, w *worker, block, r0, id int) {
	p0, p1 := c.Block(block)
	for p := p0; p < p1; p++ {
		c0, c1 := c.columns(p)
		levels := w.levels[p-p0][(id-r0)*(c1-c0) : (id-r0+1)*(c1-c0)]
		c.segment(dst, p, levels, c.zero, rowOutliers(w.sparse, p, id, id+1), c.row[id])
	}
}

// segment writes the weights of one row within panel p to dst.
func (m *Matrix) segment(dst []float32, p int, levels []uint8, zero int32, sparse []outlier, scale float32) {
	c0, c1 := m.columns(p)
	put := func(j int, level int32) {
		v := float32(level-zero) * m.col[j] * scale
		if m.perm != nil {
			j = int(m.perm[j])
		}
		dst[j] = v
	}
	for j := c0; j < min(c1, m.layout.Cols); j++ {
		put(j, int32(levels[j-c0]))
	}
	for _, o := range sparse {
		put(c0+int(o.col), int32(levels[o.col])+o.delta)
	}
}
