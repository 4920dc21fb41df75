package rans

import (
	"encoding/binary"
	"fmt"

	"github.com/lamina-llm/lamina/internal/tile"
)

// Scratch is what one call decodes with. It may be reused and must not be
// shared between concurrent calls. The zero value is ready.
type Scratch struct {
	cur  cursor
	args kernelArgs
}

// cursor is the state of a decoder inside a chunk.
type cursor struct {
	lo, hi [tile.MaxGroups][Lanes]uint8 // rANS states, low and high bytes
	dq     [tile.MaxGroups][Lanes]uint8 // trellis states
	pos    [tile.MaxGroups]int          // next byte of each stream
	raw    int                          // next byte of the raw planes
}

// Dots multiplies one chunk with int8 activations: for panel p of the chunk's
// block and row r of its band, dst[p][r] = sum over the panel's columns of
// (level - Zero) * act, exact in int32. act holds the padded, permuted
// activations of the whole matrix; sum[p] is their sum over panel p (of the
// matrix). dst[p] (p counts from the block's first panel) must have room for
// the band's rows rounded up to a multiple of 16.
func (m *Matrix) Dots(i int, act []int8, sum []int32, dst [][]int32, s *Scratch) error {
	return m.walk(i, s, func(p, rows int) error {
		p0, _ := m.Block(i % m.Blocks())
		c0, c1 := m.layout.Columns(p)
		out := dst[p-p0]
		_ = out[:padBlock(rows)]
		return m.rows(i, p, rows, act[c0:c1], -m.Zero()*sum[p], out, nil, s)
	}, func(p, row, col int, delta int32) {
		p0, _ := m.Block(i % m.Blocks())
		c0, _ := m.layout.Columns(p)
		dst[p-p0][row] += delta * int32(act[c0+col])
	})
}

// Levels decodes one chunk to unsigned levels: dst[p] receives panel p of the
// chunk's block row by row, each row as wide as the panel (a multiple of 64),
// with room for whole blocks of 16 rows. Levels are at most 127; outlier is
// called for what must be added to level - Zero at a row of the band and a
// column of panel p (counted from the block's first panel).
func (m *Matrix) Levels(i int, dst [][]uint8, outlier func(p, row, col int, delta int32), s *Scratch) error {
	p0, _ := m.Block(i % m.Blocks())
	return m.walk(i, s, func(p, rows int) error {
		c0, c1 := m.layout.Columns(p)
		out := dst[p-p0]
		_ = out[:padBlock(rows)*(c1-c0)]
		return m.rows(i, p, rows, nil, 0, nil, out, s)
	}, func(p, row, col int, delta int32) { outlier(p-p0, row, col, delta) })
}

// walk decodes the panels of chunk i in order with the same states, checks
// that each stream ends where it should, and goes through the outliers.
func (m *Matrix) walk(i int, s *Scratch, panel func(p, rows int) error, outlier func(p, row, col int, delta int32)) error {
	band, block := i/m.Blocks(), i%m.Blocks()
	r0, r1 := m.Band(band)
	p0, p1 := m.Block(block)
	c, cur, n := &m.chunks[i], &s.cur, m.streams(block)
	if c.data == nil {
		return fmt.Errorf("rans: chunk %d is not attached", i)
	}
	for g := range n {
		copy(cur.lo[g][:], c.states[g*2*Lanes:])
		copy(cur.hi[g][:], c.states[g*2*Lanes+Lanes:])
		cur.pos[g] = c.start[g]
	}
	cur.raw = c.raw
	for p := p0; p < p1; p++ {
		cur.dq = [tile.MaxGroups][Lanes]uint8{}
		if err := panel(p, r1-r0); err != nil {
			return err
		}
	}
	for g := range n {
		if cur.pos[g] != c.end[g] {
			return fmt.Errorf("%w: stream %d ends at byte %d, not %d", ErrCorrupt, g, cur.pos[g], c.end[g])
		}
		for l := range Lanes {
			if cur.lo[g][l] != 0 || cur.hi[g][l] != stateMin>>8 {
				return fmt.Errorf("%w: stream %d lane %d ends in a wrong state", ErrCorrupt, g, l)
			}
		}
	}
	return m.outliers(c.data[c.sparse:], p0, p1, r1-r0, outlier)
}

// outliers reads the sparse lists: per panel a count, then for every outlier
// the gap to the previous one in row-major order and a zigzag delta.
func (m *Matrix) outliers(data []byte, p0, p1, rows int, f func(p, row, col int, delta int32)) error {
	for p := p0; p < p1; p++ {
		c0, c1 := m.layout.Columns(p)
		width := uint64(c1 - c0)
		count, n := binary.Uvarint(data)
		if n <= 0 {
			return fmt.Errorf("%w: outlier list of panel %d is cut", ErrCorrupt, p)
		}
		data = data[n:]
		if count > uint64(rows)*width/maxOutliers {
			return fmt.Errorf("%w: %d outliers in %d rows", ErrCorrupt, count, rows)
		}
		at := uint64(0)
		for range count {
			gap, n := binary.Uvarint(data)
			if n <= 0 {
				return fmt.Errorf("%w: outlier list of panel %d is cut", ErrCorrupt, p)
			}
			delta, k := binary.Varint(data[n:])
			if k <= 0 {
				return fmt.Errorf("%w: outlier list of panel %d is cut", ErrCorrupt, p)
			}
			data = data[n+k:]
			at += gap
			if gap > uint64(rows)*width || at >= uint64(rows)*width || delta < -maxDelta || delta > maxDelta {
				return fmt.Errorf("%w: outlier of panel %d at %d with %d", ErrCorrupt, p, at, delta)
			}
			f(p, int(at/width), int(at%width), int32(delta))
			at++
		}
	}
	if len(data) != 0 {
		return fmt.Errorf("%w: %d bytes after the outliers", ErrCorrupt, len(data))
	}
	return nil
}

// maxDelta bounds what an outlier adds to its level, so that a row of int8
// products cannot overflow 32 bits: 256 * 128 * (127 + 2^15) < 2^31.
const maxDelta = 1 << 15

// maxOutliers: at most one weight in so many may be an outlier.
const maxOutliers = 8
