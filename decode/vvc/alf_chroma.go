package vvc

// chroma filters one chroma component of a CTU (clause 8.8.5.4).
func (f *alfFilter) chroma(ctu *ctuInfo, c int, dst []uint16, dstStride int, pix []uint16, pos, stride, w, h, vb int) {
	set := ctu.slice.alf.chroma
	alt := ctu.alfAlt[c-1]
	clips := &alfClip[f.bitDepth-8]
	var coeff, clip [6]int32
	for i := range coeff {
		coeff[i] = int32(set.chroma[alt][i])
		clip[i] = clips[set.chromaClip[alt][i]]
	}
	for y := range h {
		d, u := rowOffsets(y, vb, stride, 2)
		shift := 7
		if y == vb-1 || y == vb {
			shift = 10
		}
		round := int32(1) << (shift - 1)
		o := pos + y*stride
		out := dst[y*dstStride : y*dstStride+w]
		for x := range out {
			cur := int32(pix[o])
			sum := round
			sum += coeff[0] * clipPair(clip[0], cur, pix[o+d[2]], pix[o+u[2]])
			sum += coeff[1] * clipPair(clip[1], cur, pix[o+d[1]+1], pix[o+u[1]-1])
			sum += coeff[2] * clipPair(clip[2], cur, pix[o+d[1]], pix[o+u[1]])
			sum += coeff[3] * clipPair(clip[3], cur, pix[o+d[1]-1], pix[o+u[1]+1])
			sum += coeff[4] * clipPair(clip[4], cur, pix[o+2], pix[o-2])
			sum += coeff[5] * clipPair(clip[5], cur, pix[o+1], pix[o-1])
			out[x] = uint16(min(max(cur+sum>>shift, 0), f.maxVal))
			o++
		}
	}
}

// crossComponent adds a correction filtered from luma to chroma (clause 8.8.5.7). vb is in luma rows.
func (f *alfFilter) crossComponent(coeff *[7]int8, dst []uint16, dstStride int, pix []uint16, pos, stride, w, h, vb int) {
	var k [7]int32
	for i, v := range coeff {
		k[i] = int32(v)
	}
	half := (f.maxVal + 1) >> 1
	for y := range h {
		up, down, down2 := -stride, stride, 2*stride
		switch 2 * y {
		case vb - 2, vb + 1:
			down2 = down
		case vb - 1, vb:
			up, down, down2 = 0, 0, 0
		}
		o := pos + 2*y*stride
		out := dst[y*dstStride : y*dstStride+w]
		for x := range out {
			cur := int32(pix[o])
			sum := k[0]*(int32(pix[o+up])-cur) +
				k[1]*(int32(pix[o-1])-cur) + k[2]*(int32(pix[o+1])-cur) +
				k[3]*(int32(pix[o+down-1])-cur) + k[4]*(int32(pix[o+down])-cur) + k[5]*(int32(pix[o+down+1])-cur) +
				k[6]*(int32(pix[o+down2])-cur)
			sum = min(max((sum+64)>>7, -half), half-1)
			out[x] = uint16(min(max(int32(out[x])+sum, 0), f.maxVal))
			o += 2
		}
	}
}
