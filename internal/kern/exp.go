package kern

import "math"

// exp(x) is computed as 2^n * e^r with n = round(x/ln 2) and r = x - n*ln 2, ln 2
// in two parts so that n*ln2Hi is exact (Cody and Waite, 1980), and
//
//	e^r = 1 + r + r^2*(c2 + c3*r + c4*r^2 + c5*r^3 + c6*r^4),  |r| <= ln(2)/2,
//
// whose coefficients level the relative error at the Chebyshev extrema (one step
// of Remez's exchange). The polynomial is within 4.3e-9 of e^r, relatively; with
// float32 rounding the result is within 2 units in the last place on every tier. Below expMin, where
// the result would be subnormal, it is 0; above expMax it is +Inf.
const (
	log2E = 0x1.715476p+0
	ln2Hi = 0x1.62e4p-1
	ln2Lo = 0x1.7f7d1cp-20
	c2    = 0x1.fffffep-2
	c3    = 0x1.55547cp-3
	c4    = 0x1.55563ap-5
	c5    = 0x1.124778p-7
	c6    = 0x1.6c351cp-10

	expMin = -87.33654  // ln 2^-126
	expMax = 88.7228317 // the last float32 whose exponential is finite
)

// ExpInto computes dst[i] = exp(x[i]-shift) for i < len(dst) and returns the sum
// of dst. Each element is within 2 units in the last place of the exponential
// of the rounded difference; a result below 2^-126 is 0. dst may be x, which
// must be at least as long.
func ExpInto(dst, x []float32, shift float32) float32 {
	return expInto(dst, x[:len(dst)], shift)
}

// Softmax replaces x by exp(x[i]-m) / sum_j exp(x[j]-m), where m is the maximum.
// Entries of -Inf become 0; if all are -Inf, all become 0. A NaN or +Inf makes
// every entry NaN.
func Softmax(x []float32) {
	m := Max(x)
	if math.IsInf(float64(m), -1) {
		m = 0 // all masked, or NaNs, which ExpInto passes on
	}
	sum := ExpInto(x, x, m)
	if sum == 0 {
		return
	}
	Scale(x, 1/sum)
}

// SwiGLU computes dst[i] = silu(gate[i]) * up[i] with silu(z) = z / (1 + exp(-z))
// (Shazeer, GLU Variants Improve Transformer, 2020) for i < len(dst). The relative
// error is at most 4 * 2^-23 while gate[i] > -88.7; below that silu, by then
// smaller than 2^-121, is taken as zero. dst may be gate or up; both must be at
// least as long as dst.
func SwiGLU(dst, gate, up []float32) {
	swiGLU(dst, gate[:len(dst)], up[:len(dst)])
}

// The SIMD tiers do whole vectors. What does not fill one goes through the same
// code in a padded vector, so that no exponential depends on its position.

func expInto(dst, x []float32, shift float32) float32 {
	lanes := expLanes()
	if lanes == 1 {
		return expIntoGeneric(dst, x, shift)
	}
	var sum float32
	n := len(dst) &^ (lanes - 1)
	if n > 0 {
		sum = expVectors(dst[:n], x, shift)
	}
	if n < len(dst) {
		var pad [maxExpLanes]float32
		k := copy(pad[:], x[n:])
		expVectors(pad[:], pad[:], shift)
		copy(dst[n:], pad[:k])
		for _, e := range pad[:k] {
			sum += e
		}
	}
	return sum
}

func swiGLU(dst, gate, up []float32) {
	lanes := expLanes()
	if lanes == 1 {
		swiGLUGeneric(dst, gate, up)
		return
	}
	n := len(dst) &^ (lanes - 1)
	if n > 0 {
		swiGLUVectors(dst[:n], gate, up)
	}
	if n < len(dst) {
		var g, u [maxExpLanes]float32
		copy(g[:], gate[n:])
		copy(u[:], up[n:])
		swiGLUVectors(g[:], g[:], u[:])
		copy(dst[n:], g[:])
	}
}

const maxExpLanes = 16

func expGeneric(x float32) float32 {
	switch {
	case x < expMin:
		return 0
	case x > expMax:
		return float32(math.Inf(1))
	case x != x:
		return x
	}
	const magic = 0x1.8p23 // adding it rounds to an integer, ties to even
	n := float32(x*log2E) + magic
	k := math.Float32bits(n) << 23 // the integer, in the place of the exponent
	n -= magic
	r := x - float32(n*ln2Hi)
	r -= n * ln2Lo
	p := ((((c6*r+c5)*r+c4)*r+c3)*r+c2)*r*r + r + 1
	return math.Float32frombits(math.Float32bits(p) + k)
}

func expIntoGeneric(dst, x []float32, shift float32) float32 {
	var sum float32
	for i := range dst {
		e := expGeneric(x[i] - shift)
		dst[i] = e
		sum += e
	}
	return sum
}

func swiGLUGeneric(dst, gate, up []float32) {
	gate, up = gate[:len(dst)], up[:len(dst)]
	for i := range dst {
		dst[i] = gate[i] / (1 + expGeneric(-gate[i])) * up[i]
	}
}
