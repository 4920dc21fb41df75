package kern

func dot(a, b []float32) float32                  { return dotGeneric(a, b) }
func axpy(y []float32, a float32, x []float32)    { axpyGeneric(y, a, x) }
func add(dst, x []float32)                        { addGeneric(dst, x) }
func mul(dst, x, s []float32)                     { mulGeneric(dst, x, s) }
func scaledMul(dst, x, w []float32, s float32)    { scaledMulGeneric(dst, x, w, s) }
func scaleBy(x []float32, s float32)              { scaleByGeneric(x, s) }
func maxOf(x []float32) float32                   { return maxOfGeneric(x) }
func rope(lo, hi, cos, sin []float32)             { ropeGeneric(lo, hi, cos, sin) }
func swiGLU(dst, gate, up []float32)              { swiGLUGeneric(dst, gate, up) }
func f16ToF32(dst []float32, src []uint16)        { f16ToF32Generic(dst, src) }
func f32ToF16(dst []uint16, src []float32)        { f32ToF16Generic(dst, src) }
func absMaxBits(x []float32) uint32               { return absMaxBitsGeneric(x) }
func quantize(dst []int8, x []float32, r float32) { quantizeGeneric(dst, x, r) }

func expInto(dst, x []float32, shift float32) float32 { return expIntoGeneric(dst, x, shift) }

func accumulateScaled(y []float32, d []int32, s float32) { accumulateScaledGeneric(y, d, s) }

func scoresF16(dst, q []float32, k []uint16, stride int) { scoresF16Generic(dst, q, k, stride) }

func weightedSumF16(y, p []float32, v []uint16, stride int) { weightedSumF16Generic(y, p, v, stride) }

func matMulF32(dst, w, x []float32, rows, cols, n int) { matMulF32Generic(dst, w, x, rows, cols, n) }
