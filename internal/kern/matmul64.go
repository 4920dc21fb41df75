package kern

// MatMulF64 adds n products with one row-major matrix to dst, for the linear
// algebra of package lowrank:
//
//	dst[t*ldd+r] += w[r*ldw : r*ldw+cols] . x[t*ldx : t*ldx+cols]
//
// for t < n and r < rows. ldd, ldw and ldx are the distances between tokens and
// between rows, at least rows, cols and cols. Each element is summed in an order
// that depends on cols alone, so rows and tokens may be divided among calls at
// will. dst overlaps neither w nor x.
func MatMulF64(dst []float64, ldd int, w []float64, ldw int, x []float64, ldx int, rows, cols, n int) {
	checkDims(rows, cols, n)
	if min(rows, cols, n) == 0 {
		return
	}
	if ldd < rows || ldw < cols || ldx < cols {
		panic("kern: rows overlap")
	}
	dst, w, x = dst[:(n-1)*ldd+rows], w[:(rows-1)*ldw+cols], x[:(n-1)*ldx+cols]
	// A block of the matrix stays in the second-level cache while all tokens
	// pass over it.
	for c := 0; c < cols; c += blockCols {
		k := min(blockCols, cols-c)
		if min(rows, n) >= packFrom && (ldw%badStride == 0 || ldx%badStride == 0) {
			packedF64(dst, ldd, w[c:], ldw, x[c:], ldx, rows, k, n)
			continue
		}
		for r := 0; r < rows; r += blockRows {
			matMulF64(dst[r:], ldd, w[r*ldw+c:], ldw, x[c:], ldx, min(blockRows, rows-r), k, n)
		}
	}
}

const (
	blockCols = 256
	blockRows = 64
	badStride = 512 // numbers between rows that all want the same places of a cache
	packFrom  = 64  // rows and tokens for which copies pay
)

// packedF64 is MatMulF64 for at most blockCols columns, with copies of blocks,
// for matrices whose rows lie a multiple of badStride apart.
func packedF64(dst []float64, ldd int, w []float64, ldw int, x []float64, ldx int, rows, cols, n int) {
	var wp, xp [blockRows * blockCols]float64
	for t := 0; t < n; t += blockRows {
		m := min(blockRows, n-t)
		for i := range m {
			copy(xp[i*cols:(i+1)*cols], x[(t+i)*ldx:])
		}
		for r := 0; r < rows; r += blockRows {
			h := min(blockRows, rows-r)
			for i := range h {
				copy(wp[i*cols:(i+1)*cols], w[(r+i)*ldw:])
			}
			matMulF64(dst[t*ldd+r:], ldd, wp[:], cols, xp[:], cols, h, cols, m)
		}
	}
}

func matMulF64Generic(dst []float64, ldd int, w []float64, ldw int, x []float64, ldx int, rows, cols, n int) {
	for r := range rows {
		row := w[r*ldw : r*ldw+cols]
		for t := range n {
			dst[t*ldd+r] += dotF64(row, x[t*ldx:t*ldx+cols])
		}
	}
}

func dotF64(a, b []float64) float64 {
	b = b[:len(a)]
	var s0, s1, s2, s3 float64
	i := 0
	for ; i+4 <= len(a); i += 4 {
		s0 += a[i] * b[i]
		s1 += a[i+1] * b[i+1]
		s2 += a[i+2] * b[i+2]
		s3 += a[i+3] * b[i+3]
	}
	for ; i < len(a); i++ {
		s0 += a[i] * b[i]
	}
	return (s0 + s1) + (s2 + s3)
}
