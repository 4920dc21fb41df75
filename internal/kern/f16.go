package kern

import "math"

// F16ToF32 widens len(dst) IEEE 754 binary16 numbers. Exact; signalling NaNs
// become quiet and keep their payload. src must be at least as long as dst.
func F16ToF32(dst []float32, src []uint16) {
	f16ToF32(dst, src[:len(dst)])
}

// F32ToF16 narrows len(dst) numbers to IEEE 754 binary16, rounding to nearest,
// ties to even; beyond 65504 that gives infinity, below 2^-14 subnormals. NaNs
// become quiet and keep the top of their payload. src must be at least as long
// as dst.
func F32ToF16(dst []uint16, src []float32) {
	f32ToF16(dst, src[:len(dst)])
}

func f16ToF32Generic(dst []float32, src []uint16) {
	src = src[:len(dst)]
	for i := range dst {
		dst[i] = widen(src[i])
	}
}

func f32ToF16Generic(dst []uint16, src []float32) {
	src = src[:len(dst)]
	for i := range dst {
		dst[i] = narrow(src[i])
	}
}

func widen(h uint16) float32 {
	sign, exp, man := uint32(h&0x8000)<<16, uint32(h>>10&31), uint32(h&0x3ff)
	switch {
	case exp == 31 && man != 0:
		return math.Float32frombits(sign | 0x7fc00000 | man<<13)
	case exp == 31:
		return math.Float32frombits(sign | 0x7f800000)
	case exp == 0:
		m := float32(man) * 0x1p-24
		return math.Float32frombits(sign | math.Float32bits(m))
	}
	return math.Float32frombits(sign | (exp+112)<<23 | man<<13)
}

func narrow(f float32) uint16 {
	bits := math.Float32bits(f)
	sign, abs := uint16(bits>>16&0x8000), bits&0x7fffffff
	switch {
	case abs > 0x7f800000:
		return sign | 0x7e00 | uint16(abs>>13&0x1ff)
	case abs >= 0x477ff000: // 65520, halfway to 2^16
		return sign | 0x7c00
	case abs < 0x38800000: // below 2^-14 the spacing is 2^-24, that of 1 in [2^23, 2^24) shifted
		return sign | uint16(math.Float32bits(math.Float32frombits(abs)+0.5)-0x3f000000)
	}
	odd := abs >> 13 & 1
	return sign | uint16((abs+0xfff+odd-112<<23)>>13)
}
