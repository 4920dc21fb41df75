package decode

import (
	"github.com/lamina-llm/lamina/decode/planes"
	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/tile"
)

// Workspace is the memory that operators work in. One workspace serves all
// operators of a model, one Apply at a time.
type Workspace struct {
	pool   Pool
	acts   activations
	q      []int8
	scale  []float32
	sum    []int32
	center []int32 // per panel, of a single vector
	dots   []int32
	mid    []float32 // between the products of a factored matrix
	err    []error   // per worker, of the running Apply
	worker []worker
}

// worker is what one worker of the pool works with.
type worker struct {
	scratch rans.Scratch
	picture planes.Scratch
	x       []float32 // one input vector, scaled
	turned  []float32 // one input vector, transformed
	dots    []int32   // panel sums of one chunk, or of a row and a token block
	out     [][]int32
	slab    []uint8 // decoded levels of one chunk
	levels  [][]uint8
	sparse  []outlier
}

// outlier is one entry of a chunk's sparse list.
type outlier struct {
	panel, row, col int32
	delta           int32
}

// Size bounds the operators and batches that a workspace must serve.
type Size struct {
	Batch      int // vectors of one Apply
	Cols       int // of the widest matrix
	ChunkCells int // levels of the largest chunk: rows x padded columns
	Pixels     int // samples of the largest picture; 0 if nothing is coded as pictures
	Turned     int // columns of the widest matrix with a transform
	Middle     int // elements between the products of the widest factored matrix, per vector
}

// GrowFactored raises s so that it also serves f, beside Grow for each of its
// matrices. f must be valid.
func (s *Size) GrowFactored(f *Factors) {
	_, _, width := f.middle()
	s.Middle = max(s.Middle, width)
}

// Grow raises s so that it also serves m.
func (s *Size) Grow(m *Matrix) {
	s.Cols = max(s.Cols, m.layout.Padded())
	s.ChunkCells = max(s.ChunkCells, rowBlock*tile.MaxWidth) // a panel of an unpacked row block
	for b := range m.Blocks() {
		p0, p1 := m.Block(b)
		c0, _ := m.layout.Columns(p0)
		_, c1 := m.layout.Columns(p1 - 1)
		r0, r1 := m.Band(0)
		s.ChunkCells = max(s.ChunkCells, padRows(r1-r0)*(c1-c0))
	}
	if m.transform != nil {
		s.Turned = max(s.Turned, m.layout.Cols)
	}
	if m.planes != nil {
		w, h := m.planes.PictureSize()
		s.Pixels = max(s.Pixels, w*h)
	}
}

// PictureBytes returns the part of Bytes that is allocated only when the first
// picture is decoded.
func (s Size) PictureBytes(workers int) int64 {
	if s.Pixels == 0 {
		return 0
	}
	return int64(workers) * (int64(s.Pixels)*planes.BytesPerSample + planes.FixedBytes)
}

// Bytes returns the memory that a workspace of this size takes with the given
// number of workers.
func (s Size) Bytes(workers int) int64 {
	panels := int64(tile.Layout{Rows: 1, Cols: s.Cols}.Panels())
	n, w := int64(s.Batch), int64(workers)
	return n*int64(s.Cols) + tile.MaxWidth + n*panels*8 + panels*4 + n*int64(s.Middle)*4 + maxDotCells*4 + s.PictureBytes(workers) +
		w*(int64(s.Cols+s.Turned)*4+int64(s.ChunkCells)+int64(s.dotCells())*4)
}

// dotCells is the room for the panel sums of one chunk, and for those of one
// row block and token block, or vector.
func (s Size) dotCells() int {
	panels := tile.Layout{Rows: 1, Cols: s.Cols}.Panels()
	return max(rans.MaxBandPanels, tokenBlock*rowBlock, panels*rowBlock)
}

// NewWorkspace allocates a workspace. The caller has leased Size.Bytes.
func NewWorkspace(pool Pool, s Size) *Workspace {
	panels := tile.Layout{Rows: 1, Cols: s.Cols}.Panels()
	ws := &Workspace{
		pool:   pool,
		q:      make([]int8, s.Batch*s.Cols+tile.MaxWidth),
		scale:  make([]float32, s.Batch*panels),
		sum:    make([]int32, s.Batch*panels),
		center: make([]int32, panels),
		dots:   make([]int32, maxDotCells),
		mid:    make([]float32, s.Batch*s.Middle),
		err:    make([]error, pool.Workers()),
	}
	ws.worker = make([]worker, pool.Workers())
	for i := range ws.worker {
		ws.worker[i] = worker{
			x:      make([]float32, s.Cols),
			turned: make([]float32, s.Turned),
			dots:   make([]int32, s.dotCells()),
			slab:   make([]uint8, s.ChunkCells),
			out:    make([][]int32, 0, tile.MaxGroups),
			levels: make([][]uint8, 0, tile.MaxGroups),
		}
	}
	return ws
}

// fail records the first error of a worker.
func (ws *Workspace) fail(worker int, err error) {
	if ws.err[worker] == nil {
		ws.err[worker] = err
	}
}

// takeErr returns the first error of the last Apply and clears them all.
func (ws *Workspace) takeErr() (err error) {
	for i, e := range ws.err {
		if err == nil {
			err = e
		}
		ws.err[i] = nil
	}
	return err
}

// padRows rounds rows up to whole blocks of the decoder.
func padRows(rows int) int { return (rows + 15) &^ 15 }
