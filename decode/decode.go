// Package decode multiplies with coded matrices: y = W x straight from the
// bitstream for one vector, or through a small scratch of decoded levels for
// many. It also holds matrices that were decoded once and are kept.
//
// A matrix is a grid of small integer levels times a scale per row and per
// column. Column scales are folded into the activations, which are quantised
// to int8 with one scale per panel of up to 256 columns; products are exact
// int32 sums per row and panel; panel sums are added in float32, in ascending
// order of panels, each as one multiplication and one addition; the row scale
// comes last. Every path in this package computes exactly that, so fused and
// unfused, batched and single, resident and streamed results are equal bit for
// bit. (Zero levels and int8 activations: docs/FORMAT.md and Jacob et al.,
// arXiv 1712.05877.)
//
// The package does no I/O and takes no locks. Operators share a [Workspace]
// and must not be applied concurrently; the pool inside runs them in parallel.
package decode

import (
	"fmt"
	"math"
	"sort"

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/kern"
	"github.com/lamina-llm/lamina/internal/tile"
)

// Pool runs f(worker, i) for i in [0, n) and waits. No two concurrent calls
// share a worker.
type Pool interface {
	Workers() int
	For(n int, f func(worker, i int))
}

// tokenBlock is the number of vectors that a row block is multiplied with at a
// time: their sums stay in the second-level cache.
const tokenBlock = 128

// maxDotCells bounds the int32 cells that hold panel sums of one vector when
// chunks are the unit of work: 1 MiB.
const maxDotCells = 1 << 18

// Matrix is what the operators need of a coded matrix beside its chunks.
type Matrix struct {
	coded  *rans.Matrix
	layout tile.Layout
	row    []float32 // scale of each row
	col    []float32 // scale of each coded column; 0 in the padding
	perm   []uint32  // matrix column of each coded column; nil is the identity
	zero   int32
	block  int // rows of a row block
}

// NewMatrix reads the side information of a matrix coded by "rans1". It keeps
// about 4 bytes per row and column in memory.
func NewMatrix(rows, cols int, side []byte) (*Matrix, error) {
	r, err := rans.NewMatrix(rows, cols, side)
	if err != nil {
		return nil, err
	}
	m := &Matrix{coded: r, layout: r.Layout(), perm: r.Permutation(), zero: r.Zero(), block: rowBlock}
	if rows < 32*rowBlock {
		m.block = rowBlock / 2 // enough blocks for several workers
	}
	m.row = make([]float32, rows)
	r.Side().Row.Expand(m.row)
	own := make([]float32, cols)
	r.Side().Col.Expand(own)
	m.col = make([]float32, m.layout.Padded())
	for j := range cols {
		if m.perm != nil {
			m.col[j] = own[m.perm[j]]
		} else {
			m.col[j] = own[j]
		}
	}
	for i, v := range m.row {
		if math.IsInf(float64(v), 0) {
			return nil, fmt.Errorf("%w: scale of row %d overflows", rans.ErrCorrupt, i)
		}
	}
	for j, v := range m.col {
		if math.IsInf(float64(v), 0) {
			return nil, fmt.Errorf("%w: scale of column %d overflows", rans.ErrCorrupt, j)
		}
	}
	return m, nil
}

// Dims returns rows and columns.
func (m *Matrix) Dims() (rows, cols int) { return m.layout.Rows, m.layout.Cols }

// Attach sets the coded chunks, which the matrix borrows until the next Attach.
func (m *Matrix) Attach(chunks [][]byte) error { return m.coded.Attach(chunks) }

// Coded returns the coded matrix.
func (m *Matrix) Coded() *rans.Matrix { return m.coded }

// ResidentBytes returns what the side information occupies in memory.
func (m *Matrix) ResidentBytes() int64 {
	n := int64(len(m.row)+len(m.col))*4 + int64(m.coded.Side().Classes())*8*256
	return n + int64(len(m.perm))*4 + int64(m.layout.Rows)
}

// activations is a batch of quantised input vectors.
type activations struct {
	n     int
	q     []int8    // n x padded
	scale []float32 // n x panels
	sum   []int32   // n x panels
}

// ones makes the sum of a panel's activations a product.
var ones = func() (w [tile.MaxWidth]uint8) {
	for i := range w {
		w[i] = 1
	}
	return w
}()

// quantise folds the column scales into x and quantises each panel to int8. A
// single vector is not worth a parallel loop.
func (m *Matrix) quantise(ws *Workspace, x []float32, n int) *activations {
	padded, panels, cols := m.layout.Padded(), m.layout.Panels(), m.layout.Cols
	a := &ws.acts
	a.n, a.q, a.scale, a.sum = n, ws.q[:n*padded], ws.scale[:n*panels], ws.sum[:n*panels]
	if n == 1 {
		m.quantiseOne(a, x, ws.worker[0].x, 0)
		return a
	}
	ws.pool.For(n, func(worker, t int) {
		m.quantiseOne(a, x[t*cols:(t+1)*cols], ws.worker[worker].x, t)
	})
	return a
}

// quantiseOne quantises vector t of a batch by way of buf.
func (m *Matrix) quantiseOne(a *activations, x, buf []float32, t int) {
	padded, panels, cols := m.layout.Padded(), m.layout.Panels(), m.layout.Cols
	buf = buf[:padded]
	if m.perm == nil {
		kern.MulInto(buf[:cols], x, m.col[:cols])
	} else {
		for j, p := range m.perm {
			buf[j] = x[p] * m.col[j]
		}
	}
	clear(buf[cols:])
	for p := range panels {
		c0, c1 := m.layout.Columns(p)
		q := a.q[t*padded+c0 : t*padded+c1]
		a.scale[t*panels+p] = kern.QuantizeI8(q, buf[c0:c1])
		kern.DotsU8S8(a.sum[t*panels+p:][:1], ones[:], q, 1, c1-c0)
	}
}

// Row blocks are the units of parallel work on decoded levels: they share out
// the rows of each band, so that no block spans two of them.
const rowBlock = 64

// rowBlocks returns the number of row blocks.
func (m *Matrix) rowBlocks() int {
	last := m.coded.Bands() - 1
	r0, r1 := m.coded.Band(last)
	return last*m.blocksPerBand() + (r1-r0+m.block-1)/m.block
}

// blocksPerBand returns the number of row blocks in a band that is not the last.
func (m *Matrix) blocksPerBand() int {
	r0, r1 := m.coded.Band(0)
	return (r1 - r0 + m.block - 1) / m.block
}

// rowRange returns the rows [lo, hi) of row block b.
func (m *Matrix) rowRange(b int) (lo, hi int) {
	per := m.blocksPerBand()
	r0, r1 := m.coded.Band(b / per)
	lo = r0 + b%per*m.block
	return lo, min(lo+m.block, r1)
}

// blockOf returns the row block of row r.
func (m *Matrix) blockOf(r int) int {
	band := m.coded.Side().Band
	return r/band*m.blocksPerBand() + r%band/m.block
}

// panel multiplies rows [lo, hi), given as levels of panel p, with that panel
// of every vector and adds the products to dst.
func (m *Matrix) panel(dst []float32, a *activations, levels []uint8, sparse []outlier, dots []int32, p, lo, hi int) {
	c0, c1 := m.layout.Columns(p)
	padded, rows := m.layout.Padded(), hi-lo
	sparse = rowOutliers(sparse, p, lo, hi)
	for t := 0; t < a.n; t += tokenBlock {
		n := min(tokenBlock, a.n-t)
		kern.MatMulU8S8(dots[:n*rows], levels, a.q[t*padded+c0:], rows, c1-c0, n, padded)
		for k := range n {
			sums := dots[k*rows : (k+1)*rows]
			m.addOutliers(sums, sparse, a, t+k, lo)
			m.accumulate(dst, a, sums, m.zero, t+k, p, lo, hi)
		}
	}
}

// addOutliers adds the outliers' share of the products with one panel of vector
// t to the sums of rows from lo on.
func (m *Matrix) addOutliers(sums []int32, sparse []outlier, a *activations, t, lo int) {
	q := a.q[t*m.layout.Padded():]
	for i := range sparse {
		o := &sparse[i]
		c0, _ := m.layout.Columns(int(o.panel))
		sums[int(o.row)-lo] += o.delta * int32(q[c0+int(o.col)])
	}
}

// accumulate adds the sums of rows [lo, hi) and panel p to vector t of dst. Panels
// come in ascending order: the first finds nothing there, after the last the
// rows are scaled.
func (m *Matrix) accumulate(dst []float32, a *activations, sums []int32, zero int32, t, p, lo, hi int) {
	panels := m.layout.Panels()
	y := dst[t*m.layout.Rows+lo : t*m.layout.Rows+hi]
	if p == 0 {
		clear(y)
	}
	kern.AccumulateCentered(y, sums, zero*a.sum[t*panels+p], a.scale[t*panels+p])
	if p == panels-1 {
		kern.ScaleRows(y, m.row[lo:hi])
	}
}

// rowOutliers returns the outliers of a panel in rows [lo, hi) of a list that
// is sorted by panel and row.
func rowOutliers(list []outlier, panel, lo, hi int) []outlier {
	if len(list) == 0 {
		return nil
	}
	at := func(row int) int {
		return sort.Search(len(list), func(i int) bool {
			o := &list[i]
			return int(o.panel) > panel || int(o.panel) == panel && int(o.row) >= row
		})
	}
	return list[at(lo):at(hi)]
}
