package kern

// lanes is the number of columns in a lane group.
const lanes = 64

// Nibbles says what weights of four bits and more stand for that are kept in
// memory for repeated use: the low four bits k of a weight choose one of 16
// levels, from the table of one of two quantisers; further bits, in planes of
// their own, add to it. Which quantiser is in use may depend on the weights
// above in the same column, by a trellis of 8 states as in dependent
// quantisation (H.266, ISO/IEC 15938-17): the parity of k chooses the next state,
// and odd states use quantiser 1. So dependent levels, which take 5 bits each,
// are kept in the 4 that are new.
//
// Weights come in blocks of some rows and of up to 4 groups of 64 columns. A
// block begins with 32 bytes per group, nibbles from which the states before the
// first row follow; then each row has per group 32 bytes of nibbles (byte i
// holds column i in its low half, column i+32 in its high half) and 8 bytes per
// plane, from low to high, where bit i of byte j is column 8*j+i.
//
// That is the split form. Where the AVX-512 kernels run, the paired form of
// nibble_pair.go takes its place, so what was packed belongs to the process.
//
// The zero value is of no use; a Nibbles does not change and is safe for
// concurrent use. The assembly knows the order of the fields.
type Nibbles struct {
	level  [32]uint8    // of nibble k in quantiser q, bias included: level[16*q+k]
	step   [16]uint8    // code of the state that parity b leads to from state s: step[2*s+b]
	shift  uint64       // log2(unit)
	unit   uint8        // what a bit of the lowest plane adds
	planes uint8        // 0 to 3
	bias   uint8        // what was added to the levels
	paired bool         // the form
	pair   [2][64]uint8 // level by what the kernels of the paired form find in a byte, for either row of a pair
}

// code is how the kernels hold state s of a column: bits that select the row of
// the step table, and above them the quantiser.
func code(s uint8) uint8 { return s&1<<4 | s<<1 }

// NewNibbles describes weights with the given levels per quantiser and nibble,
// and planes (at most 3) bit planes of which the lowest adds 2^shift. A nil
// next is for one quantiser without states. The kernels add bias to every
// level; no sum may exceed 127.
func NewNibbles(level [2][16]uint8, next *[8][2]uint8, planes, shift, bias int) *Nibbles {
	if planes < 0 || planes > 3 {
		panic("kern: at most 3 bit planes")
	}
	t := &Nibbles{shift: uint64(shift), unit: 1 << shift, planes: uint8(planes), bias: uint8(bias)}
	for q := range level {
		for k, v := range level[q] {
			t.level[16*q+k] = v + t.bias
		}
	}
	if next != nil {
		for s := range next {
			t.step[2*s], t.step[2*s+1] = code(next[s][0]), code(next[s][1])
		}
	}
	if pairs() && (next == nil || linear(next)) {
		t.makePaired()
	}
	return t
}

// RowBytes returns the size of one row of the given number of lane groups, in a
// block of an even number of rows.
func (t *Nibbles) RowBytes(groups int) int { return groups * (lanes/2 + int(t.planes)*lanes/8) }

// BlockBytes returns the size of a block of the given rows and lane groups.
func (t *Nibbles) BlockBytes(rows, groups int) int {
	if t.paired {
		return groups*pairSeed + (rows+1)/2*2*t.RowBytes(groups)
	}
	return groups*lanes/2 + rows*t.RowBytes(groups)
}

// DotsNibbles computes dst[r] = sum over the columns of (level + bias) * x for
// the rows of a block; x has 64 elements per group. Exact.
func DotsNibbles(dst []int32, w []byte, x []int8, rows, groups int, t *Nibbles) {
	checkBlock(rows, groups)
	if rows > 0 {
		dotsNibbles(dst[:rows], w[:t.BlockBytes(rows, groups)], x[:groups*lanes], rows, groups, t)
	}
}

// ExpandNibbles writes level + bias of a block to dst, row by row, one byte each.
func ExpandNibbles(dst, w []byte, rows, groups int, t *Nibbles) {
	checkBlock(rows, groups)
	if rows > 0 {
		expandNibbles(dst[:rows*groups*lanes], w[:t.BlockBytes(rows, groups)], rows, groups, t)
	}
}

func checkBlock(rows, groups int) {
	if rows < 0 || groups < 1 || groups > 4 {
		panic("kern: block of impossible size")
	}
}

// nibbleStates returns the state codes before the first row of w and the rows.
func nibbleStates(w []byte, groups int, t *Nibbles) (codes [4][lanes]uint8, rows []byte) {
	for g := range groups {
		for i, b := range w[g*lanes/2:][:lanes/2] {
			codes[g][i], codes[g][i+lanes/2] = t.step[b&15], t.step[b>>4]
		}
	}
	return codes, w[groups*lanes/2:]
}

// nextNibbles writes the levels of one row of one group and moves their codes on.
func nextNibbles(dst, codes *[lanes]uint8, w []byte, t *Nibbles) {
	for i, b := range w[:lanes/2] {
		lo, hi := &codes[i], &codes[i+lanes/2]
		dst[i], dst[i+lanes/2] = t.level[*lo&16|b&15], t.level[*hi&16|b>>4]
		*lo, *hi = t.step[*lo&14|b&1], t.step[*hi&14|b>>4&1]
	}
	for p := range int(t.planes) {
		bits := w[lanes/2+p*lanes/8:][:lanes/8]
		for l := range dst {
			dst[l] += bits[l/8] >> (l % 8) & 1 * t.unit << p
		}
	}
}

func expandNibblesGeneric(dst, w []byte, rows, groups int, t *Nibbles) {
	if t.paired {
		expandPairs(dst, w, rows, groups, t)
		return
	}
	codes, w := nibbleStates(w, groups, t)
	for i := range rows * groups {
		nextNibbles((*[lanes]uint8)(dst[i*lanes:]), &codes[i%groups], w[i*t.RowBytes(1):], t)
	}
}

func dotsNibblesGeneric(dst []int32, w []byte, x []int8, groups int, t *Nibbles) {
	if t.paired {
		dotsPairs(dst, w, x, groups, t)
		return
	}
	codes, w := nibbleStates(w, groups, t)
	var level [lanes]uint8
	for r := range dst {
		sum := int32(0)
		for g := range groups {
			nextNibbles(&level, &codes[g], w[(r*groups+g)*t.RowBytes(1):], t)
			for l, v := range x[g*lanes:][:lanes] {
				sum += int32(level[l]) * int32(v)
			}
		}
		dst[r] = sum
	}
}
