package vvc

// reconstruct predicts the unit, adds residuals and records what in-loop filters need, transform unit by transform unit.
func (d *sliceDecoder) reconstruct(u *cuState) {
	for i := range u.tus[:u.numTUs] {
		t := &u.tus[i]
		if t.luma {
			d.reconstructLuma(u, t, i)
		}
		if t.chroma {
			d.reconstructChroma(u, t)
		}
	}
}

// residualBlock computes the residual of component c (clause 8.7.2) into block, row stride w.
func (d *sliceDecoder) residualBlock(u *cuState, t *transformUnit, c, w, h int, block []int32) {
	clear(block[:w*h])
	d.dequantise(u, t, c, w, h, block)
	if t.skip[c] {
		return
	}
	maxX, maxY := t.maxX[c], t.maxY[c]
	if u.lfnst > 0 && (c == 0 || u.separate) {
		x, y := inverseLfnst(block, w, h, d.lfnstMode(u, c, w, h), u.lfnst)
		maxX, maxY = max(maxX, x), max(maxY, y)
	}
	hor, ver := d.transformKinds(u, t, c)
	d.inverseTransform(block, w, h, hor, ver, maxX, maxY)
}

// lfnstMode returns the intra mode that selects the secondary transform.
func (d *sliceDecoder) lfnstMode(u *cuState, c, w, h int) int {
	if c == 0 {
		if u.isp != ispNone {
			w, h = u.w, u.h
		}
		return wideAngle(w, h, u.lumaMode)
	}
	mode := u.chromaMode
	if mode >= modeCCLM {
		mode = d.colocatedMode(u)
	}
	return wideAngle(w, h, mode)
}

// addResidual adds a block of residuals to the prediction in the picture.
func (d *sliceDecoder) addResidual(c, x, y, w, h int, res []int32) {
	p := &d.pic.planes[c]
	limit := d.maxVal
	for j := range h {
		row := p.pix[(y+j)*p.stride+x : (y+j)*p.stride+x+w]
		r := res[j*w : j*w+w]
		for i, v := range r {
			row[i] = uint16(min(max(int32(row[i])+v, 0), limit))
		}
	}
}

func (d *sliceDecoder) reconstructLuma(u *cuState, t *transformUnit, index int) {
	if !u.copy {
		d.predictLuma(u, t, index)
	}
	if t.cbf[0] {
		res := d.scratch.res[0][:]
		d.residualBlock(u, t, 0, t.w, t.h, res)
		d.addResidual(0, t.x, t.y, t.w, t.h, res)
	}
	if u.isp == ispNone || index == u.numTUs-1 {
		// Subpartitions see each other by construction; the others see the unit when it is complete.
		x, y, w, h := t.x, t.y, t.w, t.h
		if u.isp != ispNone {
			x, y, w, h = u.x, u.y, u.w, u.h
		}
		fillUnits(d.pic.segment[0], d.pic.unitStride, x, y, w, h, d.segment)
	}
	d.markUnits(0, t.x, t.y, t.w, t.h, unitInfo{
		w: uint8(t.w), h: uint8(t.h), qp: [2]int8{int8(u.qp)},
		flags: u.unitFlags(0) | flagCbf*uint8(btoi(t.cbf[0])),
	})
}

// unitFlags returns the flags that all transform units of u share.
func (u *cuState) unitFlags(ch int) uint8 {
	return flagBdpcm*uint8(btoi(u.bdpcm[ch] != 0)) | flagCopy*uint8(btoi(u.copy))
}

// markUnits records a transform block for the deblocking filter.
func (d *sliceDecoder) markUnits(ch, x, y, w, h int, info unitInfo) {
	stride := d.pic.unitStride
	units := d.pic.units[ch]
	x0, x1 := x>>2, (x+w+3)>>2
	for j := y >> 2; j < (y+h+3)>>2; j++ {
		row := units[j*stride+x0 : j*stride+x1]
		for i := range row {
			keep := row[i].flags & (edgeLeft | edgeAbove)
			if x&3 == 0 || i > 0 {
				keep &^= edgeLeft
			}
			if y&3 == 0 || j > y>>2 {
				keep &^= edgeAbove
			}
			row[i] = info
			row[i].flags |= keep
			if i == 0 && x&3 == 0 {
				row[i].flags |= edgeLeft
			}
			if j == y>>2 && y&3 == 0 {
				row[i].flags |= edgeAbove
			}
		}
	}
}

// predictLuma predicts one luma transform block (clause 8.4.5.2).
func (d *sliceDecoder) predictLuma(u *cuState, t *transformUnit, index int) {
	b := blockRef{comp: 0, x: t.x, y: t.y, w: t.w, h: t.h, line: u.mrl}
	if u.isp == ispVertical && t.w < 4 {
		// Narrow subpartitions are predicted four columns at a time.
		if (t.x-u.x)&3 != 0 {
			return
		}
		b.w = 4
	}
	b.refW, b.refH = 2*b.w, 2*b.h
	if u.isp != ispNone {
		b.refW, b.refH = u.w+b.w, u.h+b.h
	}
	d.availability(&b)
	if u.isp != ispNone && index > 0 {
		// The neighbour across the subpartition boundary is the unit itself.
		if u.isp == ispHorizontal {
			b.above = b.w
			b.corner = b.left > 0
		} else {
			b.left = b.h
			b.corner = b.above > 0
		}
	}
	d.loadRef(&b)
	r := &d.scratch.ref
	pl := &d.pic.planes[0]
	p := predictor{
		dst: pl.pix[b.y*pl.stride+b.x:], stride: pl.stride, w: b.w, h: b.h,
		top: r.top[:b.refW+u.mrl+1], left: r.left[:b.refH+u.mrl+1], line: u.mrl, maxVal: d.maxVal,
	}
	if u.mip {
		p.matrix(u.mipMode, u.mipTransposed, d.bitDepth, &d.scratch.mip)
		return
	}
	blend := b.w >= 4 && b.h >= 4 && u.mrl == 0 && u.bdpcm[0] == 0
	switch u.lumaMode {
	case modePlanar:
		if u.isp == ispNone && u.mrl == 0 && b.w*b.h > 32 {
			p.useSmooth(r)
		}
		p.planar()
		if blend {
			p.blendEdges()
		}
		return
	case modeDC:
		p.dc()
		if blend {
			p.blendEdges()
		}
		return
	}
	if u.bdpcm[0] != 0 {
		p.angular(u.lumaMode, true, false, false, r)
		return
	}
	mw, mh := b.w, b.h
	if u.isp != ispNone {
		mw, mh = u.w, u.h
	}
	mode := wideMode(mw, mh, u.lumaMode)
	away := min(abs(mode-modeHorizontal), abs(mode-modeVertical))
	smooth := away > smoothThreshold[(log2(b.w)+log2(b.h))>>1]
	_, _, angle := angleOf(mode)
	cubic := u.isp != ispNone || u.mrl != 0 || !smooth
	if u.isp == ispNone && u.mrl == 0 && smooth && angle&31 == 0 {
		p.useSmooth(r)
	}
	p.angular(mode, true, cubic, blend, r)
}

func abs(v int) int {
	if v < 0 {
		return -v
	}
	return v
}

// useSmooth switches to smoothed reference samples.
func (p *predictor) useSmooth(r *refBuffer) {
	refW, refH := len(p.top)-1, len(p.left)-1
	r.smoothRef(refW, refH)
	p.top, p.left = r.fTop[:refW+1], r.fLeft[:refH+1]
}

func (d *sliceDecoder) reconstructChroma(u *cuState, t *transformUnit) {
	var res [3][]int32
	for c := 1; c <= 2; c++ {
		if t.cbf[c] && !(c == 2 && t.joint == 3) {
			res[c] = d.scratch.res[c][:t.cw*t.ch]
			d.residualBlock(u, t, c, t.cw, t.ch, res[c])
		}
	}
	if t.joint != 0 {
		d.spreadJoint(t, &res)
	}
	if d.lmcsScale.chroma && t.cw*t.ch > 4 && (res[1] != nil || res[2] != nil) {
		scale := d.chromaScale(t)
		for c := 1; c <= 2; c++ {
			if res[c] != nil {
				scaleResidual(res[c], scale, d.maxVal)
			}
		}
	}
	var cclm cclmRef
	isCclm := !u.copy && u.chromaMode >= modeCCLM
	if isCclm {
		cclm = d.prepareCclm(t, u.chromaMode)
	}
	for c := 1; c <= 2; c++ {
		switch {
		case u.copy:
		case isCclm:
			d.predictCclm(&cclm, c)
		default:
			d.predictChroma(u, t, c)
		}
		if res[c] != nil {
			d.addResidual(c, t.cx, t.cy, t.cw, t.ch, res[c])
		}
	}
	x, y, w, h := 2*t.cx, 2*t.cy, 2*t.cw, 2*t.ch
	fillUnits(d.pic.segment[1], d.pic.unitStride, x, y, w, h, d.segment)
	off := d.sps.qpBdOffset()
	qp := [2]int8{int8(d.qpFor(u, t, 1) - off), int8(d.qpFor(u, t, 2) - off)}
	d.markUnits(1, x, y, w, h, unitInfo{
		w: uint8(t.cw), h: uint8(t.ch), qp: qp,
		flags: u.unitFlags(1) | flagCbf*uint8(btoi(t.cbf[1] || t.joint != 0)) | flagCbfCr*uint8(btoi(t.cbf[2] || t.joint != 0)),
	})
}

// spreadJoint derives both chroma residuals from the one that is coded (clause 8.7.2, equation 1145).
func (d *sliceDecoder) spreadJoint(t *transformUnit, res *[3][]int32) {
	from, to := 1, 2
	if t.joint == 1 {
		from, to = 2, 1
	}
	src, dst := res[from], d.scratch.res[to][:t.cw*t.ch]
	res[to] = dst
	sign := int32(1)
	if d.sh.ph.jointSign {
		sign = -1
	}
	shift := 1
	if t.joint == 3 {
		shift = 0
	}
	for i, v := range src {
		dst[i] = sign * v >> shift
	}
}

func (d *sliceDecoder) predictChroma(u *cuState, t *transformUnit, c int) {
	b := blockRef{comp: c, x: t.cx, y: t.cy, w: t.cw, h: t.ch, refW: 2 * t.cw, refH: 2 * t.ch}
	d.availability(&b)
	d.loadRef(&b)
	r := &d.scratch.ref
	pl := &d.pic.planes[c]
	p := predictor{
		dst: pl.pix[b.y*pl.stride+b.x:], stride: pl.stride, w: b.w, h: b.h,
		top: r.top[:b.refW+1], left: r.left[:b.refH+1], maxVal: d.maxVal,
	}
	blend := b.w >= 4 && b.h >= 4 && u.bdpcm[1] == 0
	switch u.chromaMode {
	case modePlanar:
		p.planar()
	case modeDC:
		p.dc()
	default:
		mode := u.chromaMode
		if u.bdpcm[1] == 0 {
			mode = wideMode(b.w, b.h, mode)
		}
		p.angular(mode, false, false, blend, r)
		return
	}
	if blend {
		p.blendEdges()
	}
}
