//go:build purego || !(amd64 || arm64)

package kern

func matMulF32(dst, w, x []float32, rows, cols, n int) { matMulF32Generic(dst, w, x, rows, cols, n) }
