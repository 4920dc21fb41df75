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

// rowBlock is the number of rows that one unit of parallel work multiplies.
const rowBlock = 64

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
}

// NewMatrix reads the side information of a matrix coded by "rans1". It keeps
// about 4 bytes per row and column in memory.
func NewMatrix(rows, cols int, side []byte) (*Matrix, error) {
	r, err := rans.NewMatrix(rows, cols, side)
	if err != nil {
		return nil, err
	}
	m := &Matrix{coded: r, layout: r.Layout(), perm: r.Permutation(), zero: r.Zero()}
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

// quantise folds the column scales into x and quantises each panel to int8.
func (m *Matrix) quantise(ws *Workspace, x []float32, n int) *activations {
	padded, panels, cols := m.layout.Padded(), m.layout.Panels(), m.layout.Cols
	a := &ws.acts
	a.n, a.q, a.scale, a.sum = n, ws.q[:n*padded], ws.scale[:n*panels], ws.sum[:n*panels]
	ws.pool.For(n, func(worker, t int) {
		buf, src := ws.worker[worker].x[:padded], x[t*cols:(t+1)*cols]
		if m.perm == nil {
			kern.MulInto(buf[:cols], src, m.col[:cols])
		} else {
			for j, p := range m.perm {
				buf[j] = src[p] * m.col[j]
			}
		}
		clear(buf[cols:])
		for p := range panels {
			c0, c1 := m.layout.Columns(p)
			q := a.q[t*padded+c0 : t*padded+c1]
			a.scale[t*panels+p] = kern.QuantizeI8(q, buf[c0:c1])
			sum := int32(0)
			for _, v := range q {
				sum += int32(v)
			}
			a.sum[t*panels+p] = sum
		}
	})
	return a
}

// finish multiplies n results with the row scales.
func (m *Matrix) finish(ws *Workspace, dst []float32, n int) {
	rows := m.layout.Rows
	const block = 4096
	blocks := (rows + block - 1) / block
	ws.pool.For(n*blocks, func(_, i int) {
		t, r0 := i/blocks, i%blocks*block
		r1 := min(r0+block, rows)
		kern.ScaleRows(dst[t*rows+r0:t*rows+r1], m.row[r0:r1])
	})
}

// rowOutliers returns the outliers of a panel in rows [lo, hi) of a list that
// is sorted by panel and row.
func rowOutliers(list []outlier, panel, lo, hi int) []outlier {
	at := func(row int) int {
		return sort.Search(len(list), func(i int) bool {
			o := &list[i]
			return int(o.panel) > panel || int(o.panel) == panel && int(o.row) >= row
		})
	}
	return list[at(lo):at(hi)]
}
