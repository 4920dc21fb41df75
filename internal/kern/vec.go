package kern

import "math"

// Dot returns the sum of a[i]*b[i] for i < len(a). b must be at least as long.
//
// The rounding error is at most len(a) * 2^-24 * sum|a[i]*b[i]|, the bound for
// any order of summation (Higham, Accuracy and Stability of Numerical
// Algorithms, 2002, section 3.1); partial sums keep it far below that.
func Dot(a, b []float32) float32 {
	return dot(a, b[:len(a)])
}

// Axpy computes y[i] += a*x[i] for i < len(y). Exact. x must be at least as long as y.
func Axpy(y []float32, a float32, x []float32) {
	axpy(y, a, x[:len(y)])
}

// Add computes dst[i] += x[i] for i < len(dst). Exact. x must be at least as long as dst.
func Add(dst, x []float32) {
	add(dst, x[:len(dst)])
}

// MulInto computes dst[i] = x[i]*s[i] for i < len(dst). Exact. dst may be x or
// s; both must be at least as long as dst.
func MulInto(dst, x, s []float32) {
	mul(dst, x[:len(dst)], s[:len(dst)])
}

// Scale computes x[i] *= s. Exact.
func Scale(x []float32, s float32) {
	scaleBy(x, s)
}

// Max returns the largest element of x. NaNs are passed over; if x is empty or
// has only NaNs the result is -Inf.
func Max(x []float32) float32 {
	return maxOf(x)
}

// maxBlock is how many elements MaxIndex reduces before it looks whether a
// new maximum was among them.
const maxBlock = 1024

// MaxIndex returns the index of the first maximum of x and its value. NaNs are
// passed over; if x is empty or has only NaNs the result is (-1, NaN).
func MaxIndex(x []float32) (int, float32) {
	best, at := float32(math.Inf(-1)), 0
	for i := 0; i < len(x); i += maxBlock {
		if m := maxOf(x[i:min(i+maxBlock, len(x))]); m > best {
			best, at = m, i
		}
	}
	for i, v := range x[at:] {
		if v == best {
			return at + i, v
		}
	}
	return -1, float32(math.NaN())
}

func dotGeneric(a, b []float32) float32 {
	b = b[:len(a)]
	var s0, s1, s2, s3 float32
	i := 0
	for ; i+4 <= len(a); i += 4 {
		s0 += a[i] * b[i]
		s1 += a[i+1] * b[i+1]
		s2 += a[i+2] * b[i+2]
		s3 += a[i+3] * b[i+3]
	}
	for ; i < len(a); i++ {
		s0 += a[i] * b[i]
	}
	return (s0 + s1) + (s2 + s3)
}

// The conversions below forbid the compiler to fuse the product into the sum.

func axpyGeneric(y []float32, a float32, x []float32) {
	x = x[:len(y)]
	for i := range y {
		y[i] += float32(a * x[i])
	}
}

func addGeneric(dst, x []float32) {
	x = x[:len(dst)]
	for i := range dst {
		dst[i] += x[i]
	}
}

func mulGeneric(dst, x, s []float32) {
	x, s = x[:len(dst)], s[:len(dst)]
	for i := range dst {
		dst[i] = x[i] * s[i]
	}
}

func scaleByGeneric(x []float32, s float32) {
	for i := range x {
		x[i] *= s
	}
}

// maxOfGeneric returns the largest element that is not NaN, -Inf if there is none.
func maxOfGeneric(x []float32) float32 {
	m := float32(math.Inf(-1))
	for _, v := range x {
		if v > m {
			m = v
		}
	}
	return m
}
