package kern

import "math"

// RMSNorm computes dst[i] = x[i] / sqrt(mean(x^2) + eps) * w[i] for i < len(x)
// (Zhang and Sennrich, Root Mean Square Layer Normalization, 2019). dst may be
// x; dst and w must be at least as long as x.
func RMSNorm(dst, x, w []float32, eps float32) {
	if len(x) == 0 {
		return
	}
	mean := float64(Dot(x, x)) / float64(len(x))
	scaledMul(dst[:len(x)], x, w[:len(x)], float32(1/math.Sqrt(mean+float64(eps))))
}

// scaledMulGeneric computes dst[i] = (x[i]*s)*w[i].
func scaledMulGeneric(dst, x, w []float32, s float32) {
	x, w = x[:len(dst)], w[:len(dst)]
	for i := range dst {
		dst[i] = x[i] * s * w[i]
	}
}

// RoPE rotates one attention head in place by the angles of its position (Su
// et al., RoFormer, 2021) in the Hugging Face order of LLaMA weights, where
// element i is paired with element i+half and half = len(cos):
//
//	x[i], x[i+half] = x[i]*cos[i] - x[i+half]*sin[i], x[i+half]*cos[i] + x[i]*sin[i]
//
// Exact. x has 2*half elements, sin has half.
func RoPE(x []float32, cos, sin []float32) {
	half := len(cos)
	rope(x[:half:half], x[half:2*half], cos, sin[:half])
}

func ropeGeneric(lo, hi, cos, sin []float32) {
	hi, cos, sin = hi[:len(lo)], cos[:len(lo)], sin[:len(lo)]
	for i, a := range lo {
		b, c, s := hi[i], cos[i], sin[i]
		lo[i] = float32(a*c) - float32(b*s)
		hi[i] = float32(b*c) + float32(a*s)
	}
}
