//go:build !purego

package kern

import "github.com/lamina-llm/lamina/internal/cpu"

// The head sizes of these, len(q) and len(y), are multiples of 8 and 16.

//go:noescape
func scoresAVX2(dst, q []float32, k *uint16, stride int)

//go:noescape
func scoresAVX512(dst, q []float32, k *uint16, stride int)

//go:noescape
func weightedSumAVX2(y, p []float32, v *uint16, stride int)

//go:noescape
func weightedSumAVX512(y, p []float32, v *uint16, stride int)

// The kernels for four query heads take sizes of the same kind, and a multiple of 4
// keys. The fourth head is row last, 2 or 3.

//go:noescape
func scores4AVX2(dst, q *float32, k *uint16, size, keys, stride, ldd, last int)

//go:noescape
func scores4AVX512(dst, q *float32, k *uint16, size, keys, stride, ldd, last int)

//go:noescape
func weightedSum4AVX2(y, p *float32, v *uint16, size, n, stride, ldp, last int)

//go:noescape
func weightedSum4AVX512(y, p *float32, v *uint16, size, n, stride, ldp, last int)

// scoresVectors does the first whole vectors of the head and returns how many
// elements they hold.
func scoresVectors(dst, q []float32, k []uint16, stride int) int {
	switch tier := cpu.Active(); {
	case tier == cpu.AVX512 && len(q) >= 16:
		n := len(q) &^ 15
		scoresAVX512(dst, q[:n], &k[0], stride)
		return n
	case tier != cpu.Generic && len(q) >= 8:
		n := len(q) &^ 7
		scoresAVX2(dst, q[:n], &k[0], stride)
		return n
	}
	return 0
}

// weightedSumVectors is scoresVectors for the weighted sum.
func weightedSumVectors(y, p []float32, v []uint16, stride int) int {
	switch tier := cpu.Active(); {
	case tier == cpu.AVX512 && len(y) >= 16:
		n := len(y) &^ 15
		weightedSumAVX512(y[:n], p, &v[0], stride)
		return n
	case tier != cpu.Generic && len(y) >= 8:
		n := len(y) &^ 7
		weightedSumAVX2(y[:n], p, &v[0], stride)
		return n
	}
	return 0
}

// hasGroup4 reports whether there are kernels for four query heads of a size.
func hasGroup4(size int) bool {
	switch cpu.Active() {
	case cpu.AVX512:
		return size%16 == 0
	case cpu.AVX2:
		return size%8 == 0
	}
	return false
}

func scores4(dst, q *float32, k *uint16, size, keys, stride, ldd, last int) {
	if cpu.Active() == cpu.AVX512 {
		scores4AVX512(dst, q, k, size, keys, stride, ldd, last)
	} else {
		scores4AVX2(dst, q, k, size, keys, stride, ldd, last)
	}
}

func weightedSum4(y, p *float32, v *uint16, size, n, stride, ldp, last int) {
	if cpu.Active() == cpu.AVX512 {
		weightedSum4AVX512(y, p, v, size, n, stride, ldp, last)
	} else {
		weightedSum4AVX2(y, p, v, size, n, stride, ldp, last)
	}
}
