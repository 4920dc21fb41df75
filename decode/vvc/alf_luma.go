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

// alfTaps is the luma filter of a 4x4 block: coefficients and clipping limits in the order of the transposed diamond.
type alfTaps struct {
	coeff, clip [12]int32
	linear      bool  // no difference of samples reaches its limit
	centre      int32 // weight of the current sample where linear
}

// load fills t with the filter of class; set is nil for the fixed filter set number fixed.
func (t *alfTaps) load(set *alfAPS, fixed uint8, class alfClass, clips *[4]int32) {
	perm := &alfTranspose[class.transpose]
	t.linear, t.centre = true, 0
	for i, k := range perm {
		if set != nil {
			t.coeff[i] = int32(set.luma[class.filter][k])
			t.clip[i] = clips[set.lumaClip[class.filter][k]]
		} else {
			t.coeff[i] = int32(alfFixedCoeff[alfClassToFixed[fixed][class.filter]][k])
			t.clip[i] = clips[0]
		}
		t.linear = t.linear && t.clip[i] == clips[0]
		t.centre -= 2 * t.coeff[i]
	}
}

// alfRows points at the samples around four neighbours in a row: the row itself from three to the left, then the rows
// below and above from two, one and no samples to the left.
type alfRows struct {
	mid    *[10]uint16
	d1, u1 *[8]uint16
	d2, u2 *[6]uint16
	d3, u3 *[4]uint16
}

// pair adds two samples.
func pair(a, b uint16) int32 { return int32(a) + int32(b) }

// linearRow filters four samples without clipping.
func (t *alfTaps) linearRow(out *[4]uint16, r *alfRows, shift int, maxVal int32) {
	k := &t.coeff
	round := int32(1) << (shift - 1)
	for x := range out {
		cur := int32(r.mid[x+3])
		sum := round + t.centre*cur +
			k[0]*pair(r.d3[x], r.u3[x]) +
			k[1]*pair(r.d2[x+2], r.u2[x]) + k[2]*pair(r.d2[x+1], r.u2[x+1]) + k[3]*pair(r.d2[x], r.u2[x+2]) +
			k[4]*pair(r.d1[x+4], r.u1[x]) + k[5]*pair(r.d1[x+3], r.u1[x+1]) + k[6]*pair(r.d1[x+2], r.u1[x+2]) +
			k[7]*pair(r.d1[x+1], r.u1[x+3]) + k[8]*pair(r.d1[x], r.u1[x+4]) +
			k[9]*pair(r.mid[x+6], r.mid[x]) + k[10]*pair(r.mid[x+5], r.mid[x+1]) + k[11]*pair(r.mid[x+4], r.mid[x+2])
		out[x] = uint16(min(max(cur+sum>>shift, 0), maxVal))
	}
}

// clippedRow filters four samples.
func (t *alfTaps) clippedRow(out *[4]uint16, r *alfRows, shift int, maxVal int32) {
	k, c := &t.coeff, &t.clip
	round := int32(1) << (shift - 1)
	for x := range out {
		cur := int32(r.mid[x+3])
		sum := round
		sum += k[0] * clipPair(c[0], cur, r.d3[x], r.u3[x])
		sum += k[1] * clipPair(c[1], cur, r.d2[x+2], r.u2[x])
		sum += k[2] * clipPair(c[2], cur, r.d2[x+1], r.u2[x+1])
		sum += k[3] * clipPair(c[3], cur, r.d2[x], r.u2[x+2])
		sum += k[4] * clipPair(c[4], cur, r.d1[x+4], r.u1[x])
		sum += k[5] * clipPair(c[5], cur, r.d1[x+3], r.u1[x+1])
		sum += k[6] * clipPair(c[6], cur, r.d1[x+2], r.u1[x+2])
		sum += k[7] * clipPair(c[7], cur, r.d1[x+1], r.u1[x+3])
		sum += k[8] * clipPair(c[8], cur, r.d1[x], r.u1[x+4])
		sum += k[9] * clipPair(c[9], cur, r.mid[x+6], r.mid[x])
		sum += k[10] * clipPair(c[10], cur, r.mid[x+5], r.mid[x+1])
		sum += k[11] * clipPair(c[11], cur, r.mid[x+4], r.mid[x+2])
		out[x] = uint16(min(max(cur+sum>>shift, 0), maxVal))
	}
}

// luma filters the luma samples of a CTU (clause 8.8.5.2).
func (f *alfFilter) luma(ctu *ctuInfo, dst []uint16, dstStride int, pix []uint16, pos, stride, w, h, vb int) {
	clips := &alfClip[f.bitDepth-8]
	var set *alfAPS
	if ctu.alfSet >= 16 {
		set = ctu.slice.alf.luma[ctu.alfSet-16]
	}
	var taps alfTaps
	loaded := alfClass{filter: 255}
	var rows alfRows
	for y4 := 0; y4 < h; y4 += 4 {
		var down, up [4][4]int
		var shift [4]int
		for i := range shift {
			y := y4 + i
			down[i], up[i] = rowOffsets(y, vb, stride, 3)
			shift[i] = 7
			if y == vb-1 || y == vb {
				shift[i] = 10
			}
		}
		for x4 := 0; x4 < w; x4 += 4 {
			if class := f.classes[y4/4*32+x4/4]; class != loaded {
				taps.load(set, ctu.alfSet, class, clips)
				loaded = class
			}
			for i := range shift {
				d, u := &down[i], &up[i]
				o := pos + (y4+i)*stride + x4
				rows.mid = (*[10]uint16)(pix[o-3:])
				rows.d1, rows.u1 = (*[8]uint16)(pix[o+d[1]-2:]), (*[8]uint16)(pix[o+u[1]-2:])
				rows.d2, rows.u2 = (*[6]uint16)(pix[o+d[2]-1:]), (*[6]uint16)(pix[o+u[2]-1:])
				rows.d3, rows.u3 = (*[4]uint16)(pix[o+d[3]:]), (*[4]uint16)(pix[o+u[3]:])
				out := (*[4]uint16)(dst[(y4+i)*dstStride+x4:])
				if taps.linear {
					taps.linearRow(out, &rows, shift[i], f.maxVal)
				} else {
					taps.clippedRow(out, &rows, shift[i], f.maxVal)
				}
			}
		}
	}
}
