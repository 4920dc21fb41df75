//go:build !purego && (amd64 || arm64)

package kern

// The lengths of these are multiples of 8, not 0. On x86 they are written for AVX2,
// which serves the AVX-512 tier too.

//go:noescape
func widenI8SIMD(dst []int16, x []int8)

//go:noescape
func round16SIMD(dst []int16, x []float32, inv float32)

//go:noescape
func mergeSIMD(y []float32, d []int32, own, unit, other float32)

func widenI8(dst []int16, x []int8) {
	n := whole(len(dst))
	if n > 0 {
		widenI8SIMD(dst[:n], x)
	}
	widenI8Generic(dst[n:], x[n:])
}

func round16(dst []int16, x []float32, inv float32) {
	n := whole(len(dst))
	if n > 0 {
		round16SIMD(dst[:n], x, inv)
	}
	round16Generic(dst[n:], x[n:], inv)
}

func merge(y []float32, d []int32, own, unit, other float32) {
	n := whole(len(y))
	if n > 0 {
		mergeSIMD(y[:n], d, own, unit, other)
	}
	mergeGeneric(y[n:], d[n:], own, unit, other)
}
