//go:build !purego

package kern

// The length of a is a multiple of 8.
//
//go:noescape
func dotNEON(a, b []float32) float32

func dot(a, b []float32) float32 {
	n := whole(len(a))
	if n == 0 {
		return dotGeneric(a, b)
	}
	return dotNEON(a[:n], b) + dotGeneric(a[n:], b[n:])
}
