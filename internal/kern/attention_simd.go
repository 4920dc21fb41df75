//go:build !purego && (amd64 || arm64)

package kern

// The head sizes of these, len(q) and len(y), are multiples of 8.

//go:noescape
func scoresF16SIMD(dst, q []float32, k *uint16, stride int)

//go:noescape
func scoresI8SIMD(dst, q []float32, k *int8, stride int)

//go:noescape
func weightedSumF16SIMD(y, p []float32, v *uint16, stride int)

//go:noescape
func weightedSumI8SIMD(y, p []float32, v *int8, stride int)

// The kernels for four query heads take sizes of the same kind, and an even
// number of keys. The fourth head is row last, 2 or 3.

//go:noescape
func scores4F16SIMD(dst, q *float32, k *uint16, size, keys, stride, ldd, last int)

//go:noescape
func scores4I8SIMD(dst, q *float32, k *int8, size, keys, stride, ldd, last int)

//go:noescape
func weightedSum4F16SIMD(y, p *float32, v *uint16, size, n, stride, ldp, last int)

//go:noescape
func weightedSum4I8SIMD(y, p *float32, v *int8, size, n, stride, ldp, last int)

// scoresVectors does the first whole vectors of the head and returns how many
// elements they hold.
func scoresVectors[E element](dst, q []float32, k []E, stride int) int {
	n := whole(len(q))
	if n == 0 {
		return 0
	}
	switch k := any(&k[0]).(type) {
	case *uint16:
		scoresF16SIMD(dst, q[:n], k, stride)
	case *int8:
		scoresI8SIMD(dst, q[:n], k, stride)
	}
	return n
}

// weightedSumVectors is scoresVectors for the weighted sum.
func weightedSumVectors[E element](y, p []float32, v []E, stride int) int {
	n := whole(len(y))
	if n == 0 {
		return 0
	}
	switch v := any(&v[0]).(type) {
	case *uint16:
		weightedSumF16SIMD(y[:n], p, v, stride)
	case *int8:
		weightedSumI8SIMD(y[:n], p, v, stride)
	}
	return n
}

// hasGroup4 reports whether there are kernels for four query heads of a size.
func hasGroup4(size int) bool { return size%8 == 0 && whole(size) > 0 }

func scores4[E element](dst, q *float32, k *E, size, keys, stride, ldd, last int) {
	switch k := any(k).(type) {
	case *uint16:
		scores4F16SIMD(dst, q, k, size, keys, stride, ldd, last)
	case *int8:
		scores4I8SIMD(dst, q, k, size, keys, stride, ldd, last)
	}
}

func weightedSum4[E element](y, p *float32, v *E, size, n, stride, ldp, last int) {
	switch v := any(v).(type) {
	case *uint16:
		weightedSum4F16SIMD(y, p, v, size, n, stride, ldp, last)
	case *int8:
		weightedSum4I8SIMD(y, p, v, size, n, stride, ldp, last)
	}
}
