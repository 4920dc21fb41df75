//go:build purego || !(amd64 || arm64)

package kern

func dotsNibbles(dst []int32, w []byte, x []int8, rows, groups int, t *Nibbles) {
	dotsNibblesGeneric(dst, w, x, groups, t)
}

func expandNibbles(dst, w []byte, rows, groups int, t *Nibbles) {
	expandNibblesGeneric(dst, w, rows, groups, t)
}

// pairs reports whether kernels of the paired form run.
func pairs() bool { return false }
