//go:build !purego

package kern

import "github.com/lamina-llm/lamina/internal/cpu"

// The Dot kernel needs FEAT_DotProd, the Mul kernel does not.

//go:noescape
func dotsNibblesDot(dst *int32, w *byte, x *int8, rows, groups int, t *Nibbles)

//go:noescape
func dotsNibblesMul(dst *int32, w *byte, x *int8, rows, groups int, t *Nibbles)

//go:noescape
func expandNibblesNEON(dst, w *byte, rows, groups int, t *Nibbles)

func dotsNibbles(dst []int32, w []byte, x []int8, rows, groups int, t *Nibbles) {
	switch {
	case cpu.Active() == cpu.Generic:
		dotsNibblesGeneric(dst, w, x, groups, t)
	case cpu.HasDot():
		dotsNibblesDot(&dst[0], &w[0], &x[0], rows, groups, t)
	default:
		dotsNibblesMul(&dst[0], &w[0], &x[0], rows, groups, t)
	}
}

func expandNibbles(dst, w []byte, rows, groups int, t *Nibbles) {
	if cpu.Active() == cpu.Generic {
		expandNibblesGeneric(dst, w, rows, groups, t)
		return
	}
	expandNibblesNEON(&dst[0], &w[0], rows, groups, t)
}

// pairs reports whether kernels of the paired form run.
func pairs() bool { return false }
