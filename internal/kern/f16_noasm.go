//go:build purego || !(amd64 || arm64)

package kern

func f16ToF32(dst []float32, src []uint16) { f16ToF32Generic(dst, src) }

func f32ToF16(dst []uint16, src []float32) { f32ToF16Generic(dst, src) }
