package kern

// The paired form holds two rows in a byte, so that vectors of 64 bytes are
// used whole: the upper row's nibble in bits 0, 1, 3 and 4, the lower one's in bits
// 2, 5, 6 and 7. Of each nibble the parity stands in bit 4 and in bit 2; the other
// bits follow in order. Shifted right by two the byte has the lower row's nibble
// in bits 2-2, 5-2, 6-2 and 7-2 and the upper row's parity in bit 2. Bit 2 is where
// the kernels keep states, and it is free in both views: with the quantiser put
// there, the low six bits of either are an index into a table of levels, of which
// one bit does not matter.
//
// The trellis is linear over GF(2), which saves looking states up: with q the
// quantiser of a row and b its parity,
//
//	q[r+2] = q[r+1] ^ q[r] ^ q[r-1] ^ b[r].
//
// A block begins with q[-1], q[0] and q[1] of every group, a bit per column, 8
// bytes each. Every pair of rows then has per group 64 bytes and the planes of
// the upper, then of the lower row. An odd number of rows is filled up.

// pairSeed is the size of what precedes a group in a block.
const pairSeed = 3 * lanes / 8

// linear reports whether next is the trellis above.
func linear(next *[8][2]uint8) bool {
	for s := range uint8(8) {
		for b := range uint8(2) {
			s0, s1, s2 := s&1, s>>1&1, s>>2
			if next[s][b] != s0^s1|(s0^s2^b)<<1|s0<<2 {
				return false
			}
		}
	}
	return true
}

// pairBits is the byte of a pair with nibble k in one of its rows, 0 in the
// other.
func pairBits(k uint8, lower bool) uint8 {
	if lower {
		return k&1<<2 | k>>1<<5
	}
	return k&1<<4 | k>>1&3 | k>>3<<3
}

// makePaired turns to the paired form.
func (t *Nibbles) makePaired() {
	t.paired = true
	for q := range uint8(2) {
		for k := range uint8(16) {
			v := t.level[16*q+k]
			for other := range uint8(2) { // the bit that does not matter
				t.pair[0][pairBits(k, false)|q<<2|other<<5] = v
				t.pair[1][pairBits(k, true)>>2|q<<2|other<<1] = v
			}
		}
	}
}

// pairStates are q[r-1], q[r] and q[r+1] of a group's columns in bit 2.
type pairStates [3][lanes]uint8

// pairSeeds returns the states before the first row of w, and the rows.
func pairSeeds(w []byte, groups int) (states [4]pairStates, rows []byte) {
	for g := range groups {
		for i := range states[g] {
			for l := range lanes {
				states[g][i][l] = w[g*pairSeed+i*lanes/8+l/8] >> (l % 8) & 1 << 2
			}
		}
	}
	return states, w[groups*pairSeed:]
}

// nextPair writes the levels of two rows of one group and moves its states on.
func nextPair(upper, lower *[lanes]uint8, s *pairStates, w []byte, t *Nibbles) {
	for l, z := range w[:lanes] {
		upper[l] = t.pair[0][z&^4&63|s[1][l]]
		lower[l] = t.pair[1][z>>2&^4|s[2][l]]
		a := (s[0][l] ^ s[1][l] ^ s[2][l] ^ z>>2) & 4
		b := (s[1][l] ^ s[2][l] ^ a ^ z) & 4
		s[0][l], s[1][l], s[2][l] = s[2][l], a, b
	}
	for i, row := range [2]*[lanes]uint8{upper, lower} {
		for p := range int(t.planes) {
			bits := w[lanes+(i*int(t.planes)+p)*lanes/8:][:lanes/8]
			for l := range row {
				row[l] += bits[l/8] >> (l % 8) & 1 * t.unit << p
			}
		}
	}
}

func expandPairs(dst, w []byte, rows, groups int, t *Nibbles) {
	states, w := pairSeeds(w, groups)
	var upper, lower [lanes]uint8
	for r := 0; r < rows; r += 2 {
		for g := range groups {
			nextPair(&upper, &lower, &states[g], w, t)
			w = w[2*t.RowBytes(1):]
			copy(dst[(r*groups+g)*lanes:], upper[:])
			if r+1 < rows {
				copy(dst[((r+1)*groups+g)*lanes:], lower[:])
			}
		}
	}
}

func dotsPairs(dst []int32, w []byte, x []int8, groups int, t *Nibbles) {
	states, w := pairSeeds(w, groups)
	var upper, lower [lanes]uint8
	for r := 0; r < len(dst); r += 2 {
		var a, b int32
		for g := range groups {
			nextPair(&upper, &lower, &states[g], w, t)
			w = w[2*t.RowBytes(1):]
			for l, v := range x[g*lanes:][:lanes] {
				a += int32(upper[l]) * int32(v)
				b += int32(lower[l]) * int32(v)
			}
		}
		if dst[r] = a; r+1 < len(dst) {
			dst[r+1] = b
		}
	}
}
