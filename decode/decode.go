// Package decode multiplies with coded matrices: y = W x straight from the
// bitstream for one vector, or through a small scratch of decoded levels for
// many. It also holds matrices that were decoded once and are kept, and multiplies
// slice by slice with those of which only a part is in memory at a time.
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

	"github.com/lamina-llm/lamina/decode/planes"
	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/kern"
	"github.com/lamina-llm/lamina/internal/tile"
)

// Pool runs f(worker, i) for i in [0, n) and waits. No two concurrent calls
// share a worker.
type Pool interface {
	// Workers returns the number of workers, at least one.
	Workers() int
	// For runs the n parts and returns when all are done.
	For(n int, f func(worker, i int))
}

// tokenBlock is the number of vectors that a row block is multiplied with at a
// time: their sums stay in the second-level cache.
const tokenBlock = 128

// maxDotCells bounds the int32 cells that hold panel sums of one vector when
// chunks are the unit of work: 1 MiB.
const maxDotCells = 1 << 18

// maxLevel is the largest level that every kernel multiplies.
const maxLevel = 127

// chunked is how a matrix is cut into chunks, each a band of rows of a block of
// panels, and where their bytes are.
type chunked interface {
	Bands() int
	Band(b int) (r0, r1 int)
	Blocks() int
	Block(b int) (p0, p1 int)
	Chunks() int
	Attach(chunks [][]byte) error
	AttachChunk(i int, data []byte) error
}

// Matrix is what the operators need of a coded matrix beside its chunks.
type Matrix struct {
	chunked // one of the next two
	rans    *rans.Matrix
	planes  *planes.Matrix

	layout tile.Layout
	row    []float32 // scale of each row
	col    []float32 // scale of each coded column; 0 in the padding
	perm   []uint32  // matrix column of each coded column; nil is the identity
	zero   int32

	transform *Transform // of the input vectors; nil is none

	check func(chunk int) error // before a chunk is decoded; nil is none

	first int   // its first row in the matrix of which it is a slice, or 0
	start []int // first column of each panel; one more at the end

	low     []int32 // first row of each row block; one more at the end
	perBand int     // row blocks of a band that is not the last
	step    int     // rows of a block
}

// NewMatrix reads the side information of a matrix coded by "rans1". It keeps
// about 4 bytes per row and column in memory.
func NewMatrix(rows, cols int, side []byte) (*Matrix, error) {
	r, err := rans.NewMatrix(rows, cols, side)
	if err != nil {
		return nil, err
	}
	m := &Matrix{chunked: r, rans: r, layout: r.Layout(), perm: r.Permutation(), zero: r.Zero()}
	return m, m.scales(&r.Side().Row, &r.Side().Col, rans.ErrCorrupt)
}

// NewPlanes is NewMatrix for a matrix coded by "vvc1". Its chunks are pictures,
// which take thousands of times longer to decode: it is meant to be unpacked.
func NewPlanes(rows, cols int, side []byte) (*Matrix, error) {
	r, err := planes.NewMatrix(rows, cols, side)
	if err != nil {
		return nil, err
	}
	m := &Matrix{chunked: r, planes: r, layout: r.Layout(), zero: planes.ZeroLevel}
	return m, m.scales(&r.Side().Row, &r.Side().Col, planes.ErrCorrupt)
}

// scales finishes a new matrix. A scale that overflows gives the error corrupt.
func (m *Matrix) scales(row, col *rans.Scales, corrupt error) error {
	rows, cols := m.Dims()
	m.shareRows()
	for p := range m.layout.Panels() {
		c0, _ := m.layout.Columns(p)
		m.start = append(m.start, c0)
	}
	m.start = append(m.start, m.layout.Padded())
	m.row = make([]float32, rows)
	row.Expand(m.row)
	own := make([]float32, cols)
	col.Expand(own)
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
			return fmt.Errorf("%w: scale of row %d overflows", corrupt, i)
		}
	}
	for j, v := range m.col {
		if math.IsInf(float64(v), 0) {
			return fmt.Errorf("%w: scale of column %d overflows", corrupt, j)
		}
	}
	return nil
}

// CheckChunks has check called for every chunk right before it is decoded, by the
// worker that decodes it and finds it in its cache then. Calls are concurrent for
// different chunks. What check returns is what the product returns. A nil check is
// none, as after NewMatrix.
func (m *Matrix) CheckChunks(check func(chunk int) error) { m.check = check }

// Dims returns rows and columns.
func (m *Matrix) Dims() (rows, cols int) { return m.layout.Rows, m.layout.Cols }

// Rans returns the matrix coded by "rans1", or nil.
func (m *Matrix) Rans() *rans.Matrix { return m.rans }

// Planes returns the matrix coded by "vvc1", or nil.
func (m *Matrix) Planes() *planes.Matrix { return m.planes }

// ResidentBytes returns what the side information occupies in memory.
func (m *Matrix) ResidentBytes() int64 {
	n := int64(len(m.row)+len(m.col)) * 4
	if m.rans != nil {
		n += int64(m.rans.Side().Classes()) * rans.ClassBytes
	}
	if m.transform != nil {
		n += int64(m.layout.Cols) * 4
	}
	return n + int64(len(m.perm))*4 + int64(m.layout.Rows)
}

// activations is a batch of quantised input vectors.
type activations struct {
	n     int
	ld    int       // distance of the vectors of the result
	q     []int8    // n x padded, and room for one panel of full width behind it
	scale []float32 // n x panels
	sum   []int32   // n x panels
}

// centers writes what the level zero of weight 0 adds to every sum of the only
// vector's panels.
func (a *activations) centers(dst []int32, zero int32) []int32 {
	dst = dst[:len(a.sum)]
	for p, s := range a.sum {
		dst[p] = zero * s
	}
	return dst
}

// leastElements is how many elements are worth a parallel loop when they are
// quantised: a few microseconds of one worker.
const leastElements = 1 << 14

// ones makes the sum of a panel's activations a product.
var ones = func() (w [tile.MaxWidth]uint8) {
	for i := range w {
		w[i] = 1
	}
	return w
}()

// quantise folds the column scales into n vectors, which begin ldx elements
// apart in x, and quantises each panel to int8. A single vector is not worth a
// parallel loop. The vectors of the result are to begin ldy elements apart.
func (m *Matrix) quantise(ws *Workspace, x []float32, ldx, ldy, n int) *activations {
	padded, panels, cols := m.start[m.panels()], m.panels(), m.layout.Cols
	a := &ws.acts
	a.n, a.ld = n, ldy
	a.q, a.scale, a.sum = ws.q[:n*padded+tile.MaxWidth], ws.scale[:n*panels], ws.sum[:n*panels]
	if n == 1 || n*padded < leastElements {
		for t := range n {
			m.quantiseOne(a, x[t*ldx:t*ldx+cols], &ws.worker[0], t)
		}
		return a
	}
	ws.pool.For(n, func(worker, t int) {
		m.quantiseOne(a, x[t*ldx:t*ldx+cols], &ws.worker[worker], t)
	})
	return a
}

// columns returns the coded columns [c0, c1) of panel p.
func (m *Matrix) columns(p int) (c0, c1 int) { return m.start[p], m.start[p+1] }

// panels returns the number of panels.
func (m *Matrix) panels() int { return len(m.start) - 1 }

// quantiseOne quantises x, vector t of a batch, by way of w's vectors.
func (m *Matrix) quantiseOne(a *activations, x []float32, w *worker, t int) {
	padded, panels, cols := m.start[m.panels()], m.panels(), m.layout.Cols
	buf := w.x[:padded]
	if m.transform != nil {
		m.transform.Apply(w.turned, x)
		x = w.turned
	}
	if m.perm == nil {
		kern.MulInto(buf[:cols], x, m.col[:cols])
	} else {
		for j, p := range m.perm {
			buf[j] = x[p] * m.col[j]
		}
	}
	clear(buf[cols:])
	for p := range panels {
		c0, c1 := m.columns(p)
		q := a.q[t*padded+c0 : t*padded+c1]
		a.scale[t*panels+p] = kern.QuantizeI8(q, buf[c0:c1])
		kern.DotsU8S8(a.sum[t*panels+p:][:1], ones[:], q, 1, c1-c0)
	}
}

// Row blocks are the units of parallel work on decoded levels: they share out
// the rows of each band, so that no block spans two of them.
const rowBlock = 64

// shareRows fixes the row blocks.
func (m *Matrix) shareRows() {
	step := rowBlock
	if m.layout.Rows < 32*rowBlock {
		step /= 2 // enough blocks for several workers
	}
	for band := range m.Bands() {
		r0, r1 := m.Band(band)
		for r := r0; r < r1; r += step {
			m.low = append(m.low, int32(r))
		}
		if band == 0 {
			m.perBand = len(m.low)
		}
	}
	m.low = append(m.low, int32(m.layout.Rows))
	m.step = step
}

// rowBlocks returns the number of row blocks.
func (m *Matrix) rowBlocks() int { return len(m.low) - 1 }

// rowRange returns the rows [lo, hi) of row block b.
func (m *Matrix) rowRange(b int) (lo, hi int) { return int(m.low[b]), int(m.low[b+1]) }

// bandBlocks returns the row blocks [b0, b1) of a band.
func (m *Matrix) bandBlocks(band int) (b0, b1 int) {
	return band * m.perBand, min((band+1)*m.perBand, m.rowBlocks())
}

// blockOf returns the row block of row r.
func (m *Matrix) blockOf(r int) int {
	_, band := m.Band(0)
	return r/band*m.perBand + r%band/m.step
}

// panel multiplies rows [lo, hi), given as levels of panel p above the level
// zero of weight 0, with that panel of every vector and adds the products to dst.
func (m *Matrix) panel(dst []float32, a *activations, levels []uint8, zero int32, sparse []outlier, dots []int32, p, lo, hi int) {
	c0, c1 := m.columns(p)
	padded, rows := m.start[m.panels()], hi-lo
	for t := 0; t < a.n; t += tokenBlock {
		n := min(tokenBlock, a.n-t)
		q, sums := a.q[t*padded+c0:], m.sums(a, dots, zero, t, n, p, lo, hi)
		if len(sparse) == 0 {
			sums.MatMulTo(dst[t*a.ld+lo:], a.ld, levels, q, c1-c0, padded)
			continue
		}
		kern.MatMulU8S8(dots[:n*rows], levels, q, rows, c1-c0, n, padded)
		for _, o := range sparse {
			for k := range n {
				dots[k*rows+int(o.row)-lo] += o.delta * int32(q[k*padded+int(o.col)])
			}
		}
		sums.AddTo(dst[t*a.ld+lo:], a.ld)
	}
}

// accumulate adds the sums of rows [lo, hi) and panel p to n vectors of dst from
// vector t on.
func (m *Matrix) accumulate(dst []float32, a *activations, dots []int32, zero int32, t, n, p, lo, hi int) {
	sums := m.sums(a, dots, zero, t, n, p, lo, hi)
	sums.AddTo(dst[t*a.ld+lo:], a.ld)
}

// sums returns what becomes of the sums of rows [lo, hi) and panel p with n vectors
// from vector t on. Panels come in ascending order: the first finds no results,
// after the last the rows are scaled.
func (m *Matrix) sums(a *activations, dots []int32, zero int32, t, n, p, lo, hi int) kern.Sums {
	panels := m.panels()
	sums := kern.Sums{
		D: dots, Rows: hi - lo, N: n, Zero: zero,
		Sum: a.sum[t*panels+p:], Scale: a.scale[t*panels+p:], Ld: panels, First: p == 0,
	}
	if p == panels-1 {
		sums.Row = m.row[lo:hi]
	}
	return sums
}

// patch adds an outlier to its level if the kernels can multiply the sum.
func patch(level *uint8, delta int32) bool {
	v := int32(*level) + delta
	if v < 0 || v > maxLevel {
		return false
	}
	*level = uint8(v)
	return true
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
