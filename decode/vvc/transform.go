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
	var in, out [64]int32
	switch {
	case h == 1:
		copy(in[:], block[:maxX+1])
		transform1D(out[:w], in[:w], hor, maxX)
		roundShift(block[:w], out[:w], shift+1)
		return
	case w == 1:
		copy(in[:], block[:maxY+1])
		transform1D(out[:h], in[:h], ver, maxY)
		roundShift(block[:h], out[:h], shift+1)
		return
	}
	tmp := &d.scratch.tmp
	for x := range maxX + 1 {
		for y := range maxY + 1 {
			in[y] = block[y*w+x]
		}
		transform1D(out[:h], in[:h], ver, maxY)
		for y, v := range out[:h] {
			tmp[y*w+x] = min(max((v+64)>>7, coefMin), coefMax)
		}
	}
	for y := range h {
		transform1D(out[:w], tmp[y*w:y*w+w], hor, maxX)
		roundShift(block[y*w:y*w+w], out[:w], shift)
	}
}

func roundShift(dst, src []int32, shift int) {
	round := int32(1) << (shift - 1)
	for i, v := range src {
		dst[i] = min(max((v+round)>>shift, coefMin), coefMax)
	}
}

// transform1D computes the inverse transform of in, whose length is a power of two, given that inputs beyond last are
// zero (and not read).
func transform1D(out, in []int32, kind transformKind, last int) {
	if kind == dctII {
		inverseDCT2(out, in, last)
		return
	}
	m := &dst7[log2(len(in))-2]
	if kind == dctVIII {
		m = &dct8[log2(len(in))-2]
	}
	clear(out)
	for k := range last + 1 {
		v := in[k]
		if v == 0 {
			continue
		}
		for i, c := range m[k][:len(out)] {
			out[i] += v * c
		}
	}
}

// inverseDCT2 splits an n-point transform into the n/2-point transform of the even inputs and a matrix product of the odd
// ones.
func inverseDCT2(out, in []int32, last int) {
	n := len(in)
	switch n {
	case 1:
		out[0] = 64 * in[0]
		return
	case 2:
		a, b := 64*in[0], int32(0)
		if last > 0 {
			b = 64 * in[1]
		}
		out[0], out[1] = a+b, a-b
		return
	}
	var even, half, odd [32]int32
	h := n / 2
	for i := 0; 2*i <= last; i++ {
		even[i] = in[2*i]
	}
	inverseDCT2(half[:h], even[:h], last/2)
	odds := 0 // number of odd inputs
	for ; 2*odds+1 <= last; odds++ {
		odd[odds] = in[2*odds+1]
	}
	m := &dct2Odd[log2(n)]
	for i := range h {
		sum := int32(0)
		row := m[i][:odds]
		for k, c := range row {
			sum += c * odd[k]
		}
		out[i] = half[i] + sum
		out[n-1-i] = half[i] - sum
	}
}
