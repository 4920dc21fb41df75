package kern

// DotsU8S8 computes dst[r] = sum_i w[r*cols+i] * x[i] for r < rows. Exact.
//
// w is row-major and holds weights in [0, 127] (a larger byte gives an
// undefined result, which differs between tiers); cols is a multiple of 64 and
// at most 131072, so that no sum overflows.
func DotsU8S8(dst []int32, w []byte, x []int8, rows, cols int) {
	checkPanel(rows, cols, 0)
	dotsU8S8(dst[:rows], w[:rows*cols], x[:cols], cols)
}

// MatMulU8S8 computes n products with one panel of int8 weights:
// dst[t*rows+r] = sum_i w[r*cols+i] * x[t*ldx+i] for t < n and r < rows. Exact.
//
// w and cols are as for [DotsU8S8]; ldx >= cols is the distance between tokens
// in x. The kernel passes over w once, in blocks that stay in the first-level
// cache while all tokens use them; it is fastest with rows a multiple of 32.
func MatMulU8S8(dst []int32, w []byte, x []int8, rows, cols, n, ldx int) {
	checkPanel(rows, cols, n)
	if ldx < cols {
		panic("kern: tokens overlap")
	}
	if n == 0 {
		return
	}
	matMulU8S8(dst[:n*rows], w[:rows*cols], x[:(n-1)*ldx+cols], rows, cols, n, ldx)
}

func checkPanel(rows, cols, n int) {
	checkDims(rows, cols, n)
	if cols%64 != 0 || cols > 1<<17 {
		panic("kern: cols must be a multiple of 64, at most 131072")
	}
}

func dotsU8S8Generic(dst []int32, w []byte, x []int8, cols int) {
	for r := range dst {
		row := w[r*cols:][:len(x)]
		var s0, s1 int32
		for i := 0; i < len(x); i += 2 {
			s0 += int32(row[i]) * int32(x[i])
			s1 += int32(row[i+1]) * int32(x[i+1])
		}
		dst[r] = s0 + s1
	}
}

// rowBlock is how many rows matMulByDots hands every token before it goes on:
// 32 rows of 512 columns are 16 KiB.
const rowBlock = 32

// matMulByDots is MatMulU8S8 in terms of the one-vector kernel, for the rows
// from first on.
func matMulByDots(dst []int32, w []byte, x []int8, first, rows, cols, n, ldx int) {
	for r := first; r < rows; r += rowBlock {
		m := min(rowBlock, rows-r)
		for t := range n {
			dotsU8S8(dst[t*rows+r:][:m], w[r*cols:(r+m)*cols], x[t*ldx:][:cols], cols)
		}
	}
}
