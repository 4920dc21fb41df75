//go:build !purego && (amd64 || arm64)

package kern

// The lengths of these are multiples of 8, and not 0.

//go:noescape
func f16ToF32SIMD(dst []float32, src []uint16)

//go:noescape
func f32ToF16SIMD(dst []uint16, src []float32)

func f16ToF32(dst []float32, src []uint16) {
	n := whole(len(dst))
	if n > 0 {
		f16ToF32SIMD(dst[:n], src)
	}
	f16ToF32Generic(dst[n:], src[n:])
}

func f32ToF16(dst []uint16, src []float32) {
	n := whole(len(dst))
	if n > 0 {
		f32ToF16SIMD(dst[:n], src)
	}
	f32ToF16Generic(dst[n:], src[n:])
}
