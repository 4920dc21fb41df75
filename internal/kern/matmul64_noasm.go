//go:build purego || !amd64

package kern

func matMulF64(dst []float64, ldd int, w []float64, ldw int, x []float64, ldx int, rows, cols, n int) {
	matMulF64Generic(dst, ldd, w, ldw, x, ldx, rows, cols, n)
}

func rotate(z, cs []float64, n int) { rotateGeneric(z, cs, n) }
