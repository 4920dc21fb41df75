package vvc

// Below the virtual boundary (vb: 4 luma or 2 chroma rows above the end of a CTU) filters do not read what lies above it
// and the other way round, so that a decoder needs no extra line buffers. Rows across it are replaced by mirrored ones.

// classify derives the filter class of every 4x4 luma block of a CTU from local gradients (clause 8.8.5.3).
func (f *alfFilter) classify(pix []uint16, pos, stride, w, h, vb int) {
	// Gradients are sampled at two diagonal positions of each 2x2 cell; cells start two rows and columns early.
	cols, rows := w/2+2, h/2+2
	for r := range rows {
		y := 2*r - 2
		o := pos + y*stride - 2
		r0, r1, r2, r3 := o-stride, o, o+stride, o+2*stride
		if y > 0 && y == vb-2 {
			r3 = r2
		} else if y > 0 && y == vb {
			r0 = r1
		}
		n := 2*cols + 2
		// One column to the left, so that index x+1 is the cell's first sample.
		a, b := pix[r0-1:r0-1+n], pix[r1-1:r1-1+n]
		c, d := pix[r2-1:r2-1+n], pix[r3-1:r3-1+n]
		for k := range cols {
			x := 2*k + 1
			p, q := int32(b[x])<<1, int32(c[x+1])<<1
			i := r*66 + k
			f.lap[0][i] = abs32(p-int32(a[x])-int32(c[x])) + abs32(q-int32(b[x+1])-int32(d[x+1]))
			f.lap[1][i] = abs32(p-int32(b[x+1])-int32(b[x-1])) + abs32(q-int32(c[x+2])-int32(c[x]))
			f.lap[2][i] = abs32(p-int32(a[x-1])-int32(c[x+1])) + abs32(q-int32(b[x])-int32(d[x+2]))
			f.lap[3][i] = abs32(p-int32(c[x-1])-int32(a[x+1])) + abs32(q-int32(d[x])-int32(b[x+2]))
		}
	}
	for y := 0; y < h; y += 4 {
		first, last, scale := 0, 4, int32(64)
		if y == vb-4 {
			last, scale = 3, 96
		} else if y == vb {
			first, scale = 1, 96
		}
		for x := 0; x < w; x += 4 {
			var sum [4]int32
			for dir := range sum {
				for r := first; r < last; r++ {
					l := f.lap[dir][(y/2+r)*66+x/2:]
					sum[dir] += l[0] + l[1] + l[2] + l[3]
				}
			}
			f.classes[y/4*32+x/4] = f.classOf(sum, scale)
		}
	}
}

// activityClass quantises the activity of a block.
var activityClass = [16]uint8{0, 1, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 4}

// classOf combines the vertical, horizontal and diagonal gradient sums of a block.
func (f *alfFilter) classOf(sum [4]int32, scale int32) alfClass {
	activity := min((sum[0]+sum[1])*scale>>(f.bitDepth+4), 15)
	class := activityClass[activity]
	hv1, hv0, dirHV := sum[1], sum[0], 3
	if sum[0] > sum[1] {
		hv1, hv0, dirHV = sum[0], sum[1], 1
	}
	d1, d0, dirD := sum[3], sum[2], 2
	if sum[2] > sum[3] {
		d1, d0, dirD = sum[2], sum[3], 0
	}
	strong, weak, main, second := hv1, hv0, dirHV, dirD
	if int64(d1)*int64(hv0) > int64(hv1)*int64(d0) {
		strong, weak, main, second = d1, d0, dirD, dirHV
	}
	strength := 0
	if 2*strong > 9*weak {
		strength = 2
	} else if strong > 2*weak {
		strength = 1
	}
	if strength > 0 {
		class += uint8(main&1<<1+strength) * 5
	}
	return alfClass{class, [8]uint8{0, 1, 0, 2, 2, 3, 1, 3}[main*2+second>>1]}
}

// alfTranspose permutes the 12 luma coefficients for each transposition.
var alfTranspose = [4][12]uint8{
	{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11},
	{9, 4, 10, 8, 1, 5, 11, 7, 3, 0, 2, 6},
	{0, 3, 2, 1, 8, 7, 6, 5, 4, 9, 10, 11},
	{9, 8, 10, 4, 3, 7, 11, 5, 1, 0, 2, 6},
}

// alfClip holds clipping limits by bit depth minus 8 and clip index (semantics of alf_luma_clip_idx).
var alfClip = [3][4]int32{{256, 32, 8, 2}, {512, 64, 16, 4}, {1024, 128, 32, 8}}

// clipPair returns the sum of two neighbour differences, each limited to [-c, c].
func clipPair(c, cur int32, a, b uint16) int32 {
	return min(max(int32(a)-cur, -c), c) + min(max(int32(b)-cur, -c), c)
}

// rowOffsets returns the distances to the rows one, two and three below and above row y.
func rowOffsets(y, vb, stride, reach int) (d, u [4]int) {
	for k := 1; k <= reach; k++ {
		n := k
		switch {
		case y < vb && y+k >= vb:
			n = vb - 1 - y // as far as the boundary lets
		case y >= vb && y-k < vb:
			n = y - vb
		}
		d[k], u[k] = n*stride, -n*stride
	}
	return d, u
}

// luma filters the luma samples of a CTU (clause 8.8.5.2).
func (f *alfFilter) luma(ctu *ctuInfo, dst []uint16, dstStride int, pix []uint16, pos, stride, w, h, vb int) {
	clips := &alfClip[f.bitDepth-8]
	var coeff, clip [12]int32
	for i := range clip {
		clip[i] = clips[0]
	}
	var set *alfAPS
	if ctu.alfSet >= 16 {
		set = ctu.slice.alf.luma[ctu.alfSet-16]
	}
	for y4 := 0; y4 < h; y4 += 4 {
		for x4 := 0; x4 < w; x4 += 4 {
			class := f.classes[y4/4*32+x4/4]
			perm := &alfTranspose[class.transpose]
			if set != nil {
				for i, k := range perm {
					coeff[i] = int32(set.luma[class.filter][k])
					clip[i] = clips[set.lumaClip[class.filter][k]]
				}
			} else {
				fixed := &alfFixedCoeff[alfClassToFixed[ctu.alfSet][class.filter]]
				for i, k := range perm {
					coeff[i] = int32(fixed[k])
				}
			}
			for y := y4; y < y4+4; y++ {
				d, u := rowOffsets(y, vb, stride, 3)
				shift := 7
				if y == vb-1 || y == vb {
					shift = 10
				}
				round := int32(1) << (shift - 1)
				o := pos + y*stride + x4
				out := dst[y*dstStride+x4 : y*dstStride+x4+4]
				for x := range out {
					cur := int32(pix[o])
					sum := round
					sum += coeff[0] * clipPair(clip[0], cur, pix[o+d[3]], pix[o+u[3]])
					sum += coeff[1] * clipPair(clip[1], cur, pix[o+d[2]+1], pix[o+u[2]-1])
					sum += coeff[2] * clipPair(clip[2], cur, pix[o+d[2]], pix[o+u[2]])
					sum += coeff[3] * clipPair(clip[3], cur, pix[o+d[2]-1], pix[o+u[2]+1])
					sum += coeff[4] * clipPair(clip[4], cur, pix[o+d[1]+2], pix[o+u[1]-2])
					sum += coeff[5] * clipPair(clip[5], cur, pix[o+d[1]+1], pix[o+u[1]-1])
					sum += coeff[6] * clipPair(clip[6], cur, pix[o+d[1]], pix[o+u[1]])
					sum += coeff[7] * clipPair(clip[7], cur, pix[o+d[1]-1], pix[o+u[1]+1])
					sum += coeff[8] * clipPair(clip[8], cur, pix[o+d[1]-2], pix[o+u[1]+2])
					sum += coeff[9] * clipPair(clip[9], cur, pix[o+3], pix[o-3])
					sum += coeff[10] * clipPair(clip[10], cur, pix[o+2], pix[o-2])
					sum += coeff[11] * clipPair(clip[11], cur, pix[o+1], pix[o-1])
					out[x] = uint16(min(max(cur+sum>>shift, 0), f.maxVal))
					o++
				}
			}
		}
	}
}
