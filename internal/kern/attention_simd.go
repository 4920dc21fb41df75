//go:build !purego && (amd64 || arm64)

package kern

import "github.com/lamina-llm/lamina/internal/cpu"

// The sizes of these are multiples of 8 or 16, and nothing is 0. On x86 they are
// written for AVX2, which serves the AVX-512 tier too.

//go:noescape
func packKeysI16(dst, k *int16, size, stride int)

//go:noescape
func packKeysI8(dst *int16, k *int8, size, stride int)

//go:noescape
func packValuesI16(dst *int16, lds int, v *int16, n, strips, stride int)

//go:noescape
func packValuesI8(dst *int16, lds int, v *int8, n, strips, stride int)

//go:noescape
func round16SIMD(dst []int16, x []float32, inv float32)

//go:noescape
func mergeSIMD(y []float32, d []int32, own, unit, other float32)

// packKeysVectors does as many elements as fill vectors and returns their number.
func packKeysVectors[E int8 | int16](dst []int16, k []E, size, stride int) int {
	n := whole(size)
	if n == 0 {
		return 0
	}
	switch k := any(&k[0]).(type) {
	case *int16:
		packKeysI16(&dst[0], k, n, stride)
	case *int8:
		packKeysI8(&dst[0], k, n, stride)
	}
	return n
}

// packValuesVectors does whole strips, if the tier can.
func packValuesVectors[E int8 | int16](dst []int16, lds int, v []E, n, strips, stride int) bool {
	if cpu.Active() == cpu.Generic {
		return false
	}
	switch v := any(&v[0]).(type) {
	case *int16:
		packValuesI16(&dst[0], lds, v, n, strips, stride)
	case *int8:
		packValuesI8(&dst[0], lds, v, n, strips, stride)
	}
	return true
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
