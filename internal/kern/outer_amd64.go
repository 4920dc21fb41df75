//go:build !purego

package kern

import "github.com/lamina-llm/lamina/internal/cpu"

// 12 rows and 32 columns. Distances are in bytes.
//
//go:noescape
func outerAVX512(dst, a, b *float32, k, ldd, sa, ka int, add bool)

// 6 rows and 16 columns of a panel of 32. Distances are in bytes.
//
//go:noescape
func outerAVX2(dst, a, b *float32, k, ldd, sa, ka int, add bool)

func outerF32(dst []float32, ldd int, a []float32, sa, ka int, b []float32, k int, add bool) {
	switch cpu.Active() {
	case cpu.AVX512:
		outerAVX512(&dst[0], &a[0], &b[0], k, 4*ldd, 4*sa, 4*ka, add)
	case cpu.AVX2:
		for i := 0; i < OuterRows; i += 6 {
			for j := 0; j < OuterCols; j += 16 {
				outerAVX2(&dst[i*ldd+j], &a[i*sa], &b[j], k, 4*ldd, 4*sa, 4*ka, add)
			}
		}
	default:
		outerF32Generic(dst, ldd, a, sa, ka, b, k, add)
	}
}
