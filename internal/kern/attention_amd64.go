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
