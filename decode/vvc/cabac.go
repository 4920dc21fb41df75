package vvc

import "math/bits"

// contextModel is one adaptive probability: two estimates of the probability of a one with different windows
// (clause 9.3.4.3.2.2), of 10 and 14 bits.
type contextModel struct {
	fast, slow           uint16
	fastShift, slowShift uint8
}

// cabac is the arithmetic decoding engine of clause 9.3.4.3. value holds the 9-bit offset register of the standard
// followed by n bits read ahead; shifting the range up by n instead of value down saves a normalisation per bin.
type cabac struct {
	value  uint64
	n      uint
	rng    uint32
	data   []byte
	pos    int // next byte of data
	models [numContexts]contextModel
}

// initContexts resets all context models for an I slice of the given QP (clause 9.3.2.2).
func (c *cabac) initContexts(qp int) {
	qp = min(max(qp, 0), 63) - 16
	for i := range c.models {
		init, shift := int(contextInit[i][0]), contextInit[i][1]
		state := min(max(((init>>3-4)*qp>>1)+(init&7)*18+1, 1), 127)
		m := &c.models[i]
		m.fast, m.slow = uint16(state<<3), uint16(state<<7)
		m.fastShift = shift>>2 + 2
		m.slowShift = shift&3 + 3 + m.fastShift
	}
}

// start begins arithmetic decoding at byte pos of the slice data.
func (c *cabac) start(pos int) {
	c.pos = pos
	c.rng = 510
	c.value = 0
	c.n = 0
	for range 5 {
		c.value = c.value<<8 | uint64(c.next())
	}
	c.n = 40 - 9
}

func (c *cabac) next() byte {
	c.pos++
	if c.pos > len(c.data) {
		return 0
	}
	return c.data[c.pos-1]
}

// refill adds four bytes to the bits read ahead; past the end of data it adds zeros, which overrun tells.
func (c *cabac) refill() {
	if p := c.pos; p+4 <= len(c.data) {
		d := c.data[p : p+4]
		c.value = c.value<<32 | uint64(d[0])<<24 | uint64(d[1])<<16 | uint64(d[2])<<8 | uint64(d[3])
		c.pos += 4
	} else {
		for range 4 {
			c.value = c.value<<8 | uint64(c.next())
		}
	}
	c.n += 32
}

// end returns the byte position after the arithmetic codeword, once the terminating bin was one.
func (c *cabac) end() int { return c.pos - int(c.n/8) }

// overrun reports whether decoding consumed bits beyond the end of the data.
func (c *cabac) overrun() bool { return c.end() > len(c.data)+1 }

// bin decodes one bin with context i.
func (c *cabac) bin(i int) uint32 {
	m := &c.models[i]
	fast, slow := uint32(m.fast), uint32(m.slow)
	p := slow + fast<<4
	bin := p >> 14
	rng := c.rng
	lps := (rng>>5)*((p^-bin&0x7fff)>>9)>>1 + 4
	if c.n < 8 {
		c.refill()
	}
	rng -= lps
	// Half of all bins are unpredictable: a mask selects between the subintervals instead of a branch.
	scaled := uint64(rng) << (c.n & 63)
	less := uint64(int64(c.value-scaled) >> 63) // all ones for the more probable symbol
	c.value -= scaled &^ less
	rng = lps ^ (lps^rng)&uint32(less)
	bin ^= uint32(^less) & 1
	shift := uint(bits.LeadingZeros32(rng)) - 23
	c.rng = rng << (shift & 31)
	c.n -= shift
	f, s := m.fastShift&15, m.slowShift&15
	m.fast = uint16(fast - fast>>f + (-bin&1023)>>f)
	m.slow = uint16(slow - slow>>s + (-bin&16383)>>s)
	return bin
}

func (c *cabac) flag(i int) bool { return c.bin(i) != 0 }

// bypass decodes one equiprobable bin.
func (c *cabac) bypass() uint32 {
	if c.n == 0 {
		c.refill()
	}
	c.n--
	if scaled := uint64(c.rng) << (c.n & 63); c.value >= scaled {
		c.value -= scaled
		return 1
	}
	return 0
}

// bypassBits decodes n equiprobable bins, n <= 32, most significant first.
func (c *cabac) bypassBits(n int) uint32 {
	if n == 0 {
		return 0
	}
	if n > 16 { // more could overflow value
		hi := c.bypassBits(n - 16)
		return hi<<16 | c.bypassBits(16)
	}
	if c.n < uint(n) {
		c.refill()
	}
	c.n -= uint(n)
	scaled := uint64(c.rng) << (c.n & 63)
	if n == 1 {
		if c.value >= scaled {
			c.value -= scaled
			return 1
		}
		return 0
	}
	// The bins are the digits of value divided by the scaled range.
	q := c.value / scaled
	c.value -= q * scaled
	return uint32(q)
}

// terminate decodes a terminating bin.
func (c *cabac) terminate() bool {
	if c.n < 8 {
		c.refill()
	}
	c.rng -= 2
	if c.value >= uint64(c.rng)<<(c.n&63) {
		return true
	}
	if c.rng < 256 {
		c.rng <<= 1
		c.n--
	}
	return false
}

// truncatedBinary decodes a value below n with equiprobable bins (clause 9.3.3.4).
func (c *cabac) truncatedBinary(n int) int {
	k := log2(n)
	u := 1<<(k+1) - n
	v := int(c.bypassBits(k))
	if v >= u {
		v = v<<1 + int(c.bypass()) - u
	}
	return v
}

// truncatedUnaryBypass decodes a unary value of at most limit with equiprobable bins.
func (c *cabac) truncatedUnaryBypass(limit int) int {
	v := 0
	for v < limit && c.bypass() != 0 {
		v++
	}
	return v
}

// remainder decodes abs_remainder or dec_abs_level with Rice parameter rice (clause 9.3.3.11).
func (c *cabac) remainder(rice int) int { return c.limitedGolomb(rice, 5, 15) }

// limitedGolomb decodes a Golomb-Rice code that turns into an Exp-Golomb code after cutoff ones; the last prefix is
// followed by rangeBits bits (clause 9.3.3.7).
func (c *cabac) limitedGolomb(rice, cutoff, rangeBits int) int {
	maxPrefix := 32 - rangeBits
	prefix := 0
	for prefix < maxPrefix && c.bypass() != 0 {
		prefix++
	}
	if prefix < cutoff {
		return prefix<<rice + int(c.bypassBits(rice))
	}
	length := prefix - cutoff + rice
	if prefix == maxPrefix {
		length = rangeBits
	}
	return (1<<(prefix-cutoff)+cutoff-1)<<rice + int(c.bypassBits(length))
}

// expGolomb decodes an Exp-Golomb code of order k with equiprobable bins (clause 9.3.3.5).
func (c *cabac) expGolomb(k int) int {
	v := 0
	for c.bypass() != 0 {
		v += 1 << k
		if k++; k >= 24 {
			return v
		}
	}
	return v + int(c.bypassBits(k))
}
