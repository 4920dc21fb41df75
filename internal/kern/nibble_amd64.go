//go:build !purego

package kern

import "github.com/lamina-llm/lamina/internal/cpu"

// One kernel per number of bit planes.

//go:noescape
func dots0AVX512(dst *int32, w *byte, x *int8, rows, groups int, t *Nibbles)

//go:noescape
func dots1AVX512(dst *int32, w *byte, x *int8, rows, groups int, t *Nibbles)

//go:noescape
func dots2AVX512(dst *int32, w *byte, x *int8, rows, groups int, t *Nibbles)

//go:noescape
func dots3AVX512(dst *int32, w *byte, x *int8, rows, groups int, t *Nibbles)

//go:noescape
func expand0AVX512(dst, w *byte, rows, groups int, t *Nibbles)

//go:noescape
func expand1AVX512(dst, w *byte, rows, groups int, t *Nibbles)

//go:noescape
func expand2AVX512(dst, w *byte, rows, groups int, t *Nibbles)

//go:noescape
func expand3AVX512(dst, w *byte, rows, groups int, t *Nibbles)

//go:noescape
func dotsNibblesAVX2(dst *int32, w *byte, x *int8, rows, groups int, t *Nibbles)

//go:noescape
func expandNibblesAVX2(dst, w *byte, rows, groups int, t *Nibbles)

// pairs reports whether kernels of the paired form run.
func pairs() bool { return cpu.Active() == cpu.AVX512 }

func dotsNibbles(dst []int32, w []byte, x []int8, rows, groups int, t *Nibbles) {
	switch tier := cpu.Active(); {
	case tier == cpu.AVX512 && t.paired:
		switch t.planes {
		case 0:
			dots0AVX512(&dst[0], &w[0], &x[0], rows, groups, t)
		case 1:
			dots1AVX512(&dst[0], &w[0], &x[0], rows, groups, t)
		case 2:
			dots2AVX512(&dst[0], &w[0], &x[0], rows, groups, t)
		default:
			dots3AVX512(&dst[0], &w[0], &x[0], rows, groups, t)
		}
	case tier >= cpu.AVX2 && !t.paired:
		dotsNibblesAVX2(&dst[0], &w[0], &x[0], rows, groups, t)
	default:
		dotsNibblesGeneric(dst, w, x, groups, t)
	}
}

func expandNibbles(dst, w []byte, rows, groups int, t *Nibbles) {
	switch tier := cpu.Active(); {
	case tier == cpu.AVX512 && t.paired:
		switch t.planes {
		case 0:
			expand0AVX512(&dst[0], &w[0], rows, groups, t)
		case 1:
			expand1AVX512(&dst[0], &w[0], rows, groups, t)
		case 2:
			expand2AVX512(&dst[0], &w[0], rows, groups, t)
		default:
			expand3AVX512(&dst[0], &w[0], rows, groups, t)
		}
	case tier >= cpu.AVX2 && !t.paired:
		expandNibblesAVX2(&dst[0], &w[0], rows, groups, t)
	default:
		expandNibblesGeneric(dst, w, rows, groups, t)
	}
}
