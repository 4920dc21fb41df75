//go:build !purego

package kern

import "github.com/lamina-llm/lamina/internal/cpu"

// The lengths of these are multiples of 4, and not 0.

//go:noescape
func expIntoNEON(dst, x []float32, shift float32) float32

//go:noescape
func swiGLUNEON(dst, gate, up []float32)

func expLanes() int {
	if cpu.Active() == cpu.Generic {
		return 1
	}
	return 4
}

func expVectors(dst, x []float32, shift float32) float32 { return expIntoNEON(dst, x, shift) }

func swiGLUVectors(dst, gate, up []float32) { swiGLUNEON(dst, gate, up) }
