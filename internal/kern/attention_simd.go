//go:build !purego && (amd64 || arm64)

package kern

// The head sizes of these, len(q) and len(y), are multiples of 8.

//go:noescape
func scoresSIMD(dst, q []float32, k *uint16, stride int)

//go:noescape
func weightedSumSIMD(y, p []float32, v *uint16, stride int)

// The kernels for four query heads take sizes of the same kind, and an even
// number of keys. The fourth head is row last, 2 or 3.

//go:noescape
func scores4SIMD(dst, q *float32, k *uint16, size, keys, stride, ldd, last int)

//go:noescape
func weightedSum4SIMD(y, p *float32, v *uint16, size, n, stride, ldp, last int)

// scoresVectors does the first whole vectors of the head and returns how many
// elements they hold.
func scoresVectors(dst, q []float32, k []uint16, stride int) int {
	n := whole(len(q))
	if n > 0 {
		scoresSIMD(dst, q[:n], &k[0], stride)
	}
	return n
}

// weightedSumVectors is scoresVectors for the weighted sum.
func weightedSumVectors(y, p []float32, v []uint16, stride int) int {
	n := whole(len(y))
	if n > 0 {
		weightedSumSIMD(y[:n], p, &v[0], stride)
	}
	return n
}

// hasGroup4 reports whether there are kernels for four query heads of a size.
func hasGroup4(size int) bool { return size%8 == 0 && whole(size) > 0 }

func scores4(dst, q *float32, k *uint16, size, keys, stride, ldd, last int) {
	scores4SIMD(dst, q, k, size, keys, stride, ldd, last)
}

func weightedSum4(y, p *float32, v *uint16, size, n, stride, ldp, last int) {
	weightedSum4SIMD(y, p, v, size, n, stride, ldp, last)
}
