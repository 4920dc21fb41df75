//go:build !purego

package kern

import "github.com/lamina-llm/lamina/internal/cpu"

// The cols of these are a multiple of 4, or 8 with AVX-512, and not 0; the rows of
// a tile are a multiple of 4 (of 2 is enough with AVX2).

//go:noescape
func rowsF64AVX2(dst, w, x *float64, rows, cols, ldw int)

//go:noescape
func tileF64AVX2(dst, w, x *float64, rows, cols, ldd, ldw, ldx int)

//go:noescape
func rowsF64AVX512(dst, w, x *float64, rows, cols, ldw int)

//go:noescape
func tileF64AVX512(dst, w, x *float64, rows, cols, ldd, ldw, ldx int)

func matMulF64(dst []float64, ldd int, w []float64, ldw int, x []float64, ldx int, rows, cols, n int) {
	lanes, wide := 4, cpu.Active() == cpu.AVX512
	if wide {
		lanes = 8
	}
	vec := cols / lanes * lanes
	if vec == 0 || cpu.Active() == cpu.Generic {
		matMulF64Generic(dst, ldd, w, ldw, x, ldx, rows, cols, n)
		return
	}
	whole, tiled := rows&^3, n&^3
	for t := 0; t < tiled && whole > 0; t += 4 {
		if wide {
			tileF64AVX512(&dst[t*ldd], &w[0], &x[t*ldx], whole, vec, ldd, ldw, ldx)
		} else {
			tileF64AVX2(&dst[t*ldd], &w[0], &x[t*ldx], whole, vec, ldd, ldw, ldx)
		}
	}
	for t := range n {
		from := 0 // rows that were not part of a tile
		if t < tiled {
			from = whole
		}
		switch {
		case from == rows:
		case wide:
			rowsF64AVX512(&dst[t*ldd+from], &w[from*ldw], &x[t*ldx], rows-from, vec, ldw)
		default:
			rowsF64AVX2(&dst[t*ldd+from], &w[from*ldw], &x[t*ldx], rows-from, vec, ldw)
		}
	}
	if vec < cols {
		matMulF64Generic(dst, ldd, w[vec:], ldw, x[vec:], ldx, rows, cols-vec, n)
	}
}

//go:noescape
func rotateAVX2(z, cs *float64, n int)

//go:noescape
func rotateAVX512(z, cs *float64, n int)

func rotate(z, cs []float64, n int) {
	switch cpu.Active() {
	case cpu.Generic:
		rotateGeneric(z, cs, n)
	case cpu.AVX512:
		rotateAVX512(&z[0], &cs[0], n)
	default:
		rotateAVX2(&z[0], &cs[0], n)
	}
}
