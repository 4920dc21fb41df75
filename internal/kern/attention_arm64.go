//go:build !purego

package kern

// The head sizes of these, len(q) and len(y), are multiples of 8.

//go:noescape
func scoresNEON(dst, q []float32, k *uint16, stride int)

//go:noescape
func weightedSumNEON(y, p []float32, v *uint16, stride int)

// scoresVectors does the first whole vectors of the head and returns how many
// elements they hold.
func scoresVectors(dst, q []float32, k []uint16, stride int) int {
	n := whole(len(q))
	if n > 0 {
		scoresNEON(dst, q[:n], &k[0], stride)
	}
	return n
}

// weightedSumVectors is scoresVectors for the weighted sum.
func weightedSumVectors(y, p []float32, v []uint16, stride int) int {
	n := whole(len(y))
	if n > 0 {
		weightedSumNEON(y[:n], p, &v[0], stride)
	}
	return n
}
