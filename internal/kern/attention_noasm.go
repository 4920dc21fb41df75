//go:build purego || !(amd64 || arm64)

package kern

func scoresVectors(dst, q []float32, k []uint16, stride int) int { return 0 }

func weightedSumVectors(y, p []float32, v []uint16, stride int) int { return 0 }

// Without assembly there are no kernels for four heads, and these are not called.

func hasGroup4(size int) bool { return false }

func scores4(dst, q *float32, k *uint16, size, keys, stride, ldd, last int) {}

func weightedSum4(y, p *float32, v *uint16, size, n, stride, ldp, last int) {}
