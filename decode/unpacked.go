package decode

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/kern"
	"github.com/lamina-llm/lamina/internal/tile"
)

// Unpacked is the operator over a matrix that was decoded once and stays in
// memory: 4 bits a weight and one more per raw plane, because the rest of a
// dependent level follows from the trellis. Its results equal those of [Coded].
type Unpacked struct {
	*Matrix
	ws     *Workspace
	format *kern.Nibbles
	packed []byte // row block after row block, each panel after panel
	sparse []outlier
	first  []int32 // where the outliers of a row block and panel begin; one more at the end
}

// trellis is the state transition of dependent quantisation (docs/FORMAT.md).
var trellis = [8][2]uint8{{0, 2}, {7, 5}, {1, 3}, {6, 4}, {2, 0}, {5, 7}, {3, 1}, {4, 6}}

// nibbles returns how the levels of m are kept: the low four bits of an index in
// a nibble, its high bits in planes.
func (m *Matrix) nibbles() *kern.Nibbles {
	side := m.coded.Side()
	planes := int(side.Planes)
	var level [2][16]uint8
	if side.Mode == rans.Scalar {
		for k := range level[0] {
			level[0][k], level[1][k] = uint8(k), uint8(k)
		}
		return kern.NewNibbles(level, nil, planes, 4)
	}
	for q := range level {
		for k := range level[q] {
			// 2k - sgn(k)*q or, with raw planes, 2k - q above the level of 0.
			switch {
			case planes > 0:
				level[q][k] = uint8(2*k + 1 - q)
			case k > rans.Alphabet/2:
				level[q][k] = uint8(2*k - q)
			case k < rans.Alphabet/2:
				level[q][k] = uint8(2*k + q)
			default:
				level[q][k] = uint8(2 * k)
			}
		}
	}
	return kern.NewNibbles(level, &trellis, planes, 5)
}

// UnpackedBytes returns the memory that the levels of m take when unpacked.
func (m *Matrix) UnpackedBytes() int64 {
	// Every row block has the states that its rows begin with.
	f, groups := m.nibbles(), m.layout.Groups()
	return int64(m.rowBlocks())*int64(f.BlockBytes(0, groups)) + int64(m.layout.Rows)*int64(f.RowBytes(groups))
}

// Unpack decodes m, whose chunks are attached, into dst, which has
// UnpackedBytes and is borrowed for ever. The chunks are not needed afterwards.
func Unpack(m *Matrix, ws *Workspace, dst []uint8) (*Unpacked, error) {
	u := &Unpacked{Matrix: m, ws: ws, format: m.nibbles(), packed: dst[:m.UnpackedBytes()]}
	size := Size{}
	size.Grow(m)
	w := &worker{slab: make([]uint8, size.ChunkCells)}
	c := &Coded{m, ws}
	for i := range m.coded.Chunks() {
		if err := c.decode(w, i); err != nil {
			return nil, fmt.Errorf("decode: chunk %d: %w", i, err)
		}
		band := i / m.coded.Blocks()
		r0, _ := m.coded.Band(band)
		p0, p1 := m.coded.Block(i % m.coded.Blocks())
		for p := p0; p < p1; p++ {
			var state [tile.MaxWidth]uint8
			c0, c1 := m.layout.Columns(p)
			for b := band * m.blocksPerBand(); b < min((band+1)*m.blocksPerBand(), m.rowBlocks()); b++ {
				lo, hi := m.rowRange(b)
				levels := w.levels[p-p0][(lo-r0)*(c1-c0) : (hi-r0)*(c1-c0)]
				u.format.Pack(u.cells(b, p), levels, state[:c1-c0], hi-lo, (c1-c0)/tile.Lanes)
			}
		}
		u.sparse = append(u.sparse, w.sparse...)
	}
	u.sortOutliers()
	return u, nil
}

// cells returns the bytes of a panel in a row block.
func (u *Unpacked) cells(b, p int) []byte {
	lo, hi := u.rowRange(b)
	g0, g1 := u.layout.Panel(p)
	f, groups := u.format, u.layout.Groups()
	at := b*f.BlockBytes(0, groups) + lo*f.RowBytes(groups) + f.BlockBytes(hi-lo, g0)
	return u.packed[at : at+f.BlockBytes(hi-lo, g1-g0)]
}

// sortOutliers brings the outliers into the order of the packed levels.
func (u *Unpacked) sortOutliers() {
	u.sparse = slices.Clip(u.sparse)
	panels := u.layout.Panels()
	cell := func(o *outlier) int { return u.blockOf(int(o.row))*panels + int(o.panel) }
	slices.SortFunc(u.sparse, func(a, b outlier) int {
		return cmp.Or(cmp.Compare(cell(&a), cell(&b)), cmp.Compare(a.row, b.row), cmp.Compare(a.col, b.col))
	})
	u.first = make([]int32, u.rowBlocks()*panels+1)
	for i := range u.sparse {
		u.first[cell(&u.sparse[i])+1]++
	}
	for i := range u.first[1:] {
		u.first[i+1] += u.first[i]
	}
}

// outliers returns those of a panel in a row block.
func (u *Unpacked) outliers(b, p int) []outlier {
	i := b*u.layout.Panels() + p
	return u.sparse[u.first[i]:u.first[i+1]]
}

// Apply computes n products; see model.Linear. It cannot fail.
func (u *Unpacked) Apply(dst, x []float32, n int) error {
	rows, cols := u.Dims()
	dst, x = dst[:n*rows], x[:n*cols]
	if n == 0 {
		return nil
	}
	a := u.quantise(u.ws, x, n)
	u.ws.pool.For(u.rowBlocks(), func(worker, b int) {
		w := &u.ws.worker[worker]
		if n == 1 {
			u.single(dst, a, w, b)
		} else {
			u.batch(dst, a, w, b)
		}
	})
	return nil
}

// single multiplies a row block with the only vector of a.
func (u *Unpacked) single(dst []float32, a *activations, w *worker, b int) {
	lo, hi := u.rowRange(b)
	dots := w.dots[:hi-lo]
	for p := range u.layout.Panels() {
		c0, c1 := u.layout.Columns(p)
		kern.DotsNibbles(dots, u.cells(b, p), a.q[c0:c1], hi-lo, (c1-c0)/tile.Lanes, u.format)
		u.addOutliers(dots, u.outliers(b, p), a, 0, lo)
		u.accumulate(dst, a, dots, u.zero, 0, p, lo, hi)
	}
}

// batch expands a row block, panel by panel, and multiplies it with all vectors.
func (u *Unpacked) batch(dst []float32, a *activations, w *worker, b int) {
	lo, hi := u.rowRange(b)
	for p := range u.layout.Panels() {
		c0, c1 := u.layout.Columns(p)
		levels := w.slab[:(hi-lo)*(c1-c0)]
		kern.ExpandNibbles(levels, u.cells(b, p), hi-lo, (c1-c0)/tile.Lanes, u.format)
		u.panel(dst, a, levels, u.outliers(b, p), w.dots, p, lo, hi)
	}
}

// Rows writes single rows; see [Coded.Rows].
func (u *Unpacked) Rows(dst []float32, ids []int32) error {
	rows, cols := u.Dims()
	var levels [rowBlock * tile.MaxWidth]uint8
	for t, id := range ids {
		if id < 0 || int(id) >= rows {
			return fmt.Errorf("decode: row %d of %d", id, rows)
		}
		b := u.blockOf(int(id))
		lo, _ := u.rowRange(b)
		n := int(id) - lo + 1 // a row follows from those above it
		for p := range u.layout.Panels() {
			c0, c1 := u.layout.Columns(p)
			kern.ExpandNibbles(levels[:], u.cells(b, p), n, (c1-c0)/tile.Lanes, u.format)
			u.segment(dst[t*cols:(t+1)*cols], p, levels[(n-1)*(c1-c0):n*(c1-c0)],
				rowOutliers(u.outliers(b, p), p, int(id), int(id)+1), u.row[id])
		}
	}
	return nil
}
