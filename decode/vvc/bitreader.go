package vvc

import "math/bits"

// bitReader reads the fixed-length and Exp-Golomb codes of a raw byte sequence payload (clause 9.2). The first problem
// sticks in err; after it every read returns zero, so that callers check once per syntax structure.
type bitReader struct {
	data []byte
	pos  int // in bits
	err  error
}

func (r *bitReader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// u reads n bits, 0 <= n <= 32, most significant first.
func (r *bitReader) u(n int) uint32 {
	if r.pos+n > 8*len(r.data) {
		r.fail(invalidf("header ends at bit %d", r.pos))
	}
	if r.err != nil {
		return 0
	}
	var v uint64
	first, last := r.pos>>3, (r.pos+n+7)>>3
	for _, b := range r.data[first:last] {
		v = v<<8 | uint64(b)
	}
	v >>= uint(last*8 - r.pos - n)
	r.pos += n
	return uint32(v & (1<<uint(n) - 1))
}

func (r *bitReader) flag() bool { return r.u(1) != 0 }

func (r *bitReader) skip(n int) {
	if n < 0 || r.pos+n > 8*len(r.data) {
		r.fail(invalidf("header ends at bit %d", r.pos))
		return
	}
	r.pos += n
}

// ue reads an unsigned Exp-Golomb code.
func (r *bitReader) ue() uint32 {
	zeros := 0
	for r.err == nil && r.u(1) == 0 {
		if zeros++; zeros > 31 {
			r.fail(invalidf("Exp-Golomb code too long at bit %d", r.pos))
		}
	}
	if r.err != nil {
		return 0
	}
	return 1<<uint(zeros) - 1 + r.u(zeros)
}

func (r *bitReader) se() int {
	k := int(r.ue())
	if k&1 != 0 {
		return (k + 1) >> 1
	}
	return -(k >> 1)
}

// ueMax reads an unsigned Exp-Golomb code that must not exceed limit.
func (r *bitReader) ueMax(name string, limit int) int {
	v := r.ue()
	if int64(v) > int64(limit) {
		r.fail(invalidf("%s is %d, more than %d", name, v, limit))
		return 0
	}
	return int(v)
}

// seRange reads a signed Exp-Golomb code within [lo, hi].
func (r *bitReader) seRange(name string, lo, hi int) int {
	v := r.se()
	if v < lo || v > hi {
		r.fail(invalidf("%s is %d, outside [%d, %d]", name, v, lo, hi))
		return 0
	}
	return v
}

func (r *bitReader) align() { r.pos = (r.pos + 7) &^ 7 }

// ceilLog2 returns the number of bits that hold values below n.
func ceilLog2(n int) int { return bits.Len(uint(max(n, 1) - 1)) }

func log2(n int) int { return bits.Len(uint(n)) - 1 }
