//go:build purego || !(amd64 || arm64)

package kern

func scoresVectors[E element](dst, q []float32, k []E, stride int) int { return 0 }

func weightedSumVectors[E element](y, p []float32, v []E, stride int) int { return 0 }

// Without assembly there are no kernels for four heads, and these are not called.

func hasGroup4(size int) bool { return false }

func scores4[E element](dst, q *float32, k *E, size, keys, stride, ldd, last int) {}

func weightedSum4[E element](y, p *float32, v *E, size, n, stride, ldp, last int) {}
