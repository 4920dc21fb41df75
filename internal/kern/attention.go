package kern

import "math"

// Attention in whole numbers: queries, keys, values and the weights of the softmax
// are integers of at most 16 bits, each vector with a float32 scale, and their
// products are sums of 32 bits. These are exact, so neither the order in which a
// kernel adds nor the rows that share a call can change a result, and one
// instruction takes twice as many factors as in float32.
//
// Keys and values enter as panels: strips of [StripLanes] lanes, in which two
// successive numbers of a lane lie side by side, as [MatMulI16] wants them.

// StripLanes is how many lanes a strip of a panel has.
const StripLanes = 16

// maxDotNorm bounds the norm of what QuantizeDotI16 returns, before rounding: the
// product of two such vectors is below 2^31 by the inequality of Cauchy and
// Schwarz, and what rounding adds to a norm, sqrt(n)/2, does not change that for
// vectors of up to 2^18 elements.
const maxDotNorm = 46000

// QuantizeI16 quantises a vector symmetrically to int16 and returns the scale that
// undoes it: with m = max|x[i]|,
//
//	scale = m / 32767,  dst[i] = round(x[i] * (32767 / m)),  i < len(x)
//
// rounded, and with zeros, NaNs and infinities taken, as in [QuantizeI8]. Exact.
func QuantizeI16(dst []int16, x []float32) (scale float32) {
	return quantizeI16(dst[:len(x)], x, 0)
}

// QuantizeDotI16 is [QuantizeI16] for vectors that are to be multiplied with each
// other: where necessary the scale is larger, so that the product of two results, or
// of one and an int8 vector, does not exceed an int32. The norm that decides is
// rounded as by [Dot].
func QuantizeDotI16(dst []int16, x []float32) (scale float32) {
	square := dot(x, x)
	norm := float32(math.Sqrt(float64(square)))
	if square < 0x1p-100 || square > 0x1p+120 { // rounded away, or too large
		norm = norm64(x)
	}
	return quantizeI16(dst[:len(x)], x, norm/maxDotNorm)
}

// quantizeI16 uses a scale of at least least.
func quantizeI16(dst []int16, x []float32, least float32) (scale float32) {
	m := math.Float32frombits(absMaxBits(x))
	switch {
	case m-m != 0: // NaN or Inf
		clear(dst)
		return float32(math.NaN())
	case m < minAbsMax:
		clear(dst)
		return 0
	case m/32767 < least:
		round16(dst, x, 1/least)
		return least
	}
	round16(dst, x, 32767/m)
	return m / 32767
}

func norm64(x []float32) float32 {
	var s float64
	for _, v := range x {
		s += float64(v) * float64(v)
	}
	return float32(math.Sqrt(s))
}

// PackKeys makes a strip of the panel for scores out of [StripLanes] keys, one
// per lane: dst[i/2*32 + 2*l + i%2] = k[l*stride + i] for l < 16 and i < size.
// size must be even. k may be of int8, which are extended.
func PackKeys[E int8 | int16](dst []int16, k []E, size, stride int) {
	if size <= 0 {
		return
	}
	if size%2 != 0 || stride < 0 {
		panic("kern: keys of odd size, or a negative stride")
	}
	dst, k = dst[:StripLanes*size], k[:(StripLanes-1)*stride+size]
	for i := packKeysVectors(dst, k, size, stride); i < size; i++ {
		to := dst[i/2*2*StripLanes+i%2:]
		for l := range StripLanes {
			to[2*l] = int16(k[l*stride+i])
		}
	}
}

// PackValues makes rows n of the panel for weighted sums, two by two, a lane per
// element: dst[i/16*lds + j/2*32 + i%16*2 + j%2] = v[j*stride + i] for j < n
// and i < size. n must be even. v may be of int8, which are extended.
func PackValues[E int8 | int16](dst []int16, lds int, v []E, n, size, stride int) {
	if size <= 0 || n <= 0 {
		return
	}
	if n%2 != 0 || stride < 0 || lds < n*StripLanes {
		panic("kern: an odd number of values, a negative stride, or strips overlap")
	}
	strips := size / StripLanes
	dst, v = dst[:(size-1)/StripLanes*lds+n*StripLanes], v[:(n-1)*stride+size]
	if strips == 0 || !packValuesVectors(dst, lds, v, n, strips, stride) {
		strips = 0
	}
	for i := strips * StripLanes; i < size; i++ {
		to := dst[i/StripLanes*lds+i%StripLanes*2:]
		for j := range n {
			to[j/2*2*StripLanes+j%2] = int16(v[j*stride+i])
		}
	}
}

// MatMulI16 multiplies rows of int16 with a panel:
//
//	dst[r*ldd + 16*s + l] = sum_i a[r*lda + i] * panel[s*lds + i/2*32 + 2*l + i%2]
//
// for r < rows, s < strips, l < 16 and i < cols, modulo 2^32. Exact. cols must be
// even, lda, ldd and lds at least as long as what they skip.
func MatMulI16(dst []int32, ldd int, a []int16, lda int, panel []int16, lds int, rows, strips, cols int) {
	checkDims(rows, strips, cols)
	if rows == 0 || strips == 0 {
		return
	}
	if cols%2 != 0 || lda < cols || ldd < strips*StripLanes || lds < cols*StripLanes {
		panic("kern: an odd number of columns, or rows or strips overlap")
	}
	dst, a = dst[:(rows-1)*ldd+strips*StripLanes], a[:(rows-1)*lda+cols]
	panel = panel[:(strips-1)*lds+cols*StripLanes]
	if cols == 0 {
		for r := range rows {
			clear(dst[r*ldd : r*ldd+strips*StripLanes])
		}
		return
	}
	matMulI16(dst, ldd, a, lda, panel, lds, rows, strips, cols)
}

// SoftenI16 turns one row of scores into weights: with
//
//	x[j] = float32(s[j]) * q * keyScale[j],  top = max x[j],  e[j] = exp(x[j]-top),
//	w[j] = e[j] * valueScale[j],  unit = sum w[j] / 32767,  p[j] = round(w[j] * (1/unit))
//
// for j < n it returns top, unit and sum, the sum of e. The rest of p becomes 0. x
// is scratch. s, x and p have room for n rounded up to 16; p is a multiple of 16
// long. n is not 0.
func SoftenI16(p []int16, x []float32, s []int32, keyScale, valueScale []float32, n int, q float32) (top, sum, unit float32) {
	padded := (n + 15) &^ 15
	if n <= 0 || len(p)%16 != 0 {
		panic("kern: no scores, or weights that do not fill vectors")
	}
	x, s, keyScale, valueScale = x[:padded], s[:padded], keyScale[:n], valueScale[:n]
	clear(p[n:])
	return softenI16(p[:padded], x, s, keyScale, valueScale, q)
}

func softenI16Generic(p []int16, x []float32, s []int32, keyScale, valueScale []float32, q float32) (top, sum, unit float32) {
	x = x[:len(keyScale)]
	clear(x)
	accumulateCentered(x, s[:len(x)], 0, q)
	mul(x, x, keyScale)
	top = maxOf(x)
	sum = expInto(x, x, top)
	total := dot(x, valueScale)
	mul(x, x, valueScale)
	if total == 0 { // no value is other than 0
		clear(p[:len(x)])
		return top, sum, 0
	}
	round16(p[:len(x)], x, maxWeight/total)
	return top, sum, total / maxWeight
}

// maxWeight is what the weights of a row add up to, but for rounding: their
// products with values of 16 bits then stay below 2^31, however many they are.
const maxWeight = 32767

// MergeI32 adds weighted sums to what an output has so far:
//
//	y[i] = y[i]*own + float32(d[i])*unit*other  for i < len(y)
//
// rounding every operation. Exact. d must be at least as long as y.
func MergeI32(y []float32, d []int32, own, unit, other float32) {
	merge(y, d[:len(y)], own, unit, other)
}

func matMulI16Generic(dst []int32, ldd int, a []int16, lda int, panel []int16, lds int, rows, strips, cols int) {
	for r := range rows {
		row := a[r*lda : r*lda+cols]
		for s := range strips {
			var sums [StripLanes]int32
			for i := 0; i < cols; i += 2 {
				a0, a1 := int32(row[i]), int32(row[i+1])
				pair := (*[2 * StripLanes]int16)(panel[s*lds+i*StripLanes:])
				for l := range sums {
					sums[l] += a0*int32(pair[2*l]) + a1*int32(pair[2*l+1])
				}
			}
			copy(dst[r*ldd+s*StripLanes:], sums[:])
		}
	}
}

func round16Generic(dst []int16, x []float32, inv float32) {
	x = x[:len(dst)]
	for i := range dst {
		// The sum rounds to an integer, which its low bits then hold.
		dst[i] = int16(math.Float32bits(float32(x[i]*inv) + 0x1.8p23))
	}
}

func mergeGeneric(y []float32, d []int32, own, unit, other float32) {
	d = d[:len(y)]
	for i := range y {
		y[i] = float32(y[i]*own) + float32(float32(float32(d[i])*unit)*other)
	}
}
