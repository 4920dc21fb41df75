package kern

func f16ToF32(dst []float32, src []uint16) { f16ToF32Generic(dst, src) }
func f32ToF16(dst []uint16, src []float32) { f32ToF16Generic(dst, src) }

func scoresF16(dst, q []float32, k []uint16, stride int) { scoresF16Generic(dst, q, k, stride) }

func weightedSumF16(y, p []float32, v []uint16, stride int) { weightedSumF16Generic(y, p, v, stride) }

func matMulF32(dst, w, x []float32, rows, cols, n int) { matMulF32Generic(dst, w, x, rows, cols, n) }
