package vvc

// Deblocking filter (clause 8.8.3) for pictures without inter prediction: transform block edges have boundary strength 2
// unless both sides use block DPCM or block copy.

var deblockTc = [66]uint16{
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 4, 4, 4, 4, 5, 5, 5, 5, 7, 7, 8, 9, 10, 10,
	11, 13, 14, 15, 17, 19, 21, 24, 25, 29, 33, 36, 41, 45, 51, 57, 64, 71, 80, 89, 100, 112, 125, 141,
	157, 177, 198, 222, 250, 280, 314, 352, 395,
}

var deblockBeta = [64]uint8{
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 20, 22, 24,
	26, 28, 30, 32, 34, 36, 38, 40, 42, 44, 46, 48, 50, 52, 54, 56, 58, 60, 62, 64, 66, 68, 70, 72, 74, 76,
	78, 80, 82, 84, 86, 88,
}

// deblocker filters the edges of one direction.
type deblocker struct {
	pic      *picture
	vertical bool // edges between columns
	bitDepth int
	maxVal   int32
	ctbLog2  int
}

// deblock filters all vertical and then all horizontal edges of the picture.
func (pic *picture) deblock() {
	any := false
	for _, s := range pic.slices {
		any = any || !s.deblockOff
	}
	if !any {
		return
	}
	f := deblocker{pic: pic, bitDepth: pic.sps.bitDepth, maxVal: 1<<pic.sps.bitDepth - 1, ctbLog2: pic.sps.ctbLog2}
	for _, f.vertical = range [2]bool{true, false} {
		f.luma()
		if pic.comps > 1 {
			f.chroma()
		}
	}
}

// crossable reports whether the edge at luma position (x, y) may be filtered with respect to slices and tiles, and
// returns the slice of the block to the right or below.
func (f *deblocker) crossable(x, y int) *sliceHeader {
	pic := f.pic
	cx, cy := x>>f.ctbLog2, y>>f.ctbLog2
	q := &pic.ctus[cy*pic.widthCtu+cx]
	if q.slice.deblockOff {
		return nil
	}
	px, py := (x-1)>>f.ctbLog2, cy
	if !f.vertical {
		px, py = cx, (y-1)>>f.ctbLog2
	}
	if px != cx || py != cy {
		if !pic.mayCross(q, &pic.ctus[py*pic.widthCtu+px]) {
			return nil
		}
	}
	return q.slice
}

// mayCross reports whether in-loop filters may use samples of CTU b for CTU a.
func (pic *picture) mayCross(a, b *ctuInfo) bool {
	return (pic.pps.loopAcrossSlices || a.slice == b.slice) && (pic.pps.loopAcrossTiles || a.tile == b.tile)
}

func (f *deblocker) luma() {
	pic := f.pic
	p := &pic.planes[0]
	stride := pic.unitStride
	back, flag := stride, uint8(edgeAbove)
	across, along := p.stride, 1
	if f.vertical {
		back, flag = 1, edgeLeft
		across, along = 1, p.stride
	}
	for uy := range p.h >> 2 {
		if !f.vertical && uy == 0 {
			continue
		}
		for ux := range p.w >> 2 {
			i := uy*stride + ux
			q := &pic.units[0][i]
			if q.flags&flag == 0 || f.vertical && ux == 0 {
				continue
			}
			o := &pic.units[0][i-back]
			bs := 2
			switch both := q.flags & o.flags; {
			case both&flagCopy != 0:
				bs = btoi((q.flags|o.flags)&flagCbf != 0 || pic.cus[pic.cuMap[0][i]].bv != pic.cus[pic.cuMap[0][i-back]].bv)
			case both&flagBdpcm != 0:
				bs = 0
			}
			if bs == 0 {
				continue
			}
			sh := f.crossable(4*ux, 4*uy)
			if sh == nil {
				continue
			}
			pl, ql := int(o.h), int(q.h)
			if f.vertical {
				pl, ql = int(o.w), int(q.w)
			}
			maxP, maxQ := 1, 1
			if pl > 4 && ql > 4 {
				maxP, maxQ = 3, 3
				if pl >= 32 {
					maxP = 7
				}
				if ql >= 32 {
					maxQ = 7
				}
			}
			if !f.vertical && 4*uy&(1<<f.ctbLog2-1) == 0 {
				maxP = min(maxP, 3) // line buffer above a CTU row
			}
			pos := 4*uy*p.stride + 4*ux
			qp := (int(o.qp[0]) + int(q.qp[0]) + 1) >> 1
			qp += f.ladf(p, pos, across, along)
			f.lumaEdge(p.pix, pos, across, along, f.tc(qp, bs, sh.deblock[0]), f.beta(qp, sh.deblock[0]), maxP, maxQ)
		}
	}
}

// ladf returns the luma adaptive QP offset of an edge (clause 8.8.3.6.2).
func (f *deblocker) ladf(p *plane, pos, across, along int) int {
	l := f.pic.sps.ladf
	if l == nil {
		return 0
	}
	level := (int(p.pix[pos]) + int(p.pix[pos+3*along]) + int(p.pix[pos-across]) + int(p.pix[pos+3*along-across])) >> 2
	offset := l[0].offset
	for _, v := range l[1:] {
		if level <= v.lower {
			break
		}
		offset = v.offset
	}
	return offset
}

func (f *deblocker) tc(qp, bs int, d deblockParams) int32 {
	tc := int32(deblockTc[min(max(qp+2*(bs-1)+d.tc, 0), 65)])
	if f.bitDepth < 10 {
		return (tc + 1<<(9-f.bitDepth)) >> (10 - f.bitDepth)
	}
	return tc << (f.bitDepth - 10)
}

func (f *deblocker) beta(qp int, d deblockParams) int32 {
	return int32(deblockBeta[min(max(qp+d.beta, 0), 63)]) << (f.bitDepth - 8)
}

// curve returns |a - 2b + c| of three samples from o on in steps of s.
func curve(pix []uint16, o, s int) int32 {
	return abs32(int32(pix[o]) - 2*int32(pix[o+s]) + int32(pix[o+2*s]))
}

// lumaEdge filters four lines of a luma edge; pos is the first sample on the Q side.
func (f *deblocker) lumaEdge(pix []uint16, pos, across, along int, tc, beta int32, maxP, maxQ int) {
	a := across
	o0, o3 := pos, pos+3*along
	dp0, dp3 := curve(pix, o0-3*a, a), curve(pix, o3-3*a, a)
	dq0, dq3 := curve(pix, o0, a), curve(pix, o3, a)
	if maxP > 3 || maxQ > 3 {
		dp0L, dp3L, dq0L, dq3L := dp0, dp3, dq0, dq3
		if maxP > 3 {
			dp0L = (dp0 + curve(pix, o0-6*a, a) + 1) >> 1
			dp3L = (dp3 + curve(pix, o3-6*a, a) + 1) >> 1
		}
		if maxQ > 3 {
			dq0L = (dq0 + curve(pix, o0+3*a, a) + 1) >> 1
			dq3L = (dq3 + curve(pix, o3+3*a, a) + 1) >> 1
		}
		d0, d3 := dp0L+dq0L, dp3L+dq3L
		if d0+d3 < beta &&
			useLong(pix, o0, a, 2*d0, beta, tc, maxP, maxQ) && useLong(pix, o3, a, 2*d3, beta, tc, maxP, maxQ) {
			for i := range 4 {
				longFilter(pix, pos+i*along, a, maxP, maxQ, tc)
			}
			return
		}
	}
	d0, d3 := dp0+dq0, dp3+dq3
	if d0+d3 >= beta {
		return
	}
	if maxP > 2 && maxQ > 2 && useStrong(pix, o0, a, 2*d0, beta, tc) && useStrong(pix, o3, a, 2*d3, beta, tc) {
		for i := range 4 {
			strongFilter(pix, pos+i*along, a, tc)
		}
		return
	}
	secondP, secondQ := false, false
	if maxP > 1 && maxQ > 1 {
		side := (beta + beta>>1) >> 3
		secondP, secondQ = dp0+dp3 < side, dq0+dq3 < side
	}
	for i := range 4 {
		f.weakFilter(pix, pos+i*along, a, tc, secondP, secondQ)
	}
}

// useStrong decides between the strong and the weak filter on one line.
func useStrong(pix []uint16, o, a int, d, beta, tc int32) bool {
	p0, q0 := int32(pix[o-a]), int32(pix[o])
	return d < beta>>2 && abs32(p0-q0) < (tc*5+1)>>1 &&
		abs32(int32(pix[o-4*a])-p0)+abs32(int32(pix[o+3*a])-q0) < beta>>3
}

// useLong decides whether the long filters for large blocks apply on one line.
func useLong(pix []uint16, o, a int, d, beta, tc int32, maxP, maxQ int) bool {
	p0, q0 := int32(pix[o-a]), int32(pix[o])
	if d >= beta>>4 || abs32(p0-q0) >= (tc*5+1)>>1 {
		return false
	}
	p3, q3 := int32(pix[o-4*a]), int32(pix[o+3*a])
	sp, sq := abs32(p3-p0), abs32(q3-q0)
	if maxP > 3 {
		far := int32(pix[o-8*a])
		sp += abs32(int32(pix[o-5*a]) - int32(pix[o-6*a]) - int32(pix[o-7*a]) + far)
		sp = (sp + abs32(p3-far) + 1) >> 1
	}
	if maxQ > 3 {
		far := int32(pix[o+7*a])
		sq += abs32(int32(pix[o+4*a]) - int32(pix[o+5*a]) - int32(pix[o+6*a]) + far)
		sq = (sq + abs32(q3-far) + 1) >> 1
	}
	return sp+sq < beta*3>>5
}

var (
	longWeights7 = [7]int32{59, 50, 41, 32, 23, 14, 5}
	longWeights3 = [3]int32{53, 32, 11}
	longTc7      = [7]int32{6, 5, 4, 3, 2, 1, 1}
	longTc3      = [3]int32{6, 4, 2}
)

// longFilter interpolates between the middle of the edge and both ends of the filtered range (clause 8.8.3.6.8).
func longFilter(pix []uint16, o, a, lenP, lenQ int, tc int32) {
	p := func(i int) int32 { return int32(pix[o-(i+1)*a]) }
	q := func(i int) int32 { return int32(pix[o+i*a]) }
	refP := (p(lenP-1) + p(lenP) + 1) >> 1
	refQ := (q(lenQ-1) + q(lenQ) + 1) >> 1
	var mid int32
	switch {
	case lenP == 7 && lenQ == 7:
		mid = 2*(p(0)+q(0)) + 8
		for i := 1; i <= 6; i++ {
			mid += p(i) + q(i)
		}
	case lenP == 7:
		mid = 2*(p(0)+q(0)) + q(0) + 2*(q(1)+q(2)) + q(1) + 8
		for i := 1; i <= 6; i++ {
			mid += p(i)
		}
	default:
		mid = 2*(p(0)+q(0)) + p(0) + 2*(p(1)+p(2)) + p(1) + 8
		for i := 1; i <= 6; i++ {
			mid += q(i)
		}
	}
	mid >>= 4
	apply := func(o, step, n int, ref int32) {
		weights, limits := longWeights7[:], longTc7[:]
		if n == 3 {
			weights, limits = longWeights3[:], longTc3[:]
		}
		for i, w := range weights {
			v := int32(pix[o])
			c := tc * limits[i] >> 1
			pix[o] = uint16(min(max((mid*w+ref*(64-w)+32)>>6, v-c), v+c))
			o += step
		}
	}
	apply(o-a, -a, lenP, refP)
	apply(o, a, lenQ, refQ)
}

func strongFilter(pix []uint16, o, a int, tc int32) {
	p3, p2, p1, p0 := int32(pix[o-4*a]), int32(pix[o-3*a]), int32(pix[o-2*a]), int32(pix[o-a])
	q0, q1, q2, q3 := int32(pix[o]), int32(pix[o+a]), int32(pix[o+2*a]), int32(pix[o+3*a])
	set := func(o int, v, old, k int32) { pix[o] = uint16(min(max(v, old-k*tc), old+k*tc)) }
	set(o-3*a, (2*p3+3*p2+p1+p0+q0+4)>>3, p2, 1)
	set(o-2*a, (p2+p1+p0+q0+2)>>2, p1, 2)
	set(o-a, (p2+2*p1+2*p0+2*q0+q1+4)>>3, p0, 3)
	set(o, (p1+2*p0+2*q0+2*q1+q2+4)>>3, q0, 3)
	set(o+a, (p0+q0+q1+q2+2)>>2, q1, 2)
	set(o+2*a, (p0+q0+q1+3*q2+2*q3+4)>>3, q2, 1)
}

func (f *deblocker) weakFilter(pix []uint16, o, a int, tc int32, secondP, secondQ bool) {
	p2, p1, p0 := int32(pix[o-3*a]), int32(pix[o-2*a]), int32(pix[o-a])
	q0, q1, q2 := int32(pix[o]), int32(pix[o+a]), int32(pix[o+2*a])
	delta := (9*(q0-p0) - 3*(q1-p1) + 8) >> 4
	if abs32(delta) >= 10*tc {
		return
	}
	delta = min(max(delta, -tc), tc)
	half := tc >> 1
	pix[o-a] = uint16(min(max(p0+delta, 0), f.maxVal))
	pix[o] = uint16(min(max(q0-delta, 0), f.maxVal))
	if secondP {
		k := min(max(((p2+p0+1)>>1-p1+delta)>>1, -half), half)
		pix[o-2*a] = uint16(min(max(p1+k, 0), f.maxVal))
	}
	if secondQ {
		k := min(max(((q2+q0+1)>>1-q1-delta)>>1, -half), half)
		pix[o+a] = uint16(min(max(q1+k, 0), f.maxVal))
	}
}
