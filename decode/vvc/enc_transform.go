package vvc

import "math"

// dct2Forward[l] is the odd half of the forward 1<<l point DCT-II, scaled to be orthonormal together with the even half:
// row k holds the weights of the differences of mirrored samples in coefficient 2k+1.
var dct2Forward = func() (m [encMaxTbLog2 + 1][16][16]float32) {
	for l := 1; l <= encMaxTbLog2; l++ {
		scale := 1 / (64 * math.Sqrt(float64(int(1)<<l)))
		for k := range 1 << (l - 1) {
			for i := range 1 << (l - 1) {
				m[l][k][i] = float32(scale * float64(dct2Odd[l][i][k]))
			}
		}
	}
	return m
}()

// forwardTransform computes the orthonormal two-dimensional DCT-II of block (row stride w) in place.
func forwardTransform(block, tmp []float32, w, h int) {
	for y := range h {
		forwardDCT2(tmp[y:], h, block[y*w:y*w+w])
	}
	for x := range w {
		forwardDCT2(block[x:], w, tmp[x*h:x*h+h])
	}
}

// forwardDCT2 writes the orthonormal DCT-II of in, which it overwrites, to every step-th element of out.
func forwardDCT2(out []float32, step int, in []float32) {
	stride := 1
	scale := float32(1)
	var diff [16]float32
	for n := len(in); n > 1; n >>= 1 {
		half := n / 2
		for i := range half {
			a, b := in[i], in[n-1-i]
			in[i] = a + b
			diff[i&15] = (a - b) * scale
		}
		m := &dct2Forward[log2(n)]
		d := diff[:half]
		for k := range half {
			row := m[k&15][:half]
			var s0, s1 float32
			if half < 4 {
				for i, v := range d {
					s0 += row[i] * v
				}
			} else {
				for i := 0; i+4 <= len(d) && i+4 <= len(row); i += 4 {
					s0 += row[i]*d[i] + row[i+1]*d[i+1]
					s1 += row[i+2]*d[i+2] + row[i+3]*d[i+3]
				}
			}
			out[(2*k+1)*stride*step] = s0 + s1
		}
		stride *= 2
		scale *= math.Sqrt2 / 2
	}
	out[0] = in[0] * scale
}
