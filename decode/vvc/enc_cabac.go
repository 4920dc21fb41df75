package vvc

import "math/bits"

// binEncoder is the arithmetic encoder that mirrors cabac (clause 9.3.5): low holds the 9 bits of the interval's lower end
// that the standard's register has, below n bits that are complete but for a carry, and above them the carry.
type binEncoder struct {
	low    uint64
	n      uint
	rng    uint32
	out    []byte
	bins   int // coded so far, of all kinds
	models [numContexts]contextModel
}

// start begins a slice of the given QP.
func (e *binEncoder) start(qp int) {
	var c cabac
	c.initContexts(qp)
	*e = binEncoder{rng: 510, out: e.out[:0], models: c.models}
}

// flush moves complete bytes out of low.
func (e *binEncoder) flush() {
	for e.n >= 32 {
		e.n -= 32
		top := e.low >> (e.n + 9)
		e.low &= 1<<(e.n+9) - 1
		if top>>32 != 0 {
			e.carry()
		}
		e.out = append(e.out, byte(top>>24), byte(top>>16), byte(top>>8), byte(top))
	}
}

// carry adds one to the number that out spells.
func (e *binEncoder) carry() {
	i := len(e.out) - 1
	for ; e.out[i] == 255; i-- {
		e.out[i] = 0
	}
	e.out[i]++
}

// bin codes b with context i.
func (e *binEncoder) bin(i int, b uint32) {
	m := &e.models[i]
	fast, slow := uint32(m.fast), uint32(m.slow)
	p := slow + fast<<4
	mps := p >> 14
	lps := (e.rng>>5)*((p^-mps&0x7fff)>>9)>>1 + 4
	rng := e.rng - lps
	if b != mps {
		e.low += uint64(rng)
		rng = lps
	}
	shift := uint(bits.LeadingZeros32(rng)) - 23
	e.rng = rng << shift
	e.low <<= shift
	e.n += shift
	e.bins++
	if e.n >= 32 {
		e.flush()
	}
	f, s := m.fastShift&15, m.slowShift&15
	m.fast = uint16(fast - fast>>f + (-b&1023)>>f)
	m.slow = uint16(slow - slow>>s + (-b&16383)>>s)
}

func (e *binEncoder) flag(i int, b bool) { e.bin(i, uint32(btoi(b))) }

// bypassBits codes the n low bits of v as equiprobable bins, n <= 32, most significant first.
func (e *binEncoder) bypassBits(v uint32, n int) {
	e.bins += n
	for n > 0 {
		k := min(n, 16)
		n -= k
		e.low = e.low<<k + uint64(v>>n&(1<<k-1))*uint64(e.rng)
		e.n += uint(k)
		if e.n >= 32 {
			e.flush()
		}
	}
}

// terminate codes a terminating bin. A one ends the codeword: the stop bit and zeros up to a byte boundary follow.
func (e *binEncoder) terminate(last bool) {
	e.bins++
	e.rng -= 2
	if !last {
		if e.rng < 256 {
			e.rng <<= 1
			e.low <<= 1
			e.n++
			e.flush()
		}
		return
	}
	e.low = (e.low + uint64(e.rng)) << 7
	e.n += 7
	e.flush()
	// All complete bits and one of the register are sent, then the stop bit.
	v := (e.low>>8)<<1 | 1
	n := e.n + 2
	if v>>n != 0 {
		e.carry()
		v &= 1<<n - 1
	}
	pad := (8 - n&7) & 7
	v <<= pad
	for n += pad; n > 0; n -= 8 {
		e.out = append(e.out, byte(v>>(n-8)))
	}
}

// unaryBypass codes v as a truncated unary number of equiprobable bins (the reverse of truncatedUnaryBypass).
func (e *binEncoder) unaryBypass(v, limit int) {
	for range v {
		e.bypassBits(1, 1)
	}
	if v < limit {
		e.bypassBits(0, 1)
	}
}

// truncatedBinary codes v below n with equiprobable bins (clause 9.3.3.4).
func (e *binEncoder) truncatedBinary(v, n int) {
	k := log2(n)
	short := 1<<(k+1) - n // this many values take only k bins
	if v < short {
		e.bypassBits(uint32(v), k)
	} else {
		e.bypassBits(uint32(v+short), k+1)
	}
}

// remainder codes abs_remainder or dec_abs_level (clause 9.3.3.11): a Golomb-Rice code that turns into an Exp-Golomb code
// after five ones.
func (e *binEncoder) remainder(v, rice int) {
	if v>>rice < 5 {
		q := v >> rice
		e.bypassBits(1<<(q+1)-2, q+1)
		e.bypassBits(uint32(v), rice)
		return
	}
	prefix, length, rest := remainderSuffix(v, rice)
	if prefix == 17 {
		e.bypassBits(1<<17-1, 17)
	} else {
		e.bypassBits(1<<(prefix+1)-2, prefix+1)
	}
	e.bypassBits(uint32(rest), length)
}

// remainderSuffix splits a remainder of at least 5<<rice into the number of leading ones, and length and value of the bits
// after them.
func remainderSuffix(v, rice int) (prefix, length, rest int) {
	extra := log2(v>>rice - 4)
	prefix = min(5+extra, 17)
	length = extra + rice
	if prefix == 17 {
		extra = 12
		length = 15
	}
	return prefix, length, v - (1<<extra+4)<<rice
}

// remainderBits returns the length of the code of v.
func remainderBits(v, rice int) int {
	if q := v >> rice; q < 5 {
		return q + 1 + rice
	}
	prefix, length, _ := remainderSuffix(v, rice)
	return min(prefix+1, 17) + length
}
