package vvc

// chroma filters chroma edges, which lie on a grid of 8 chroma samples (clause 8.8.3.6.9).
func (f *deblocker) chroma() {
	pic := f.pic
	stride := pic.unitStride
	back, flag := stride, uint8(edgeAbove)
	stepX, stepY := 1, 4 // in units of 2 chroma samples
	if f.vertical {
		back, flag = 1, edgeLeft
		stepX, stepY = 4, 1
	}
	p := &pic.planes[1]
	across, along := p.stride, 1
	if f.vertical {
		across, along = 1, p.stride
	}
	for uy := 0; uy < p.h>>1; uy += stepY {
		if !f.vertical && uy == 0 {
			continue
		}
		for ux := 0; ux < p.w>>1; ux += stepX {
			i := uy*stride + ux
			q := &pic.units[1][i]
			if q.flags&flag == 0 || f.vertical && ux == 0 {
				continue
			}
			o := &pic.units[1][i-back]
			if q.flags&o.flags&flagBdpcm != 0 {
				continue
			}
			bs := [3]int{1: 2, 2: 2}
			if q.flags&o.flags&flagCopy != 0 {
				bs[1] = btoi((q.flags|o.flags)&flagCbf != 0)
				bs[2] = btoi((q.flags|o.flags)&flagCbfCr != 0)
			}
			sh := f.crossable(4*ux, 4*uy)
			if sh == nil {
				continue
			}
			large := o.h >= 8 && q.h >= 8
			if f.vertical {
				large = o.w >= 8 && q.w >= 8
			}
			ctbEdge := !f.vertical && 4*uy&(1<<f.ctbLog2-1) == 0
			pos := 2*uy*p.stride + 2*ux
			for c := 1; c <= 2; c++ {
				if bs[c] == 0 || bs[c] == 1 && !large {
					continue
				}
				qp := (int(o.qp[c-1]) + int(q.qp[c-1]) + 1) >> 1
				f.chromaEdge(pic.planes[c].pix, pos, across, along, f.tc(qp, bs[c], sh.deblock[c]), f.beta(qp, sh.deblock[c]), large, ctbEdge)
			}
		}
	}
}

// chromaEdge filters two lines of a chroma edge. At a CTU row boundary only two lines above are used.
func (f *deblocker) chromaEdge(pix []uint16, pos, across, along int, tc, beta int32, large, ctbEdge bool) {
	a := across
	strong := false
	if large {
		curveP := func(o int) int32 {
			if ctbEdge {
				return abs32(int32(pix[o-a]) - int32(pix[o-2*a]))
			}
			return curve(pix, o-3*a, a)
		}
		o0, o1 := pos, pos+along
		d0 := curveP(o0) + curve(pix, o0, a)
		d1 := curveP(o1) + curve(pix, o1, a)
		strong = d0+d1 < beta &&
			useStrongChroma(pix, o0, a, 2*d0, beta, tc, ctbEdge) && useStrongChroma(pix, o1, a, 2*d1, beta, tc, ctbEdge)
	}
	for i := range 2 {
		o := pos + i*along
		switch {
		case strong && ctbEdge:
			strongChromaShort(pix, o, a, tc)
		case strong:
			strongChroma(pix, o, a, tc)
		default:
			p1, p0, q0, q1 := int32(pix[o-2*a]), int32(pix[o-a]), int32(pix[o]), int32(pix[o+a])
			delta := min(max(((q0-p0)*4+p1-q1+4)>>3, -tc), tc)
			pix[o-a] = uint16(min(max(p0+delta, 0), f.maxVal))
			pix[o] = uint16(min(max(q0-delta, 0), f.maxVal))
		}
	}
}

func useStrongChroma(pix []uint16, o, a int, d, beta, tc int32, ctbEdge bool) bool {
	p0, q0 := int32(pix[o-a]), int32(pix[o])
	far := o - 4*a
	if ctbEdge {
		far = o - 2*a
	}
	return d < beta>>2 && abs32(p0-q0) < (tc*5+1)>>1 &&
		abs32(int32(pix[far])-p0)+abs32(int32(pix[o+3*a])-q0) < beta>>3
}

func strongChroma(pix []uint16, o, a int, tc int32) {
	p3, p2, p1, p0 := int32(pix[o-4*a]), int32(pix[o-3*a]), int32(pix[o-2*a]), int32(pix[o-a])
	q0, q1, q2, q3 := int32(pix[o]), int32(pix[o+a]), int32(pix[o+2*a]), int32(pix[o+3*a])
	set := func(o int, v, old int32) { pix[o] = uint16(min(max((v+4)>>3, old-tc), old+tc)) }
	set(o-3*a, 3*p3+2*p2+p1+p0+q0, p2)
	set(o-2*a, 2*p3+p2+2*p1+p0+q0+q1, p1)
	set(o-a, p3+p2+p1+2*p0+q0+q1+q2, p0)
	set(o, p2+p1+p0+2*q0+q1+q2+q3, q0)
	set(o+a, p1+p0+q0+2*q1+q2+2*q3, q1)
	set(o+2*a, p0+q0+q1+2*q2+3*q3, q2)
}

// strongChromaShort changes only one line above the edge.
func strongChromaShort(pix []uint16, o, a int, tc int32) {
	p1, p0 := int32(pix[o-2*a]), int32(pix[o-a])
	q0, q1, q2, q3 := int32(pix[o]), int32(pix[o+a]), int32(pix[o+2*a]), int32(pix[o+3*a])
	set := func(o int, v, old int32) { pix[o] = uint16(min(max((v+4)>>3, old-tc), old+tc)) }
	set(o-a, 3*p1+2*p0+q0+q1+q2, p0)
	set(o, 2*p1+p0+2*q0+q1+q2+q3, q0)
	set(o+a, p1+p0+q0+2*q1+q2+2*q3, q1)
	set(o+2*a, p0+q0+q1+2*q2+3*q3, q2)
}
