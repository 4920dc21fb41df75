package rans

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// maxDelta bounds what an outlier adds to its level, so that a row of int8
// products cannot overflow 32 bits: 256 * 128 * (127 + 2^15) < 2^31.
const maxDelta = 1 << 15

// maxOutliers: at most one weight in so many may be an outlier.
const maxOutliers = 8

// outlier is an entry of a sparse list: what to add at a cell of the panel,
// row * width + column.
type outlier struct {
	cell  uint32
	delta int32
}

// sparseList reads the outliers of a chunk: per panel a count, then for every
// entry the gap to the one before in row-major order and a zigzag delta.
type sparseList struct {
	data  []byte // what is not read yet
	num   int    // number of the panel, for errors
	left  int    // entries of the panel to come
	cells uint32 // of the panel
	cell  uint32 // the first that the next entry may stand for
}

// panel reads the count of panel p, which has the given cells.
func (l *sparseList) panel(p, cells int) error {
	count, n := binary.Uvarint(l.data)
	if n <= 0 {
		return fmt.Errorf("%w: outlier list of panel %d is cut", ErrCorrupt, p)
	}
	if count > uint64(cells)/maxOutliers {
		return fmt.Errorf("%w: %d outliers in %d weights", ErrCorrupt, count, cells)
	}
	*l = sparseList{data: l.data[n:], num: p, left: int(count), cells: uint32(cells)}
	return nil
}

// next reads the next entries of the panel to buf, as many as there are room
// for.
func (l *sparseList) next(buf *[64]outlier) ([]outlier, error) {
	n := min(l.left, len(buf))
	l.left -= n
	data, at, cell := l.data, 0, l.cell
	for k := range buf[:n] {
		var gap, zigzag uint32
		ok := false
		if at+8 <= len(data) {
			// Both numbers from one word, without branches on their lengths: a
			// number ends with the first byte whose top bit is clear.
			w := binary.LittleEndian.Uint64(data[at:])
			ends := ^w & 0x8080808080808080
			a := uint(bits.TrailingZeros64(ends)) + 1
			b := uint(bits.TrailingZeros64(ends&(ends-1))) + 1
			if ok = a <= 24 && b-a <= 24; ok {
				gap = fold(w & (1<<(a&63) - 1))
				zigzag = fold(w & (1<<(b&63) - 1) >> (a & 63))
				at += int(b / 8)
			}
		}
		if !ok { // near the end, or longer than a valid number needs
			g, i := binary.Uvarint(data[at:])
			z, j := uint64(0), 0
			if i > 0 {
				z, j = binary.Uvarint(data[at+i:])
			}
			if i <= 0 || j <= 0 {
				return nil, fmt.Errorf("%w: outlier list of panel %d is cut", ErrCorrupt, l.num)
			}
			gap, zigzag = uint32(min(g, 1<<30)), uint32(min(z, 1<<30))
			at += i + j
		}
		cell += gap
		delta := int32(zigzag>>1) ^ -int32(zigzag&1)
		if cell >= l.cells || delta < -maxDelta || delta > maxDelta {
			return nil, fmt.Errorf("%w: outlier of panel %d at %d with %d", ErrCorrupt, l.num, cell, delta)
		}
		buf[k] = outlier{cell, delta}
		cell++
	}
	l.data, l.cell = data[at:], cell
	return buf[:n], nil
}

// fold joins the three groups of seven bits of a varint.
func fold(w uint64) uint32 {
	return uint32(w&0x7f | w>>1&0x3f80 | w>>2&0x1fc000)
}

// close checks that nothing follows the last panel's list.
func (l *sparseList) close() error {
	if len(l.data) != 0 {
		return fmt.Errorf("%w: %d bytes after the outliers", ErrCorrupt, len(l.data))
	}
	return nil
}

// cut divides cells by the width of a panel, 1 to 4 lane groups, by
// multiplying: exact for the fewer than 2^20 cells of a chunk.
type cut struct{ width, inverse uint32 }

func cutBy(width int) cut { return cut{uint32(width), (1<<16)/uint32(width/Lanes) + 1} }

func (c cut) split(cell uint32) (row, col int) {
	r := cell / Lanes * c.inverse >> 16
	return int(r), int(cell - r*c.width)
}
