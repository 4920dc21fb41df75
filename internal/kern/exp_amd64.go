//go:build !purego

package kern

import "github.com/lamina-llm/lamina/internal/cpu"

// The lengths of these are multiples of 8 or 16 elements, and not 0.

//go:noescape
func expIntoAVX2(dst, x []float32, shift float32) float32

//go:noescape
func expIntoAVX512(dst, x []float32, shift float32) float32

//go:noescape
func swiGLUAVX2(dst, gate, up []float32)

//go:noescape
func swiGLUAVX512(dst, gate, up []float32)

func expLanes() int {
	switch cpu.Active() {
	case cpu.AVX512:
		return 16
	case cpu.AVX2:
		return 8
	}
	return 1
}

func expVectors(dst, x []float32, shift float32) float32 {
	if cpu.Active() == cpu.AVX512 {
		return expIntoAVX512(dst, x, shift)
	}
	return expIntoAVX2(dst, x, shift)
}

func swiGLUVectors(dst, gate, up []float32) {
	if cpu.Active() == cpu.AVX512 {
		swiGLUAVX512(dst, gate, up)
	} else {
		swiGLUAVX2(dst, gate, up)
	}
}
