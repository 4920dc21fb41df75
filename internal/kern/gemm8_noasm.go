//go:build purego || !(amd64 || arm64)

package kern

func dotsU8S8(dst []int32, w []byte, x []int8, cols int) { dotsU8S8Generic(dst, w, x, cols) }

func matMulU8S8(dst []int32, w []byte, x []int8, rows, cols, n, ldx int) {
	matMulByDots(dst, w, x, 0, rows, cols, n, ldx)
}
