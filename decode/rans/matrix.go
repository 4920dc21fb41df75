package rans

import (
	"encoding/binary"
	"fmt"

	"github.com/lamina-llm/lamina/internal/tile"
)

// Slack is the number of bytes past the end of a chunk that vector kernels may
// read (never use). [Matrix.Attach] copies a chunk whose slice has less
// capacity behind it.
const Slack = rowBlock*Lanes + 2*Lanes

// rowBlock is the number of rows between two bounds checks of a vector kernel.
// Output slices are padded to whole blocks.
const rowBlock = 16

// ClassBytes is the memory that the tables of a class take, at most: two of 1 KiB,
// and twice 896 bytes in the layouts of the kernels of amd64.
const ClassBytes = 15 << 8

// padBlock rounds rows up to whole blocks.
func padBlock(rows int) int { return (rows + rowBlock - 1) &^ (rowBlock - 1) }

// Next is the state transition of dependent quantisation, Next[state][parity of
// the index]: the 8-state machine of H.266 and ISO/IEC 15938-17. Odd states use
// quantiser 1.
var Next = [8][2]uint8{{0, 2}, {7, 5}, {1, 3}, {6, 4}, {2, 0}, {5, 7}, {3, 1}, {4, 6}}

// Matrix is a coded matrix: side information and, once attached, chunks. It is
// immutable between calls of Attach and safe for concurrent use then.
type Matrix struct {
	layout tile.Layout
	side   *Side
	tables []slotTable // one per class and quantiser
	vec    vectorTables
	lifted vectorTables // for Walk; see lift.go
	chunks []chunk
	perm   []uint32 // coded column -> matrix column; nil is the identity
}

// chunk is the parsed form of one coded chunk.
type chunk struct {
	r0, rows int // its band's rows
	p0, p1   int // its block's panels
	streams  int // lane groups of the widest panel

	data   []byte // whole chunk, with Slack bytes of capacity behind it
	states []byte // per stream: 64 low bytes, 64 high bytes
	start  [tile.MaxGroups]int
	end    [tile.MaxGroups]int
	raw    int // offset of the raw planes
	sparse int // offset of the outliers
}

// NewMatrix makes a matrix of the given shape from its side information. The
// chunks come later, by Attach.
func NewMatrix(rows, cols int, side []byte) (*Matrix, error) {
	l := tile.Layout{Rows: rows, Cols: cols}
	s, err := ParseSide(side, l)
	if err != nil {
		return nil, err
	}
	m := &Matrix{layout: l, side: s, tables: make([]slotTable, len(s.Tables))}
	for t := range m.tables {
		m.tables[t].fill(s, t)
	}
	m.vec.fill(s)
	up := *s
	up.lift = s.symbolLift()
	m.lifted.fill(&up)
	m.perm = s.permutation(l)
	m.makeChunks()
	return m, nil
}

// makeChunks makes the chunks, without data.
func (m *Matrix) makeChunks() {
	m.chunks = make([]chunk, m.Chunks())
	for i, blocks := 0, m.Blocks(); i < len(m.chunks); i++ {
		c := &m.chunks[i]
		r0, r1 := m.Band(i / blocks)
		c.r0, c.rows = r0, r1-r0
		c.p0, c.p1 = m.Block(i % blocks)
		c.streams = m.streams(i % blocks)
	}
}

// Slice returns bands [b0, b1), at least one, as a matrix of their own, with what
// m knows of them. Its chunks come by its own Attach. Side().Row stays that of m.
func (m *Matrix) Slice(b0, b1 int) *Matrix {
	s, side := *m, *m.side
	r0, _ := m.Band(b0)
	_, r1 := m.Band(b1 - 1)
	s.layout.Rows = r1 - r0
	if side.RowClass != nil {
		side.RowClass = side.RowClass[r0:r1]
	}
	s.side = &side
	s.makeChunks()
	return &s
}

// permutation returns, for every coded column, the matrix column it holds.
func (s *Side) permutation(l tile.Layout) []uint32 {
	if s.Order == nil {
		return nil
	}
	perm := make([]uint32, 0, l.Cols)
	for c := range uint8(MaxClasses) {
		for j, o := range s.Order {
			if o == c {
				perm = append(perm, uint32(j))
			}
		}
	}
	return perm
}

// Layout returns the shape and its cut into panels.
func (m *Matrix) Layout() tile.Layout { return m.layout }

// Side returns the side information; it must not be changed.
func (m *Matrix) Side() *Side { return m.side }

// Permutation returns the matrix column of every coded column, or nil for the
// identity; it must not be changed.
func (m *Matrix) Permutation() []uint32 { return m.perm }

// Zero returns the unsigned level that stands for weight 0.
func (m *Matrix) Zero() int32 { return m.side.Mode.Zero(int(m.side.Planes)) }

// Bands returns the number of row ranges that are coded apart.
func (m *Matrix) Bands() int { return (m.layout.Rows + m.side.Band - 1) / m.side.Band }

// Band returns the rows [r0, r1) of band b.
func (m *Matrix) Band(b int) (r0, r1 int) {
	return b * m.side.Band, min((b+1)*m.side.Band, m.layout.Rows)
}

// Blocks returns the number of chunks in a band.
func (m *Matrix) Blocks() int { return (m.layout.Panels() + m.side.Depth - 1) / m.side.Depth }

// Block returns the panels [p0, p1) of a band's chunk b.
func (m *Matrix) Block(b int) (p0, p1 int) {
	return b * m.side.Depth, min((b+1)*m.side.Depth, m.layout.Panels())
}

// Chunks returns the number of chunks: Bands() * Blocks(), band after band.
func (m *Matrix) Chunks() int { return m.Bands() * m.Blocks() }

// Attach sets the coded chunks. The matrix borrows them until the next Attach.
// Slices with at least Slack bytes of capacity behind their length are used in
// place. It checks every length that decoding relies on and returns an error
// that wraps ErrCorrupt if one is wrong.
func (m *Matrix) Attach(chunks [][]byte) error {
	if len(chunks) != len(m.chunks) {
		return fmt.Errorf("%w: %d chunks, want %d", ErrCorrupt, len(chunks), len(m.chunks))
	}
	for i := range chunks {
		if err := m.parse(i, chunks[i]); err != nil {
			return fmt.Errorf("chunk %d: %w", i, err)
		}
	}
	return nil
}

// AttachChunk sets one chunk alone, for callers that look up single rows.
func (m *Matrix) AttachChunk(i int, data []byte) error {
	if i < 0 || i >= len(m.chunks) {
		return fmt.Errorf("rans: chunk %d of %d", i, len(m.chunks))
	}
	return m.parse(i, data)
}

// streams returns the number of streams in a block: its widest panel's groups.
func (m *Matrix) streams(block int) (n int) {
	p0, p1 := m.Block(block)
	for p := p0; p < p1; p++ {
		g0, g1 := m.layout.Panel(p)
		n = max(n, g1-g0)
	}
	return n
}

// Framing returns the bytes that all chunks together hold beside coded weights
// and outliers: initial states and lengths of the streams.
func (m *Matrix) Framing() int64 {
	n := 0
	for b := range m.Blocks() {
		n += m.streams(b)
	}
	return int64(m.Bands()) * int64(n) * (2*Lanes + 4)
}

// parse reads the header of chunk i.
func (m *Matrix) parse(i int, data []byte) error {
	if cap(data)-len(data) < Slack {
		data = append(make([]byte, 0, len(data)+Slack), data...)
	}
	c := &m.chunks[i]
	c.data = nil // until all has been checked
	n := c.streams
	head := n * (2*Lanes + 4)
	if len(data) < head {
		return fmt.Errorf("%w: %d bytes, the header alone has %d", ErrCorrupt, len(data), head)
	}
	at := head
	for s := range n {
		size := binary.LittleEndian.Uint32(data[n*2*Lanes+4*s:])
		if uint64(size) > uint64(len(data)-at) {
			return fmt.Errorf("%w: stream %d of %d bytes, %d are left", ErrCorrupt, s, size, len(data)-at)
		}
		c.start[s], c.end[s] = at, at+int(size)
		at += int(size)
	}
	g0, _ := m.layout.Panel(c.p0)
	_, g1 := m.layout.Panel(c.p1 - 1)
	c.raw = at
	c.sparse = at + (g1-g0)*c.rows*int(m.side.Planes)*(Lanes/8)
	if c.sparse > len(data) {
		return fmt.Errorf("%w: chunk ends inside its raw planes", ErrCorrupt)
	}
	for s := range n * Lanes {
		g, lane := s/Lanes, s%Lanes
		if data[g*2*Lanes+Lanes+lane] == 0 {
			return fmt.Errorf("%w: initial state of stream %d lane %d is below %d", ErrCorrupt, g, lane, stateMin)
		}
	}
	c.data, c.states = data, data[:n*2*Lanes]
	return nil
}

// classOf returns the class of row i in lane group g.
func (s *Side) classOf(i, g int) int {
	c := 0
	if s.RowClass != nil {
		c = int(s.RowClass[i])
	}
	if s.GroupClass != nil {
		c += int(s.GroupClass[g])
	}
	return c
}
