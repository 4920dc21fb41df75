//go:build !purego

package kern

import "github.com/lamina-llm/lamina/internal/cpu"

//go:noescape
func matMulI16AVX2(dst *int32, ldd int, a *int16, lda int, panel *int16, lds, rows, strips, cols int, add bool)

//go:noescape
func matMulI16AVX512(dst *int32, ldd int, a *int16, lda int, panel *int16, lds, rows, strips, cols int, add bool)

// The other operands of these have room for n rounded up to vectors.

//go:noescape
func softenAVX2(p *int16, x *float32, s *int32, keyScale, valueScale *float32, n int, q float32) (top, sum, unit float32)

//go:noescape
func softenAVX512(p *int16, x *float32, s *int32, keyScale, valueScale *float32, n int, q float32) (top, sum, unit float32)

func matMulI16(dst []int32, ldd int, a []int16, lda int, panel []int16, lds int, rows, strips, cols int, add bool) {
	switch cpu.Active() {
	case cpu.AVX512:
		matMulI16AVX512(&dst[0], ldd, &a[0], lda, &panel[0], lds, rows, strips, cols, add)
	case cpu.AVX2:
		matMulI16AVX2(&dst[0], ldd, &a[0], lda, &panel[0], lds, rows, strips, cols, add)
	default:
		matMulI16Generic(dst, ldd, a, lda, panel, lds, rows, strips, cols, add)
	}
}

func softenI16(p []int16, x []float32, s []int32, keyScale, valueScale []float32, q float32) (top, sum, unit float32) {
	switch cpu.Active() {
	case cpu.AVX512:
		return softenAVX512(&p[0], &x[0], &s[0], &keyScale[0], &valueScale[0], len(keyScale), q)
	case cpu.AVX2:
		return softenAVX2(&p[0], &x[0], &s[0], &keyScale[0], &valueScale[0], len(keyScale), q)
	}
	return softenI16Generic(p, x, s, keyScale, valueScale, q)
}
