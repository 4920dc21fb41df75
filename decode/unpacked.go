package decode

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/lamina-llm/lamina/decode/planes"
	"github.com/lamina-llm/lamina/internal/kern"
	"github.com/lamina-llm/lamina/internal/tile"
)

// Unpacked is the operator over a matrix that was decoded once and stays in
// memory, mostly in 4 bits a weight. Its results equal those of [Coded].
type Unpacked struct {
	*Matrix
	ws     *Workspace
	format form
	packed []byte  // row block after row block, each panel after panel
	sparse []byte  // outliers in the same order, 4 bytes each
	first  []int32 // where those of a row block and panel begin in sparse; one more at the end
}

// cell is an outlier within a panel of a row block: what is to be added in the
// upper 18 bits, the column in 8, the row in 6.
type cell int32

func (c cell) split() (row, col int, delta int32) {
	return int(c & (rowBlock - 1)), int(uint8(c >> 6)), int32(c >> 14)
}

// cellBytes is the size of a cell in memory.
const cellBytes = 4

// next takes the first cell from sparse.
func next(sparse []byte) (cell, []byte) {
	return cell(binary.LittleEndian.Uint32(sparse)), sparse[cellBytes:]
}

// UnpackedBytes returns the memory that m takes when unpacked: its levels, and
// outliers as far as they are foreseen.
func (m *Matrix) UnpackedBytes() int64 {
	f := m.form()
	n := m.packedBytes(&f) + cellBytes*f.cells
	return (n + 63) &^ 63 // whole cache lines: matrices lie side by side
}

// packedBytes returns what the levels take. Every row block has the states that
// its rows begin with.
func (m *Matrix) packedBytes(f *form) int64 {
	groups := m.layout.Groups()
	return int64(m.rowBlocks()-1)*int64(f.BlockBytes(0, groups)) + int64(f.BlockBytes(m.layout.Rows, groups))
}

// Unpack decodes m, whose chunks are attached, into dst, which has
// UnpackedBytes and is borrowed for ever. The chunks are not needed afterwards.
func Unpack(m *Matrix, ws *Workspace, dst []uint8) (*Unpacked, error) {
	u := &Unpacked{Matrix: m, ws: ws, format: m.form()}
	at := m.packedBytes(&u.format)
	u.packed, u.sparse = dst[:at], dst[at:m.UnpackedBytes()]
	var sparse []outlier
	var err error
	if m.planes != nil {
		sparse, err = u.fillParallel()
	} else {
		sparse, err = u.fill()
	}
	if err != nil {
		return nil, err
	}
	return u, u.keep(sparse)
}

// fill decodes and packs chunk after chunk, for a caller who unpacks several
// matrices at a time. It returns the outliers.
func (u *Unpacked) fill() (sparse []outlier, err error) {
	size := Size{}
	size.Grow(u.Matrix)
	w := &worker{slab: make([]uint8, size.ChunkCells)}
	pack := u.format.Packer()
	for i := range u.Chunks() {
		if sparse, err = u.pack(i, w, pack, sparse); err != nil {
			return nil, fmt.Errorf("decode: chunk %d: %w", i, err)
		}
	}
	return sparse, nil
}

// fillParallel is fill for chunks that take long: all workers decode one matrix,
// each in its own part of the workspace.
func (u *Unpacked) fillParallel() ([]outlier, error) {
	lists, errs := make([][]outlier, u.Chunks()), make([]error, u.Chunks())
	pack := u.format.Packer()
	u.ws.pool.For(u.Chunks(), func(worker, i int) {
		lists[i], errs[i] = u.pack(i, &u.ws.worker[worker], pack, nil)
	})
	for i, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("decode: chunk %d: %w", i, err)
		}
	}
	return slices.Concat(lists...), nil
}

// pack decodes chunk i in w, packs it and appends its outliers to sparse.
func (u *Unpacked) pack(i int, w *worker, pack *kern.NibblePacker, sparse []outlier) ([]outlier, error) {
	if err := (&Coded{u.Matrix, u.ws}).decode(w, i); err != nil {
		return nil, err
	}
	sparse = append(sparse, w.sparse...)
	band := i / u.Blocks()
	r0, _ := u.Band(band)
	b0, b1 := u.bandBlocks(band)
	p0, p1 := u.Block(i % u.Blocks())
	for p := p0; p < p1; p++ {
		var state [tile.MaxWidth]uint8
		c0, c1 := u.columns(p)
		for b := b0; b < b1; b++ {
			lo, hi := u.rowRange(b)
			levels := w.levels[p-p0][(lo-r0)*(c1-c0) : (hi-r0)*(c1-c0)]
			sparse = u.format.clip(levels, sparse, p, lo, c1-c0)
			pack.Pack(u.cells(b, p), levels, state[:c1-c0], hi-lo, (c1-c0)/tile.Lanes)
		}
	}
	if u.planes != nil && int64(len(sparse)) > 2*u.format.cells {
		return nil, fmt.Errorf("%w: more than %d samples outside the window", planes.ErrCorrupt, u.format.cells)
	}
	return sparse, nil
}

// cells returns the bytes of a panel in a row block.
func (u *Unpacked) cells(b, p int) []byte {
	lo, hi := u.rowRange(b)
	g0, g1, groups := u.start[p]/tile.Lanes, u.start[p+1]/tile.Lanes, u.start[u.panels()]/tile.Lanes
	f := u.format
	at := b*f.BlockBytes(0, groups) + lo*f.RowBytes(groups) + f.BlockBytes(hi-lo, g0)
	return u.packed[at : at+f.BlockBytes(hi-lo, g1-g0)]
}

// keep stores the outliers in the order of the packed levels.
func (u *Unpacked) keep(sparse []outlier) error {
	place := func(o *outlier) int { return u.blockOf(int(o.row))*u.panels() + int(o.panel) }
	slices.SortFunc(sparse, func(a, b outlier) int {
		return cmp.Or(cmp.Compare(place(&a), place(&b)), cmp.Compare(a.row, b.row), cmp.Compare(a.col, b.col))
	})
	// The codec and clip may both have one for a weight.
	kept := sparse[:0]
	for _, o := range sparse {
		if n := len(kept) - 1; n >= 0 && kept[n].row == o.row && kept[n].panel == o.panel && kept[n].col == o.col {
			kept[n].delta += o.delta
		} else {
			kept = append(kept, o)
		}
	}
	if u.planes != nil && int64(len(kept)) > u.format.cells {
		return fmt.Errorf("decode: %w: %d samples outside the window, %d are announced", planes.ErrCorrupt, len(kept), u.format.cells)
	}
	if len(u.sparse) < cellBytes*len(kept) { // more than foreseen
		u.sparse = make([]byte, cellBytes*len(kept))
	}
	u.sparse, u.first = u.sparse[:cellBytes*len(kept)], make([]int32, u.rowBlocks()*u.panels()+1)
	for i := range kept {
		o := &kept[i]
		lo, _ := u.rowRange(u.blockOf(int(o.row)))
		binary.LittleEndian.PutUint32(u.sparse[cellBytes*i:], uint32(o.delta<<14|o.col<<6|(o.row-int32(lo))))
		u.first[place(o)+1] += cellBytes
	}
	for i := range u.first[1:] {
		u.first[i+1] += u.first[i]
	}
	return nil
}

// outliers returns those of a panel in a row block.
func (u *Unpacked) outliers(b, p int) []byte {
	i := b*u.panels() + p
	return u.sparse[u.first[i]:u.first[i+1]]
}

// Apply computes n products; see model.Linear. It cannot fail.
func (u *Unpacked) Apply(dst, x []float32, n int) error {
	rows, cols := u.Dims()
	dst, x = dst[:n*rows], x[:n*cols]
	if n == 0 {
		return nil
	}
	return u.apply(dst, u.quantise(u.ws, x, cols, rows, n))
}

// apply multiplies the vectors of a.
func (u *Unpacked) apply(dst []float32, a *activations) error {
	var center []int32
	if a.n == 1 {
		center = a.centers(u.ws.center, u.zero+u.format.bias)
	}
	u.ws.pool.For(u.rowBlocks(), func(worker, b int) {
		w := &u.ws.worker[worker]
		if a.n == 1 {
			u.single(dst, a, center, w, b)
		} else {
			u.batch(dst, a, w, b)
		}
	})
	return nil
}

// single multiplies a row block with the only vector of a.
func (u *Unpacked) single(dst []float32, a *activations, center []int32, w *worker, b int) {
	lo, hi := u.rowRange(b)
	for p := range u.panels() {
		c0, c1 := u.columns(p)
		dots := (*[rowBlock]int32)(w.dots[p*rowBlock:])
		kern.DotsNibbles(dots[:], u.cells(b, p), a.q[c0:c1], hi-lo, (c1-c0)/tile.Lanes, u.format.Nibbles)
		addOutliers(dots, u.outliers(b, p), (*[tile.MaxWidth]int8)(a.q[c0:]))
	}
	kern.SumPanels(dst[lo:hi], w.dots, rowBlock, center, a.scale, u.row[lo:hi])
}

// addOutliers adds the products of a panel's cells with the vector q to the
// sums of its rows. The sizes of the arrays spare it checks.
func addOutliers(dots *[rowBlock]int32, sparse []byte, q *[tile.MaxWidth]int8) {
	for len(sparse) >= cellBytes {
		c := cell(binary.LittleEndian.Uint32(sparse))
		sparse = sparse[cellBytes:]
		dots[c&(rowBlock-1)] += int32(c>>14) * int32(q[uint8(c>>6)])
	}
}

// batch expands a row block, panel by panel, and multiplies it with all vectors.
func (u *Unpacked) batch(dst []float32, a *activations, w *worker, b int) {
	lo, hi := u.rowRange(b)
	for p := range u.panels() {
		c0, c1 := u.columns(p)
		levels := w.slab[:(hi-lo)*(c1-c0)]
		kern.ExpandNibbles(levels, u.cells(b, p), hi-lo, (c1-c0)/tile.Lanes, u.format.Nibbles)
		w.sparse = w.sparse[:0]
		for s := u.outliers(b, p); len(s) >= cellBytes; {
			var c cell
			c, s = next(s)
			row, col, delta := c.split()
			if !patch(&levels[row*(c1-c0)+col], delta) {
				w.sparse = append(w.sparse, outlier{int32(p), int32(lo + row), int32(col), delta})
			}
		}
		u.panel(dst, a, levels, u.zero+u.format.bias, w.sparse, w.dots, p, lo, hi)
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
		for p := range u.panels() {
			c0, c1 := u.columns(p)
			kern.ExpandNibbles(levels[:], u.cells(b, p), n, (c1-c0)/tile.Lanes, u.format.Nibbles)
			var sparse []outlier
			for s := u.outliers(b, p); len(s) >= cellBytes; {
				var c cell
				c, s = next(s)
				if row, col, delta := c.split(); row == n-1 {
					sparse = append(sparse, outlier{int32(p), id, int32(col), delta})
				}
			}
			u.segment(dst[t*cols:(t+1)*cols], p, levels[(n-1)*(c1-c0):n*(c1-c0)], u.zero+u.format.bias, sparse, u.row[id])
		}
	}
	u.undo(dst, len(ids))
	return nil
}
