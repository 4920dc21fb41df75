package kern

// MatMulF32 computes n products with one row-major matrix:
// dst[t*rows+r] = w[r*cols : (r+1)*cols] . x[t*cols : (t+1)*cols] for t < n and
// r < rows. Each element is summed in an order that depends on cols alone, so
// rows and tokens may be divided among calls at will. The rounding error is that
// of [Dot].
func MatMulF32(dst, w, x []float32, rows, cols, n int) {
	checkDims(rows, cols, n)
	matMulF32(dst[:n*rows], w[:rows*cols], x[:n*cols], rows, cols, n)
}

// checkDims panics when a dimension is negative, since a product of two
// negative ones would pass for a length.
func checkDims(a, b, c int) {
	if min(a, b, c) < 0 {
		panic("kern: negative dimension")
	}
}

func matMulF32Generic(dst, w, x []float32, rows, cols, n int) {
	for r := range rows {
		row := w[r*cols : (r+1)*cols]
		for t := range n {
			dst[t*rows+r] = dotGeneric(row, x[t*cols:(t+1)*cols])
		}
	}
}
