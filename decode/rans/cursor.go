package rans

import (
	"fmt"

	"github.com/lamina-llm/lamina/internal/tile"
)

// Scratch is what one call decodes with. It may be reused and must not be
// shared between concurrent calls. The zero value is ready.
type Scratch struct {
	args *kernelArgs // with the cursor, which vector kernels work on in place
	list [64]outlier
	rest []Outlier // of part
	part Part      // that Walk is at
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
	c, err := m.begin(i, s)
	if err != nil {
		return err
	}
	zero := m.Zero()
	for p := c.p0; p < c.p1; p++ {
		c0, c1 := m.layout.Columns(p)
		out := dst[p-c.p0][:padBlock(c.rows)]
		s.args.dq = [tile.MaxGroups][Lanes]uint8{}
		m.rows(&m.vec, c, p, c.rows, act[c0:c1], -zero*sum[p], out, nil, s)
	}
	list, err := m.end(c, s)
	if err != nil {
		return err
	}
	for p := c.p0; p < c.p1; p++ {
		c0, c1 := m.layout.Columns(p)
		out, act, cut := dst[p-c.p0], act[c0:c1], cutBy(c1-c0)
		if err := list.panel(p, c.rows*(c1-c0)); err != nil {
			return err
		}
		for list.left > 0 {
			part, err := list.next(&s.list)
			if err != nil {
				return err
			}
			for _, o := range part {
				row, col := cut.split(o.cell)
				out[row] += o.delta * int32(act[col])
			}
		}
	}
	return list.close()
}

// Levels decodes one chunk to unsigned levels: dst[p] receives panel p of the
// chunk's block row by row, each row as wide as the panel (a multiple of 64),
// with room for whole blocks of 16 rows. Levels are at most 127; add is
// called for what must be added to level - Zero at a row of the band and a
// column of panel p (counted from the block's first panel).
func (m *Matrix) Levels(i int, dst [][]uint8, add func(p, row, col int, delta int32), s *Scratch) error {
	c, err := m.begin(i, s)
	if err != nil {
		return err
	}
	for p := c.p0; p < c.p1; p++ {
		c0, c1 := m.layout.Columns(p)
		out := dst[p-c.p0][:padBlock(c.rows)*(c1-c0)]
		s.args.dq = [tile.MaxGroups][Lanes]uint8{}
		m.rows(&m.vec, c, p, c.rows, nil, 0, nil, out, s)
	}
	list, err := m.end(c, s)
	if err != nil {
		return err
	}
	for p := c.p0; p < c.p1; p++ {
		c0, c1 := m.layout.Columns(p)
		cut := cutBy(c1 - c0)
		if err := list.panel(p, c.rows*(c1-c0)); err != nil {
			return err
		}
		for list.left > 0 {
			part, err := list.next(&s.list)
			if err != nil {
				return err
			}
			for _, o := range part {
				row, col := cut.split(o.cell)
				add(p-c.p0, row, col, o.delta)
			}
		}
	}
	return list.close()
}

// begin puts the cursor at the start of chunk i.
func (m *Matrix) begin(i int, s *Scratch) (*chunk, error) {
	c := &m.chunks[i]
	if c.data == nil {
		return nil, fmt.Errorf("rans: chunk %d is not attached", i)
	}
	if s.args == nil {
		s.args = new(kernelArgs) // apart, for its alignment
	}
	cur := &s.args.cursor
	for g := range c.streams {
		copy(cur.lo[g][:], c.states[g*2*Lanes:])
		copy(cur.hi[g][:], c.states[g*2*Lanes+Lanes:])
		cur.pos[g] = c.start[g]
	}
	cur.raw = c.raw
	return c, nil
}

// end checks that each stream ended where it should and returns the outliers.
func (m *Matrix) end(c *chunk, s *Scratch) (sparseList, error) {
	cur := &s.args.cursor
	for g := range c.streams {
		if cur.pos[g] != c.end[g] {
			return sparseList{}, fmt.Errorf("%w: stream %d ends at byte %d, not %d", ErrCorrupt, g, cur.pos[g], c.end[g])
		}
		for l := range Lanes {
			if cur.lo[g][l] != 0 || cur.hi[g][l] != stateMin>>8 {
				return sparseList{}, fmt.Errorf("%w: stream %d lane %d ends in a wrong state", ErrCorrupt, g, l)
			}
		}
	}
	return sparseList{data: c.data[c.sparse:]}, nil
}
