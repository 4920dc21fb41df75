//go:build purego || !(amd64 || arm64)

package kern

func widenI8(dst []int16, x []int8) { widenI8Generic(dst, x) }

func matMulI16(dst []int32, ldd int, a []int16, lda int, panel []int16, lds int, rows, strips, cols int, add bool) {
	matMulI16Generic(dst, ldd, a, lda, panel, lds, rows, strips, cols, add)
}

func softenI16(p []int16, x []float32, s []int32, keyScale, valueScale []float32, q float32) (top, sum, unit float32) {
	return softenI16Generic(p, x, s, keyScale, valueScale, q)
}

func round16(dst []int16, x []float32, inv float32) { round16Generic(dst, x, inv) }

func merge(y []float32, d []int32, own, unit, other float32) { mergeGeneric(y, d, own, unit, other) }
