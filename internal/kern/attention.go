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

// PutKey stores key j of the panel for scores, one lane of its strip j/16:
//
//	panel[j/16*16*size + i/2*32 + j%16*2 + i%2] = k[i]  for i < size = len(k), even
func PutKey[E int8 | int16](panel []E, j int, k []E) {
	if len(k)%2 != 0 {
		panic("kern: a key of odd size")
	}
	strip := panel[j/StripLanes*StripLanes*len(k):][:StripLanes*len(k)]
	for at := j % StripLanes * 2; len(k) >= 2; at += 2 * StripLanes {
		pair := strip[at : at+2]
		pair[0], pair[1] = k[0], k[1]
		k = k[2:]
	}
}

// PutValue stores value j of the panel for weighted sums, in which elements are the
// lanes: panel[i/16*lds + j/2*32 + i%16*2 + j%2] = v[i] for i < len(v).
func PutValue[E int8 | int16](panel []E, lds, j int, v []E) {
	for len(v) > 0 {
		n := min(StripLanes, len(v))
		pairs := panel[j/2*2*StripLanes+j%2:][:2*n-1]
		for i, e := range v[:n] {
			pairs[2*i] = e
		}
		if v = v[n:]; len(v) > 0 {
			panel = panel[lds:]
		}
	}
}

// Widen copies x to dst, extending int8. Exact. dst must be at least as long as x.
func Widen[E int8 | int16](dst []int16, x []E) {
	dst = dst[:len(x)]
	switch x := any(x).(type) {
	case []int16:
		copy(dst, x)
	case []int8:
		widenI8(dst, x)
	}
}

// MatMulI16 multiplies rows of int16 with a panel:
//
//	dst[r*ldd + 16*s + l] = sum_i a[r*lda + i] * panel[s*lds + i/2*32 + 2*l + i%2]
//
// for r < rows, s < strips, l < 16 and i < cols, modulo 2^32; with add, to what dst
// holds. Exact. cols must be even, lda, ldd and lds at least as long as what they skip.
func MatMulI16(dst []int32, ldd int, a []int16, lda int, panel []int16, lds int, rows, strips, cols int, add bool) {
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
			if !add {
				clear(dst[r*ldd : r*ldd+strips*StripLanes])
			}
		}
		return
	}
	matMulI16(dst, ldd, a, lda, panel, lds, rows, strips, cols, add)
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

func widenI8Generic(dst []int16, x []int8) {
	for i, v := range x {
		dst[i] = int16(v)
	}
}

func matMulI16Generic(dst []int32, ldd int, a []int16, lda int, panel []int16, lds int, rows, strips, cols int, add bool) {
	for r := range rows {
		row := a[r*lda : r*lda+cols]
		for s := range strips {
			var sums [StripLanes]int32
			if add {
				copy(sums[:], dst[r*ldd+s*StripLanes:])
			}
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
