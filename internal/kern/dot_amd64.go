//go:build !purego

package kern

import "github.com/lamina-llm/lamina/internal/cpu"

// The lengths of these are multiples of 8 and 16.

//go:noescape
func dotAVX2(a, b []float32) float32

//go:noescape
func dotAVX512(a, b []float32) float32

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
