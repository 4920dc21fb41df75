//go:build !purego

package kern

import "github.com/lamina-llm/lamina/internal/cpu"

// The assembly takes lengths that are multiples of 8 (dotAVX512: of 16); the
// portable kernels finish what is left over.

//go:noescape
func axpyAVX2(y []float32, a float32, x []float32)

//go:noescape
func addAVX2(dst, x []float32)

//go:noescape
func mulAVX2(dst, x, s []float32)

//go:noescape
func scaledMulAVX2(dst, x, w []float32, s float32)

//go:noescape
func scaleByAVX2(x []float32, s float32)

//go:noescape
func ropeAVX2(lo, hi, cos, sin []float32)

//go:noescape
func accumulateScaledAVX2(y []float32, d []int32, s float32)

//go:noescape
func maxOfAVX2(x []float32) float32

//go:noescape
func absMaxBitsAVX2(x []float32) uint32

//go:noescape
func dotAVX2(a, b []float32) float32

//go:noescape
func dotAVX512(a, b []float32) float32

//go:noescape
func quantizeAVX2(dst []int8, x []float32, inv float32)

// whole returns how many of n elements make whole vectors of 8 for the AVX2
// kernels, which the AVX-512 tier shares; 0 on the generic tier.
func whole(n int) int {
	if cpu.Active() == cpu.Generic {
		return 0
	}
	return n &^ 7
}

func dot(a, b []float32) float32 {
	switch tier := cpu.Active(); {
	case tier == cpu.AVX512 && len(a) >= 16:
		n := len(a) &^ 15
		return dotAVX512(a[:n], b) + dotGeneric(a[n:], b[n:])
	case tier != cpu.Generic && len(a) >= 8:
		n := len(a) &^ 7
		return dotAVX2(a[:n], b) + dotGeneric(a[n:], b[n:])
	}
	return dotGeneric(a, b)
}

func axpy(y []float32, a float32, x []float32) {
	n := whole(len(y))
	if n > 0 {
		axpyAVX2(y[:n], a, x)
	}
	axpyGeneric(y[n:], a, x[n:])
}

func add(dst, x []float32) {
	n := whole(len(dst))
	if n > 0 {
		addAVX2(dst[:n], x)
	}
	addGeneric(dst[n:], x[n:])
}

func mul(dst, x, s []float32) {
	n := whole(len(dst))
	if n > 0 {
		mulAVX2(dst[:n], x, s)
	}
	mulGeneric(dst[n:], x[n:], s[n:])
}

func scaledMul(dst, x, w []float32, s float32) {
	n := whole(len(dst))
	if n > 0 {
		scaledMulAVX2(dst[:n], x, w, s)
	}
	scaledMulGeneric(dst[n:], x[n:], w[n:], s)
}

func scaleBy(x []float32, s float32) {
	n := whole(len(x))
	if n > 0 {
		scaleByAVX2(x[:n], s)
	}
	scaleByGeneric(x[n:], s)
}

func rope(lo, hi, cos, sin []float32) {
	n := whole(len(lo))
	if n > 0 {
		ropeAVX2(lo[:n], hi, cos, sin)
	}
	ropeGeneric(lo[n:], hi[n:], cos[n:], sin[n:])
}

func accumulateScaled(y []float32, d []int32, s float32) {
	n := whole(len(y))
	if n > 0 {
		accumulateScaledAVX2(y[:n], d, s)
	}
	accumulateScaledGeneric(y[n:], d[n:], s)
}

func maxOf(x []float32) float32 {
	n := whole(len(x))
	if n == 0 {
		return maxOfGeneric(x)
	}
	return max(maxOfAVX2(x[:n]), maxOfGeneric(x[n:]))
}

func absMaxBits(x []float32) uint32 {
	n := whole(len(x))
	if n == 0 {
		return absMaxBitsGeneric(x)
	}
	return max(absMaxBitsAVX2(x[:n]), absMaxBitsGeneric(x[n:]))
}

func quantize(dst []int8, x []float32, inv float32) {
	n := whole(len(dst))
	if n > 0 {
		quantizeAVX2(dst[:n], x, inv)
	}
	quantizeGeneric(dst[n:], x[n:], inv)
}
