package decode

import (
	"cmp"
	"fmt"
	"slices"
)

// Unpacked is the operator over a matrix whose levels were decoded once and
// stay in memory, one byte each. Its results equal those of [Coded].
type Unpacked struct {
	*Matrix
	ws     *Workspace
	level  []uint8 // panel after panel, each rows x width
	sparse []outlier
}

// UnpackedBytes returns the memory that the levels of m take when decoded.
func (m *Matrix) UnpackedBytes() int64 {
	return int64(m.layout.Rows) * int64(m.layout.Padded())
}

// Unpack decodes m, whose chunks are attached, into dst, which has
// UnpackedBytes and is borrowed for ever. The chunks are not needed afterwards.
func Unpack(m *Matrix, ws *Workspace, dst []uint8) (*Unpacked, error) {
	u := &Unpacked{Matrix: m, ws: ws, level: dst[:m.UnpackedBytes()]}
	size := Size{}
	size.Grow(m)
	w := &worker{slab: make([]uint8, size.ChunkCells)}
	c, rows := &Coded{m, ws}, m.layout.Rows
	for i := range m.coded.Chunks() {
		if err := c.decode(w, i); err != nil {
			return nil, fmt.Errorf("decode: chunk %d: %w", i, err)
		}
		r0, r1 := m.coded.Band(i / m.coded.Blocks())
		p0, p1 := m.coded.Block(i % m.coded.Blocks())
		for p := p0; p < p1; p++ {
			c0, c1 := m.layout.Columns(p)
			copy(u.level[rows*c0+r0*(c1-c0):], w.levels[p-p0][:(r1-r0)*(c1-c0)])
		}
		for _, o := range w.sparse {
			o.panel += int32(p0)
			o.row += int32(r0)
			u.sparse = append(u.sparse, o)
		}
	}
	slices.SortFunc(u.sparse, func(a, b outlier) int {
		return cmp.Or(cmp.Compare(a.panel, b.panel), cmp.Compare(a.row, b.row), cmp.Compare(a.col, b.col))
	})
	return u, nil
}

// Apply computes n products; see model.Linear. It cannot fail.
func (u *Unpacked) Apply(dst, x []float32, n int) error {
	rows, cols := u.Dims()
	dst, x = dst[:n*rows], x[:n*cols]
	a := u.quantise(u.ws, x, n)
	clear(dst)
	u.ws.pool.For((rows+rowBlock-1)/rowBlock, func(worker, b int) {
		lo := b * rowBlock
		hi := min(lo+rowBlock, rows)
		for p := range u.layout.Panels() {
			c0, c1 := u.layout.Columns(p)
			levels := u.level[rows*c0+lo*(c1-c0) : rows*c0+hi*(c1-c0)]
			u.panel(dst, a, levels, u.sparse, u.ws.worker[worker].dots, p, p, 0, lo, hi)
		}
	})
	u.finish(u.ws, dst, n)
	return nil
}

// Rows writes single rows; see [Coded.Rows].
func (u *Unpacked) Rows(dst []float32, ids []int32) error {
	rows, cols := u.Dims()
	for t, id := range ids {
		if id < 0 || int(id) >= rows {
			return fmt.Errorf("decode: row %d of %d", id, rows)
		}
		for p := range u.layout.Panels() {
			c0, c1 := u.layout.Columns(p)
			at := rows*c0 + int(id)*(c1-c0)
			u.segment(dst[t*cols:(t+1)*cols], p, u.level[at:at+c1-c0],
				rowOutliers(u.sparse, p, int(id), int(id)+1), u.row[id])
		}
	}
	return nil
}
