package decode

import (
	"github.com/lamina-llm/lamina/decode/planes"
	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/kern"
)

// form says how the levels of an unpacked matrix are kept: not as such, but as
// the indices that were coded, of which a dependent level follows by the
// trellis. An index takes 4 bits and one per raw plane, or less where few indices
// are far from zero: then a window of them is kept, and an index outside is
// replaced by one of the same parity inside, and an outlier.
type form struct {
	*kern.Nibbles
	mode   rans.Mode
	planes int   // of the window
	base   int   // least index of the window, 0 if it holds them all
	bias   int32 // what the kernels add to every level, so that outliers of either sign have room
	cells  int64 // outliers that are foreseen: those of the window, estimated, or all, counted
}

// maxClipped is the largest part of the weights that a window may leave out: a
// bit less for every weight pays for that many outliers of 32 bits, and for the
// time they take.
const maxClipped = 0.007

// form chooses the narrowest window that suits m, or the one that came with its
// pictures.
func (m *Matrix) form() form {
	var f form
	all := planes.MaxPlanes
	if m.planes != nil {
		side := m.planes.Side()
		f = form{mode: rans.Scalar, planes: int(side.Planes), cells: int64(side.Outside)}
	} else {
		side := m.rans.Side()
		all = int(side.Planes)
		f = form{mode: side.Mode, planes: all}
		out := 0.0
		for f.planes > 0 {
			next := outside(side, f.planes-1)
			if next > maxClipped {
				break
			}
			f.planes, out = f.planes-1, next
		}
		f.cells = int64(1.25 * out * float64(m.layout.Rows) * float64(m.layout.Cols))
	}
	f.base = (rans.Alphabet<<all - rans.Alphabet<<f.planes) / 2
	var level [2][16]uint8
	shift, next, first := 4, (*[8][2]uint8)(nil), f.base
	for q := range level {
		for k := range level[q] {
			level[q][k] = uint8(f.level(f.base+k, q, all > 0))
		}
	}
	if f.mode == rans.DQ {
		shift, next, first = 5, &rans.Next, 2*f.base
	}
	f.bias = int32(maxLevel+1-1<<(shift+f.planes))/2 - int32(first)
	f.Nibbles = kern.NewNibbles(level, next, f.planes, shift, int(f.bias))
	return f
}

// level returns the level of index u in quantiser q.
func (f *form) level(u, q int, raw bool) int {
	switch {
	case f.mode == rans.Scalar:
		return u
	case raw: // 2k - q above the level of zero
		return 2*u + 1 - q
	case u > rans.Alphabet/2: // 2k - sgn(k)*q
		return 2*u - q
	case u < rans.Alphabet/2:
		return 2*u + q
	}
	return 2 * u
}

// outside estimates the part of the weights whose indices a window with fewer
// planes leaves out, from the tables: a symbol of the least frequency
// has on average less than half of it.
func outside(s *rans.Side, planes int) float64 {
	const least = 0.4
	from := rans.Alphabet/2 - rans.Alphabet/2>>(int(s.Planes)-planes)
	sum := 0.0
	for i := range s.Tables {
		for k, n := range s.Tables[i].Freq {
			switch {
			case k >= from && k < rans.Alphabet-from:
			case n == 1:
				sum += least
			default:
				sum += float64(n)
			}
		}
	}
	return sum / 256 / float64(len(s.Tables))
}

// clip brings the levels of one panel of rows from lo on into the window and
// appends what they lose to sparse.
func (f *form) clip(levels []uint8, sparse []outlier, p, lo, width int) []outlier {
	if f.base == 0 {
		return sparse
	}
	step := 0 // log2 of the distance of levels whose indices are neighbours
	if f.mode == rans.DQ {
		step = 1
	}
	size := rans.Alphabet << f.planes
	for i, v := range levels {
		u := int(v>>step) - f.base
		if uint(u) < uint(size) {
			continue
		}
		in := u & 1
		if u >= size {
			in += size - 2
		}
		delta := (u - in) << step
		levels[i] = uint8(int(v) - delta)
		sparse = append(sparse, outlier{int32(p), int32(lo + i/width), int32(i % width), int32(delta)})
	}
	return sparse
}
