//go:build !purego

package kern

import "github.com/lamina-llm/lamina/internal/cpu"

// The cols of these are a multiple of 4, or 8 with AVX-512, and not 0; the rows of
// a tile are even, or a multiple of 4.

//go:noescape
func rowsF64AVX2(dst, w, x *float64, rows, cols, ldw int)

//go:noescape
func tileF64AVX2(dst, w, x *float64, rows, cols, ldd, ldw, ldx int)

//go:noescape
func rowsF64AVX512(dst, w, x *float64, rows, cols, ldw int)

//go:noescape
func tileF64AVX512(dst, w, x *float64, rows, cols, ldd, ldw, ldx int)

func matMulF64(dst []float64, ldd int, w []float64, ldw int, x []float64, ldx int, rows, cols, n int) {
	lanes, high := 4, 2 // numbers of a vector, rows of a tile
	wide := cpu.Active() == cpu.AVX512
	if wide {
		lanes, high = 8, 4
	}
	vec := cols / lanes * lanes
	if vec == 0 || cpu.Active() == cpu.Generic {
		matMulF64Generic(dst, ldd, w, ldw, x, ldx, rows, cols, n)
		return
	}
	whole, t := rows/high*high, 0
	for ; t+4 <= n; t += 4 {
		switch {
		case whole == 0:
		case wide:
			tileF64AVX512(&dst[t*ldd], &w[0], &x[t*ldx], whole, vec, ldd, ldw, ldx)
		default:
			tileF64AVX2(&dst[t*ldd], &w[0], &x[t*ldx], whole, vec, ldd, ldw, ldx)
		}
		if whole < rows {
			for u := t; u < t+4; u++ {
				rowsF64(wide, &dst[u*ldd+whole], &w[whole*ldw], &x[u*ldx], rows-whole, vec, ldw)
			}
		}
	}
	for ; t < n; t++ {
		rowsF64(wide, &dst[t*ldd], &w[0], &x[t*ldx], rows, vec, ldw)
	}
	if vec < cols {
		matMulF64Generic(dst, ldd, w[vec:], ldw, x[vec:], ldx, rows, cols-vec, n)
	}
}

func rowsF64(wide bool, dst, w, x *float64, rows, cols, ldw int) {
	if wide {
		rowsF64AVX512(dst, w, x, rows, cols, ldw)
		return
	}
	rowsF64AVX2(dst, w, x, rows, cols, ldw)
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
