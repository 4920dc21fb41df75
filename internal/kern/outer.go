package kern

// The size of the block that one call of [OuterF32] computes.
const (
	OuterRows = 12
	OuterCols = 32
)

// OuterF32 computes a block of OuterRows x OuterCols of a matrix product as a
// sum of k outer products:
//
//	dst[i*ldd+j] = a[i*sa] * b[j] + a[i*sa+ka] * b[OuterCols+j] + ...
//
// or adds it to dst. sa and ka are the distances in a between rows and between
// terms, so a may be a matrix or its transpose; b is a panel of OuterCols
// columns, term by term. Terms are added in ascending order, with fused
// multiplication on the SIMD tiers: an element does not depend on its place in
// the block. dst overlaps neither a nor b. It panics if a slice is too short.
func OuterF32(dst []float32, ldd int, a []float32, sa, ka int, b []float32, k int, add bool) {
	checkDims(sa, ka, k)
	if ldd < OuterCols {
		panic("kern: rows overlap")
	}
	dst = dst[:(OuterRows-1)*ldd+OuterCols]
	if k == 0 {
		if !add {
			for i := range OuterRows {
				clear(dst[i*ldd:][:OuterCols])
			}
		}
		return
	}
	a, b = a[:(OuterRows-1)*sa+(k-1)*ka+1], b[:k*OuterCols]
	outerF32(dst, ldd, a, sa, ka, b, k, add)
}

func outerF32Generic(dst []float32, ldd int, a []float32, sa, ka int, b []float32, k int, add bool) {
	for i := range OuterRows {
		var sum [OuterCols]float32
		for p := range k {
			f, row := a[i*sa+p*ka], b[p*OuterCols:][:OuterCols]
			for j, v := range row {
				sum[j] += f * v
			}
		}
		row := dst[i*ldd:][:OuterCols]
		if add {
			for j, v := range sum {
				row[j] += v
			}
			continue
		}
		copy(row, sum[:])
	}
}
