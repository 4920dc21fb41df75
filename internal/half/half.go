// Package half reads IEEE 754 binary16 numbers, one at a time: the elements and
// scales of checkpoints. internal/kern converts rows of them.
package half

import "math"

// Float32 returns the value of h, exactly. NaNs keep their payload.
func Float32(h uint16) float32 {
	sign, u := uint32(h&0x8000)<<16, uint32(h&0x7fff)<<13
	if h&0x7c00 == 0x7c00 { // infinity or NaN
		return math.Float32frombits(sign | 0x7f800000 | u)
	}
	// Moving the exponent into place leaves it 112 too small; the multiplication
	// mends that, exactly, for subnormals too.
	f := math.Float32frombits(u) * 0x1p112
	return math.Float32frombits(sign | math.Float32bits(f))
}
