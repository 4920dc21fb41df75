//go:build purego || !(amd64 || arm64)

package kern

func dot(a, b []float32) float32                  { return dotGeneric(a, b) }
func axpy(y []float32, a float32, x []float32)    { axpyGeneric(y, a, x) }
func add(dst, x []float32)                        { addGeneric(dst, x) }
func butterfly(lo, hi []float32)                  { butterflyGeneric(lo, hi) }
func mul(dst, x, s []float32)                     { mulGeneric(dst, x, s) }
func scaledMul(dst, x, w []float32, s float32)    { scaledMulGeneric(dst, x, w, s) }
func scaleBy(x []float32, s float32)              { scaleByGeneric(x, s) }
func maxOf(x []float32) float32                   { return maxOfGeneric(x) }
func rope(lo, hi, cos, sin []float32)             { ropeGeneric(lo, hi, cos, sin) }
func absMaxBits(x []float32) uint32               { return absMaxBitsGeneric(x) }
func quantize(dst []int8, x []float32, r float32) { quantizeGeneric(dst, x, r) }
func accumulateCentered(y []float32, d []int32, zero int32, s float32) {
	accumulateCenteredGeneric(y, d, zero, s)
}
