//go:build !purego

package kern

import "github.com/lamina-llm/lamina/internal/cpu"

//go:noescape
func dotsAVX2(dst []int32, w []byte, x []int8)

//go:noescape
func dotsAVX512(dst []int32, w []byte, x []int8)

//go:noescape
func tileAVX2(dst *int32, w *byte, x *int8, rows, cols, ldd, ldx int)

//go:noescape
func packAVX512(dst, w *byte, cols, ld int)

//go:noescape
func tileAVX512(dst *int32, pack *byte, x *int8, cols, n, ldd, ldx, sum int)

func dotsU8S8(dst []int32, w []byte, x []int8, cols int) {
	switch cpu.Active() {
	case cpu.AVX512:
		dotsAVX512(dst, w, x)
	case cpu.AVX2:
		dotsAVX2(dst, w, x)
	default:
		dotsU8S8Generic(dst, w, x, cols)
	}
}

func matMulU8S8(dst []int32, w []byte, x []int8, rows, cols, n, ldx int) {
	done := 0
	switch tier := cpu.Active(); {
	case cols == 0:
	case tier == cpu.AVX512 && n >= packTokens:
		done = rows &^ 31
		matMulPacked(dst, w, x, done, rows, cols, n, ldx)
	case tier == cpu.AVX2 && n >= 4:
		done = rows &^ 1
		matMulTiles(dst, w, x, done, rows, cols, n, ldx)
	}
	matMulByDots(dst, w, x, done, rows, cols, n, ldx)
}

const (
	packCols   = 256 // columns of 32 rows that are packed together: 8 KiB, which each call clears
	packTokens = 4   // fewer tokens do not pay for the packing
)

// matMulPacked multiplies the first done rows, a multiple of 32. It transposes
// 32 rows so that each 32-bit lane of a vector holds 4 columns of one row:
// then no sum has to be taken across lanes.
func matMulPacked(dst []int32, w []byte, x []int8, done, rows, cols, n, ldx int) {
	var pack [32 * packCols]byte
	for r := 0; r < done; r += 32 {
		for c := 0; c < cols; c += packCols {
			m := min(packCols, cols-c)
			packAVX512(&pack[0], &w[r*cols+c], m, cols)
			packAVX512(&pack[64], &w[(r+16)*cols+c], m, cols)
			tileAVX512(&dst[r], &pack[0], &x[c], m, n, rows, ldx, c)
		}
	}
}

// matMulTiles multiplies the first done rows, an even number, in blocks that
// stay in the first-level cache while all tokens pass over them.
func matMulTiles(dst []int32, w []byte, x []int8, done, rows, cols, n, ldx int) {
	for r := 0; r < done; r += rowBlock {
		m := min(rowBlock, done-r)
		t := 0
		for ; t+4 <= n; t += 4 {
			tileAVX2(&dst[t*rows+r], &w[r*cols], &x[t*ldx], m, cols, rows, ldx)
		}
		for ; t < n; t++ {
			dotsAVX2(dst[t*rows+r:][:m], w[r*cols:], x[t*ldx:][:cols])
		}
	}
}
