//go:build !purego

package kern

import "github.com/lamina-llm/lamina/internal/cpu"

// The cols of these are a multiple of 4, not 0.

//go:noescape
func rowsF64AVX2(dst, w, x *float64, rows, cols, ldw int)

//go:noescape
func tileF64AVX2(dst, w, x *float64, rows, cols, ldd, ldw, ldx int)

func matMulF64(dst []float64, ldd int, w []float64, ldw int, x []float64, ldx int, rows, cols, n int) {
	vec := cols &^ 3
	if vec == 0 || cpu.Active() == cpu.Generic {
		matMulF64Generic(dst, ldd, w, ldw, x, ldx, rows, cols, n)
		return
	}
	even, t := rows&^1, 0
	for ; t+4 <= n; t += 4 {
		if even > 0 {
			tileF64AVX2(&dst[t*ldd], &w[0], &x[t*ldx], even, vec, ldd, ldw, ldx)
		}
		if even < rows {
			for u := t; u < t+4; u++ {
				rowsF64AVX2(&dst[u*ldd+even], &w[even*ldw], &x[u*ldx], 1, vec, ldw)
			}
		}
	}
	for ; t < n; t++ {
		rowsF64AVX2(&dst[t*ldd], &w[0], &x[t*ldx], rows, vec, ldw)
	}
	if vec < cols {
		matMulF64Generic(dst, ldd, w[vec:], ldw, x[vec:], ldx, rows, cols-vec, n)
	}
}

//go:noescape
func rotateAVX2(z, cs *float64, n int)

func rotate(z, cs []float64, n int) {
	if cpu.Active() == cpu.Generic {
		rotateGeneric(z, cs, n)
		return
	}
	rotateAVX2(&z[0], &cs[0], n)
}
