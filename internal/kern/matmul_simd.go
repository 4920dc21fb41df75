//go:build !purego && (amd64 || arm64)

package kern

// The cols of these are a multiple of 8, not 0; rows and tokens are ld elements
// apart in w and x.

//go:noescape
func rowsF32SIMD(dst, w, x *float32, rows, cols, ld int)

//go:noescape
func tileF32SIMD(dst, w, x *float32, rows, cols, ld, ldd int)

// blockF32 is how many weights stay in the second-level cache while all tokens
// pass over them.
const blockF32 = 32 << 10

func matMulF32(dst, w, x []float32, rows, cols, n int) {
	vec := whole(cols)
	if vec == 0 {
		matMulF32Generic(dst, w, x, rows, cols, n)
		return
	}
	block := max(2, blockF32/cols&^1)
	for r := 0; r < rows; r += block {
		m := min(block, rows-r)
		even := m &^ 1
		t := 0
		for ; t+4 <= n; t += 4 {
			if even > 0 {
				tileF32SIMD(&dst[t*rows+r], &w[r*cols], &x[t*cols], even, vec, cols, rows)
			}
			if even < m {
				for u := t; u < t+4; u++ {
					rowsF32SIMD(&dst[u*rows+r+even], &w[(r+even)*cols], &x[u*cols], 1, vec, cols)
				}
			}
		}
		for ; t < n; t++ {
			rowsF32SIMD(&dst[t*rows+r], &w[r*cols], &x[t*cols], m, vec, cols)
		}
	}
	if vec == cols {
		return
	}
	for t := range n {
		for r := range rows {
			dst[t*rows+r] += dotGeneric(w[r*cols+vec:(r+1)*cols], x[t*cols+vec:(t+1)*cols])
		}
	}
}
