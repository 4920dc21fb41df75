//go:build !purego

package kern

import "github.com/lamina-llm/lamina/internal/cpu"

// The Dot kernels need FEAT_DotProd, the Mul kernels do not. len(x) and cols are
// multiples of 16, not 0.

//go:noescape
func dotsDot(dst []int32, w []byte, x []int8)

//go:noescape
func dotsMul(dst []int32, w []byte, x []int8)

//go:noescape
func tileDot(dst *int32, w *byte, x *int8, rows, cols, ldd, ldx int)

//go:noescape
func tileMul(dst *int32, w *byte, x *int8, rows, cols, ldd, ldx int)

func dotsU8S8(dst []int32, w []byte, x []int8, cols int) {
	switch {
	case cpu.Active() == cpu.Generic || cols == 0:
		dotsU8S8Generic(dst, w, x, cols)
	case cpu.HasDot():
		dotsDot(dst, w, x)
	default:
		dotsMul(dst, w, x)
	}
}

func matMulU8S8(dst []int32, w []byte, x []int8, rows, cols, n, ldx int) {
	done := 0
	if cpu.Active() == cpu.NEON && cols > 0 && n >= 4 {
		done = rows &^ 3
		matMulTiles(dst, w, x, done, rows, cols, n, ldx)
	}
	matMulByDots(dst, w, x, done, rows, cols, n, ldx)
}

// matMulTiles multiplies the first done rows, a multiple of 4, in blocks that
// stay in the first-level cache while all tokens pass over them.
func matMulTiles(dst []int32, w []byte, x []int8, done, rows, cols, n, ldx int) {
	sdot := cpu.HasDot()
	for r := 0; r < done; r += rowBlock {
		m := min(rowBlock, done-r)
		t := 0
		for ; t+4 <= n; t += 4 {
			if sdot {
				tileDot(&dst[t*rows+r], &w[r*cols], &x[t*ldx], m, cols, rows, ldx)
			} else {
				tileMul(&dst[t*rows+r], &w[r*cols], &x[t*ldx], m, cols, rows, ldx)
			}
		}
		for ; t < n; t++ {
			dotsU8S8(dst[t*rows+r:][:m], w[r*cols:(r+m)*cols], x[t*ldx:][:cols], cols)
		}
	}
}
