//go:build !purego

package kern

import "github.com/lamina-llm/lamina/internal/cpu"

// Nothing is 0.
//
//go:noescape
func matMulI16NEON(dst *int32, ldd int, a *int16, lda int, panel *int16, lds, rows, strips, cols int, add bool)

func matMulI16(dst []int32, ldd int, a []int16, lda int, panel []int16, lds int, rows, strips, cols int, add bool) {
	if cpu.Active() == cpu.Generic {
		matMulI16Generic(dst, ldd, a, lda, panel, lds, rows, strips, cols, add)
		return
	}
	matMulI16NEON(&dst[0], ldd, &a[0], lda, &panel[0], lds, rows, strips, cols, add)
}

// softenI16 is made of kernels of this tier.
func softenI16(p []int16, x []float32, s []int32, keyScale, valueScale []float32, q float32) (top, sum, unit float32) {
	return softenI16Generic(p, x, s, keyScale, valueScale, q)
}
