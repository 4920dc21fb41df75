//go:build purego || !amd64

package kern

func outerF32(dst []float32, ldd int, a []float32, sa, ka int, b []float32, k int, add bool) {
	outerF32Generic(dst, ldd, a, sa, ka, b, k, add)
}
