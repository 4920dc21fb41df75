package kern

import "math"

// minAbsMax is the magnitude below which a vector counts as zero in
// QuantizeI8: the reciprocal of anything smaller would come near overflow.
const minAbsMax = 0x1p-100

// QuantizeI8 quantises a vector symmetrically to int8 and returns the scale that
// undoes it: with m = max|x[i]|,
//
//	scale = m / 127,  dst[i] = round(x[i] * (127 / m)),  i < len(x)
//
// where both divisions and the product are rounded to float32 and round goes to
// the nearest integer, ties to even; dst is within [-127, 127]. Exact.
//
// If m < 2^-100 the scale and all of dst are 0. If x holds a NaN or an infinity
// the scale is NaN and all of dst 0, so that the fault shows in the product.
// dst must be at least as long as x.
func QuantizeI8(dst []int8, x []float32) (scale float32) {
	dst = dst[:len(x)]
	m := math.Float32frombits(absMaxBits(x))
	switch {
	case m-m != 0: // NaN or Inf
		clear(dst)
		return float32(math.NaN())
	case m < minAbsMax:
		clear(dst)
		return 0
	}
	quantize(dst, x, 127/m)
	return m / 127
}

// absMaxBitsGeneric returns the bits of the largest magnitude. As integers
// magnitudes order like numbers, with infinity and the NaNs on top.
func absMaxBitsGeneric(x []float32) uint32 {
	var m uint32
	for _, v := range x {
		m = max(m, math.Float32bits(v)&0x7fffffff)
	}
	return m
}

func quantizeGeneric(dst []int8, x []float32, inv float32) {
	x = x[:len(dst)]
	for i := range dst {
		// The sum rounds to an integer, which its low bits then hold.
		dst[i] = int8(math.Float32bits(float32(x[i]*inv) + 0x1.8p23))
	}
}

// accumulateCenteredGeneric adds to y the sums d of a product whose weights are
// stored with an offset: zero is the offset times the sum of the activations.
// Conversion, product and sum are rounded one after another; the difference must
// not overflow.
func accumulateCenteredGeneric(y []float32, d []int32, zero int32, s float32) {
	d = d[:len(y)]
	for i := range y {
		y[i] += float32(float32(d[i]-zero) * s)
	}
}
