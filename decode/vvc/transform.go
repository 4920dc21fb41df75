package vvc

// transformKind is a one-dimensional transform.
type transformKind uint8

const (
	dctII transformKind = iota
	dstVII
	dctVIII
)

// transformKinds selects the horizontal and vertical transforms of a luma block (clause 8.7.4.1).
func (d *sliceDecoder) transformKinds(u *cuState, t *transformUnit, c int) (hor, ver transformKind) {
	if c > 0 || !d.sps.mts {
		return dctII, dctII
	}
	if u.mts > 0 {
		return dstVII + transformKind((u.mts-1)&1), dstVII + transformKind((u.mts-1)>>1)
	}
	if u.isp == ispNone && (d.sps.mtsIntra || u.mip) || u.lfnst > 0 || u.copy {
		return dctII, dctII
	}
	if t.w >= 4 && t.w <= 16 {
		hor = dstVII
	}
	if t.h >= 4 && t.h <= 16 {
		ver = dstVII
	}
	return hor, ver
}

// inverseTransform transforms block (row stride w) in place into residuals. Only columns up to maxX and rows up to maxY
// hold nonzero coefficients.
func (d *sliceDecoder) inverseTransform(block []int32, w, h int, hor, ver transformKind, maxX, maxY int) {
	shift := 20 - d.bitDepth
	if hor == dctII && ver == dctII && maxX == 0 && maxY == 0 && w > 1 && h > 1 {
		dc := (block[0] + 1) >> 1
		dc = (dc<<6 + 1<<(shift-1)) >> shift
		row := block[:w*h]
		for i := range row {
			row[i] = dc
		}
		return
	}
	work := &d.scratch.work
	out := &work.out
	switch {
	case h == 1:
		work.transform(out[:w], block, 1, hor, maxX)
		roundShift(block[:w], out[:w], shift+1)
		return
	case w == 1:
		work.transform(out[:h], block, 1, ver, maxY)
		roundShift(block[:h], out[:h], shift+1)
		return
	}
	tmp := &d.scratch.tmp
	for x := range maxX + 1 {
		work.transform(out[:h], block[x:], w, ver, maxY)
		for y, v := range out[:h] {
			tmp[(y*w+x)&(len(tmp)-1)] = min(max((v+64)>>7, coefMin), coefMax)
		}
	}
	for y := range h {
		work.transform(out[:w], tmp[y*w:], 1, hor, maxX)
		roundShift(block[y*w:y*w+w], out[:w], shift)
	}
}

func roundShift(dst, src []int32, shift int) {
	round := int32(1) << (shift - 1)
	for i, v := range src {
		dst[i] = min(max((v+round)>>shift, coefMin), coefMax)
	}
}

// transformWork is the memory of one-dimensional transforms, kept to save clearing it.
type transformWork struct {
	out  [64]int32
	in   [7][32]int32 // inputs of a matrix product, by log2 of the transform size
	even [7][32]int32 // outputs of the half-size transform
}

// transform computes the inverse transform of len(out) coefficients, step apart in in. Coefficients beyond last are zero
// and not read.
func (t *transformWork) transform(out, in []int32, step int, kind transformKind, last int) {
	if kind == dctII {
		t.dct2(out, in, step, last)
		return
	}
	m := &dst7[log2(len(out))-2]
	if kind == dctVIII {
		m = &dct8[log2(len(out))-2]
	}
	v := &t.in[0]
	for k := range last + 1 {
		v[k&31] = in[k*step]
	}
	mulRows(out, m, v, last+1)
}

// dct2 splits an n-point transform into the n/2-point transform of the even inputs and a matrix product of the odd ones.
func (t *transformWork) dct2(out, in []int32, step, last int) {
	n := len(out)
	if n <= 4 {
		smallDCT2(out, in, step, last)
		return
	}
	l := log2(n)
	even, odd := &t.even[l], &t.in[l]
	t.dct2(even[:n/2], in, 2*step, last/2)
	odds := (last + 1) / 2
	for k := range odds {
		odd[k&31] = in[(2*k+1)*step]
	}
	half := out[:n/2]
	mulRows(half, &dct2Odd[l], odd, odds)
	for i, o := range half {
		e := even[i&31]
		half[i] = e + o
		out[n-1-i] = e - o
	}
}

// smallDCT2 transforms up to four coefficients.
func smallDCT2(out, in []int32, step, last int) {
	a := 64 * in[0]
	var b, c, d int32
	if last > 0 {
		b = in[step]
	}
	if last > 1 {
		c = 64 * in[2*step]
	}
	if last > 2 {
		d = in[3*step]
	}
	switch len(out) {
	case 1:
		out[0] = a
	case 2:
		out[0], out[1] = a+64*b, a-64*b
	default:
		o0, o1 := 83*b+36*d, 36*b-83*d
		out[0], out[1], out[2], out[3] = a+c+o0, a-c+o1, a-c-o1, a+c-o0
	}
}

// mulRows sets out to the product of the first n columns of m with in. len(out) is a multiple of four.
func mulRows(out []int32, m *[32][32]int32, in *[32]int32, n int) {
	for i := 0; i+4 <= len(out); i += 4 {
		r0, r1, r2, r3 := &m[i&31], &m[(i+1)&31], &m[(i+2)&31], &m[(i+3)&31]
		var s0, s1, s2, s3 int32
		for k := range n {
			v := in[k&31]
			s0 += r0[k&31] * v
			s1 += r1[k&31] * v
			s2 += r2[k&31] * v
			s3 += r3[k&31] * v
		}
		o := out[i : i+4]
		o[0], o[1], o[2], o[3] = s0, s1, s2, s3
	}
}
