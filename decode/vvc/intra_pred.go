package vvc

// predictor is one intra prediction: the destination, the mode and the reference samples.
type predictor struct {
	dst       []uint16 // starts at the first sample of the block
	stride    int
	w, h      int
	top, left []int32 // [0] is the corner
	line      int     // reference line
	maxVal    int32
}

// planar implements clause 8.4.5.2.11.
func (p *predictor) planar() {
	top, left := p.top[1:], p.left[1:]
	lw, lh := log2(p.w), log2(p.h)
	right, bottom := top[p.w], left[p.h]
	round := int32(1) << (lw + lh)
	for y := range p.h {
		row := p.dst[y*p.stride : y*p.stride+p.w]
		l := left[y]
		wb := int32(y + 1)
		wt := int32(p.h) - wb
		for x := range row {
			hor := (int32(p.w-1-x)*l + int32(x+1)*right) << lh
			ver := (wt*top[x] + wb*bottom) << lw
			row[x] = uint16((hor + ver + round) >> (lw + lh + 1))
		}
	}
}

// dc implements clause 8.4.5.2.12.
func (p *predictor) dc() {
	sum, n := int32(0), 0
	if p.w >= p.h {
		for _, v := range p.top[1+p.line : 1+p.line+p.w] {
			sum += v
		}
		n += p.w
	}
	if p.h >= p.w {
		for _, v := range p.left[1+p.line : 1+p.line+p.h] {
			sum += v
		}
		n += p.h
	}
	v := uint16((sum + int32(n>>1)) >> log2(n))
	for y := range p.h {
		row := p.dst[y*p.stride : y*p.stride+p.w]
		for x := range row {
			row[x] = v
		}
	}
}

// blendEdges applies position dependent prediction combination to planar and DC blocks (clause 8.4.5.2.15).
func (p *predictor) blendEdges() {
	scale := (log2(p.w) + log2(p.h) - 2) >> 2
	for y := range p.h {
		row := p.dst[y*p.stride : y*p.stride+p.w]
		wt := int32(32) >> min(31, y<<1>>scale)
		l := p.left[1+y]
		for x := range row {
			wl := int32(32) >> min(31, x<<1>>scale)
			if wl == 0 && wt == 0 {
				break
			}
			v := int32(row[x])
			row[x] = uint16(v + (wl*(l-v)+wt*(p.top[1+x]-v)+32)>>6)
		}
	}
}

// angleTable and inverseAngle are indexed by the distance to the horizontal or vertical mode (table 24).
var angleTable = [32]int{
	0, 1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 18, 20, 23, 26, 29,
	32, 35, 39, 45, 51, 57, 64, 73, 86, 102, 128, 171, 256, 341, 512, 1024,
}

var inverseAngle = [32]int{
	0, 16384, 8192, 5461, 4096, 2731, 2048, 1638, 1365, 1170, 1024, 910, 819, 712, 630, 565,
	512, 468, 420, 364, 321, 287, 256, 224, 191, 161, 128, 96, 64, 48, 32, 16,
}

// smoothThreshold is, by log2 of the geometric mean of the sides, the distance from the horizontal and vertical modes
// above which luma references are smoothed (table 23).
var smoothThreshold = [8]int{24, 24, 24, 14, 2, 0, 0, 0}

// angleOf resolves a wide-angle mode into direction, distance and displacement.
func angleOf(mode int) (vertical bool, dist, angle int) {
	vertical = mode >= modeDiagonal
	dist = modeHorizontal - mode
	if vertical {
		dist = mode - modeVertical
	}
	if dist < 0 {
		return vertical, -dist, -angleTable[-dist]
	}
	return vertical, dist, angleTable[dist]
}

// wideMode maps a mode to a mode number in which distances to modeHorizontal and modeVertical stay meaningful: the two
// numbers below 2 that stand for planar and DC are skipped.
func wideMode(w, h, mode int) int {
	m := wideAngle(w, h, mode)
	if m < 0 {
		m += 2
	}
	return m
}

// angular implements clause 8.4.5.2.13. mode comes from wideMode; luma selects the 4-tap filters, cubic among them the
// sharp one.
func (p *predictor) angular(mode int, luma, cubic, blend bool, r *refBuffer) {
	vertical, dist, angle := angleOf(mode)
	inv := inverseAngle[dist]
	mainSrc, sideSrc := p.left, p.top
	w, h := p.h, p.w // along and across the main reference
	du, dv := p.stride, 1
	if vertical {
		mainSrc, sideSrc = p.top, p.left
		w, h = p.w, p.h
		du, dv = 1, p.stride
	}
	const origin = refMax
	n := copy(r.main[origin:], mainSrc)
	if angle < 0 {
		for k := 1; k <= h; k++ {
			r.main[origin-k] = sideSrc[min((k*inv+256)>>9, h)]
		}
	} else {
		fill(r.main[origin+n:origin+n+2+p.line<<4], mainSrc[n-1])
	}
	ref := r.main[origin+p.line:] // ref[0] is the corner of the reference line
	side := sideSrc[p.line:]
	if angle == 0 {
		p.straight(w, h, du, dv, ref, side, blend)
		return
	}
	pos := angle * (1 + p.line)
	for v := range h {
		delta, frac := pos>>5, pos&31
		pos += angle
		src := r.main[origin+p.line+delta : origin+p.line+delta+w+4]
		o := v * dv
		switch {
		case angle&31 == 0:
			for u := range w {
				p.dst[o] = uint16(src[u+1])
				o += du
			}
		case !luma:
			f := int32(frac)
			for u := range w {
				p.dst[o] = uint16(((32-f)*src[u+1] + f*src[u+2] + 16) >> 5)
				o += du
			}
		case cubic:
			f := &cubicFilter[frac]
			for u := range w {
				s := (f[0]*src[u] + f[1]*src[u+1] + f[2]*src[u+2] + f[3]*src[u+3] + 32) >> 6
				p.dst[o] = uint16(min(max(s, 0), p.maxVal))
				o += du
			}
		default:
			f1 := int32(frac >> 1)
			for u := range w {
				s := (16-f1)*src[u] + (32-f1)*src[u+1] + (16+f1)*src[u+2] + f1*src[u+3]
				p.dst[o] = uint16((s + 32) >> 6)
				o += du
			}
		}
	}
	if !blend || angle < 0 {
		return
	}
	scale := min(2, log2(h)-(log2(3*inv-2)-8))
	if scale < 0 {
		return
	}
	for v := range h {
		o := v * dv
		sum := 256
		for u := range min(3<<scale, w) {
			sum += inv
			weight := int32(32) >> (2 * u >> scale)
			val := int32(p.dst[o])
			p.dst[o] = uint16(val + (weight*(side[v+sum>>9+1]-val)+32)>>6)
			o += du
		}
	}
}

// straight is the exactly horizontal or vertical case with its gradient correction.
func (p *predictor) straight(w, h, du, dv int, ref, side []int32, blend bool) {
	scale := (log2(w) + log2(h) - 2) >> 2
	edge := 0
	if blend {
		edge = min(3<<scale, w)
	}
	corner := ref[0]
	for v := range h {
		o := v * dv
		diff := side[1+v] - corner
		for u := range w {
			s := ref[1+u]
			if u < edge {
				weight := int32(32) >> min(31, u<<1>>scale)
				s = min(max((weight*diff+s<<6+32)>>6, 0), p.maxVal)
			}
			p.dst[o] = uint16(s)
			o += du
		}
	}
}
