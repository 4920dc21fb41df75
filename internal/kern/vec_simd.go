//go:build !purego && (amd64 || arm64)

package kern

import "github.com/lamina-llm/lamina/internal/cpu"

// The assembly takes lengths that are multiples of 8; the portable kernels
// finish what is left over. On x86 it is written for AVX2, which serves the
// AVX-512 tier too: these kernels wait for loads and stores.

//go:noescape
func axpySIMD(y []float32, a float32, x []float32)

//go:noescape
func addSIMD(dst, x []float32)

//go:noescape
func butterflySIMD(lo, hi []float32)

//go:noescape
func mulSIMD(dst, x, s []float32)

//go:noescape
func scaledMulSIMD(dst, x, w []float32, s float32)

//go:noescape
func scaleBySIMD(x []float32, s float32)

//go:noescape
func ropeSIMD(lo, hi, cos, sin []float32)

//go:noescape
func accumulateCenteredSIMD(y []float32, d []int32, zero int32, s float32)

//go:noescape
func maxOfSIMD(x []float32) float32

//go:noescape
func absMaxBitsSIMD(x []float32) uint32

//go:noescape
func dotSIMD(a, b []float32) float32

//go:noescape
func quantizeSIMD(dst []int8, x []float32, inv float32)

// whole returns how many of n elements the assembly takes; 0 on the generic tier.
func whole(n int) int {
	if cpu.Active() == cpu.Generic {
		return 0
	}
	return n &^ 7
}

func dot(a, b []float32) float32 {
	n := whole(len(a))
	if n == 0 {
		return dotGeneric(a, b)
	}
	return dotSIMD(a[:n], b) + dotGeneric(a[n:], b[n:])
}

func axpy(y []float32, a float32, x []float32) {
	n := whole(len(y))
	if n > 0 {
		axpySIMD(y[:n], a, x)
	}
	axpyGeneric(y[n:], a, x[n:])
}

func add(dst, x []float32) {
	n := whole(len(dst))
	if n > 0 {
		addSIMD(dst[:n], x)
	}
	addGeneric(dst[n:], x[n:])
}

// butterfly is for multiples of 8, not 0.
func butterfly(lo, hi []float32) {
	if whole(len(lo)) == 0 {
		butterflyGeneric(lo, hi)
		return
	}
	butterflySIMD(lo, hi)
}

func mul(dst, x, s []float32) {
	n := whole(len(dst))
	if n > 0 {
		mulSIMD(dst[:n], x, s)
	}
	mulGeneric(dst[n:], x[n:], s[n:])
}

func scaledMul(dst, x, w []float32, s float32) {
	n := whole(len(dst))
	if n > 0 {
		scaledMulSIMD(dst[:n], x, w, s)
	}
	scaledMulGeneric(dst[n:], x[n:], w[n:], s)
}

func scaleBy(x []float32, s float32) {
	n := whole(len(x))
	if n > 0 {
		scaleBySIMD(x[:n], s)
	}
	scaleByGeneric(x[n:], s)
}

func rope(lo, hi, cos, sin []float32) {
	n := whole(len(lo))
	if n > 0 {
		ropeSIMD(lo[:n], hi, cos, sin)
	}
	ropeGeneric(lo[n:], hi[n:], cos[n:], sin[n:])
}

func accumulateCentered(y []float32, d []int32, zero int32, s float32) {
	n := whole(len(y))
	if n > 0 {
		accumulateCenteredSIMD(y[:n], d, zero, s)
	}
	accumulateCenteredGeneric(y[n:], d[n:], zero, s)
}

func maxOf(x []float32) float32 {
	n := whole(len(x))
	if n == 0 {
		return maxOfGeneric(x)
	}
	return max(maxOfSIMD(x[:n]), maxOfGeneric(x[n:]))
}

func absMaxBits(x []float32) uint32 {
	n := whole(len(x))
	if n == 0 {
		return absMaxBitsGeneric(x)
	}
	return max(absMaxBitsSIMD(x[:n]), absMaxBitsGeneric(x[n:]))
}

func quantize(dst []int8, x []float32, inv float32) {
	n := whole(len(dst))
	if n > 0 {
		quantizeSIMD(dst[:n], x, inv)
	}
	quantizeGeneric(dst[n:], x[n:], inv)
}
