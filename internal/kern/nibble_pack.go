package kern

import "encoding/binary"

// NibblePacker writes blocks of weights in the form that a [Nibbles] describes.
// It does not change and is safe for concurrent use.
type NibblePacker struct {
	form *Nibbles
	// entry holds, for a state and a level, the nibble in bits 0 to 3, the planes in
	// 4 to 6 and the next state from bit 8 on.
	entry  [8][128]uint16
	before [8]uint8 // a nibble from which the kernels take each state
}

// Packer returns a packer for weights in the form of t.
func (t *Nibbles) Packer() *NibblePacker {
	p := &NibblePacker{form: t}
	for s := range p.entry {
		for k := range 16 {
			to := t.step[2*s+k&1] >> 1 & 7
			p.before[to] = uint8(2*s + k&1)
			for high := range 1 << t.planes {
				v := t.level[16*(s&1)+k] - t.bias + uint8(high)<<t.shift
				p.entry[s][v&127] = uint16(to)<<8 | uint16(high)<<4 | uint16(k)
			}
		}
	}
	return p
}

// Pack writes a block of levels, row by row 64*groups of them, to dst, which
// has BlockBytes. Every level must be one of the form's (without bias); another
// becomes some level. state holds the trellis state of every column, 0 above the
// first row, and is moved on to the next block.
func (p *NibblePacker) Pack(dst []byte, level, state []uint8, rows, groups int) {
	checkBlock(rows, groups)
	width := groups * lanes
	if p.form.paired {
		p.packPairs(dst[:p.form.BlockBytes(rows, groups)], level[:rows*width], state[:width], rows, groups)
		return
	}
	dst, level, state = dst[:p.form.BlockBytes(rows, groups)], level[:rows*width], state[:width]
	for g := range groups {
		s := (*[lanes]uint8)(state[g*lanes:])
		for i := range lanes / 2 {
			dst[g*lanes/2+i] = p.before[s[i]&7] | p.before[s[i+lanes/2]&7]<<4
		}
	}
	dst = dst[groups*lanes/2:]
	per := p.form.RowBytes(1)
	for i := range rows * groups {
		p.packRow(dst[i*per:(i+1)*per], (*[lanes]uint8)(level[i*lanes:]), (*[lanes]uint8)(state[i%groups*lanes:]))
	}
}

// packRow writes one row of one group.
func (p *NibblePacker) packRow(dst []byte, level, state *[lanes]uint8) {
	var high [lanes]uint8
	nibbles := (*[lanes / 2]uint8)(dst)
	for i := range nibbles {
		a := p.entry[state[i]&7][level[i]&127]
		b := p.entry[state[i+lanes/2]&7][level[i+lanes/2]&127]
		nibbles[i] = uint8(a&15 | b<<4)
		high[i], high[i+lanes/2] = uint8(a)>>4, uint8(b)>>4
		state[i], state[i+lanes/2] = uint8(a>>8), uint8(b>>8)
	}
	p.packPlanes(dst[lanes/2:], &high)
}

// packPlanes writes the planes of one row of one group.
func (p *NibblePacker) packPlanes(dst []byte, high *[lanes]uint8) {
	for b := range int(p.form.planes) {
		bits := dst[b*lanes/8:][:lanes/8]
		for j := range bits {
			// The product collects the lowest bits of 8 bytes in its highest byte.
			v := binary.LittleEndian.Uint64(high[8*j:]) >> b & 0x0101010101010101
			bits[j] = uint8(v * 0x0102040810204080 >> 56)
		}
	}
}

// packPairs is Pack in the paired form.
func (p *NibblePacker) packPairs(dst []byte, level, state []uint8, rows, groups int) {
	for l, s := range state {
		// q[r-1], q[r] and q[r+1], see linear.
		g, at := l/lanes, l%lanes
		for i, q := range [3]uint8{s >> 2 & 1, s & 1, s&1 ^ s>>1&1} {
			b := &dst[g*pairSeed+i*lanes/8+at/8]
			if at%8 == 0 {
				*b = 0
			}
			*b |= q << (at % 8)
		}
	}
	dst = dst[groups*pairSeed:]
	width, per := groups*lanes, p.form.RowBytes(1)
	for r := 0; r < rows; r += 2 {
		for g := range groups {
			row := dst[(r*groups+2*g)*per:][:2*per]
			clear(row)
			for i := range min(2, rows-r) {
				p.packPair(row, (*[lanes]uint8)(level[(r+i)*width+g*lanes:]), (*[lanes]uint8)(state[g*lanes:]), i == 1)
			}
		}
	}
}

// packPair adds one row of a pair of rows of one group.
func (p *NibblePacker) packPair(dst []byte, level, state *[lanes]uint8, lower bool) {
	var high [lanes]uint8
	at := lanes
	if lower {
		at += int(p.form.planes) * lanes / 8
	}
	for l := range level {
		e := p.entry[state[l]&7][level[l]&127]
		dst[l] |= pairBits(uint8(e)&15, lower)
		high[l], state[l] = uint8(e)>>4, uint8(e>>8)
	}
	p.packPlanes(dst[at:], &high)
}
