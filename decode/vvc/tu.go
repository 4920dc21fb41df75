package vvc

// transformUnit is one transform unit of the current coding unit. Luma and chroma blocks are in samples of their planes.
type transformUnit struct {
	x, y, w, h     int // luma
	cx, cy, cw, ch int // chroma
	luma, chroma   bool
	cbf            [3]bool
	skip           [3]bool // transform_skip_flag
	joint          int     // 2*cbf_cb + cbf_cr when chroma residuals are coded jointly
	coefs          [3][2]int32
	maxX, maxY     [3]int // last nonzero column and row, rounded up to subblocks
}

// coefficient is a parsed transform coefficient level at (pos & 63, pos >> 6).
type coefficient struct {
	pos   int32
	level int32
}

// transformTree decodes transform_tree() (clause 7.3.11.9).
func (d *sliceDecoder) transformTree(u *cuState, x, y, w, h int) {
	maxTb := 1 << d.sps.maxTbLog2
	if w > maxTb || h > maxTb {
		if w > maxTb && w > h {
			d.transformTree(u, x, y, w/2, h)
			d.transformTree(u, x+w/2, y, w/2, h)
		} else {
			d.transformTree(u, x, y, w, h/2)
			d.transformTree(u, x, y+h/2, w, h/2)
		}
		return
	}
	if u.isp == ispNone {
		t := u.addTU(x, y, w, h, u.luma, u.chroma)
		d.transformUnit(u, t, false, false)
		return
	}
	n, tw, th := ispParts(u.isp, w, h)
	any, prev := false, false
	for i := range n {
		px, py := x, y+i*th
		if u.isp == ispVertical {
			px, py = x+i*tw, y
		}
		t := u.addTU(px, py, tw, th, true, u.chroma && i == n-1)
		t.cx, t.cy, t.cw, t.ch = u.x>>1, u.y>>1, u.w>>1, u.h>>1
		d.transformUnit(u, t, prev, i == n-1 && !any)
		prev = t.cbf[0]
		any = any || prev
	}
}

// ispParts returns the number of subpartitions and their size: four, or two where they would have less than 16 samples.
func ispParts(isp, w, h int) (n, tw, th int) {
	n = 4
	if w*h < 64 {
		n = 2
	}
	if isp == ispVertical {
		return n, w / n, h
	}
	return n, w, h / n
}

func (u *cuState) addTU(x, y, w, h int, luma, chroma bool) *transformUnit {
	t := &u.tus[u.numTUs]
	u.numTUs++
	*t = transformUnit{
		x: x, y: y, w: w, h: h, luma: luma, chroma: chroma,
		cx: x >> 1, cy: y >> 1, cw: w >> 1, ch: h >> 1,
	}
	return t
}

// transformUnit decodes transform_unit() (clause 7.3.11.10). prevCbf is the luma flag of the subpartition before;
// lumaInferred says that the last subpartition must have coefficients because no other one has.
func (d *sliceDecoder) transformUnit(u *cuState, t *transformUnit, prevCbf, lumaInferred bool) {
	if t.chroma {
		cb, cr := ctxCbfCb, ctxCbfCr
		if u.bdpcm[1] != 0 {
			cb, cr = cb+1, cr+2
		}
		t.cbf[1] = d.flag(cb)
		if u.bdpcm[1] == 0 && t.cbf[1] {
			cr++
		}
		t.cbf[2] = d.flag(cr)
	}
	if t.luma {
		ctx := ctxCbfLuma
		switch {
		case u.bdpcm[0] != 0:
			ctx++
		case u.isp != ispNone:
			ctx += 2 + btoi(prevCbf)
		}
		if u.copy && !t.cbf[1] && !t.cbf[2] && u.w == t.w && u.h == t.h {
			lumaInferred = true // a coded unit has coefficients
		}
		t.cbf[0] = lumaInferred || d.flag(ctx)
	}
	chromaCoded := t.cbf[1] || t.cbf[2]
	if u.w > 64 || u.h > 64 || t.cbf[0] || chromaCoded {
		if d.pps.cuQPDelta && !d.dqpCoded && u.tree != treeChroma {
			d.parseQPDelta(u)
		}
		if d.sh.cuChromaQP && !d.chromaQPCoded && u.tree != treeLuma && (chromaCoded || u.w > 64 || u.h > 64) {
			d.parseChromaQPOffset(u)
		}
	}
	if d.sps.jointCbCr && chromaCoded {
		mask := 2*btoi(t.cbf[1]) + btoi(t.cbf[2])
		if (!u.copy || mask == 3) && d.flag(ctxJointCbCr+mask-1) {
			t.joint = mask
		}
	}
	for c := range 3 {
		if t.cbf[c] && !(c == 2 && t.joint == 3) && d.err == nil {
			d.residual(u, t, c)
		}
	}
}

// parseQPDelta decodes cu_qp_delta_abs and its sign.
func (d *sliceDecoder) parseQPDelta(u *cuState) {
	d.dqpCoded = true
	v := 0
	for v < 5 && d.flag(ctxDeltaQP+min(v, 1)) {
		v++
	}
	if v == 5 {
		v += d.expGolomb(0)
	}
	if v != 0 && d.bypass() != 0 {
		v = -v
	}
	off := d.sps.qpBdOffset()
	if v < -(32+off/2) || v > 31+off/2 {
		d.err = invalidf("CuQpDeltaVal is %d", v)
		return
	}
	u.qp = (d.lastQP+v+64+2*off)%(64+off) - off
	d.lastQP = u.qp
}

// parseChromaQPOffset decodes cu_chroma_qp_offset_flag and cu_chroma_qp_offset_idx.
func (d *sliceDecoder) parseChromaQPOffset(u *cuState) {
	d.chromaQPCoded = true
	d.chromaQPIdx = 0
	if d.flag(ctxChromaQpFlag) {
		d.chromaQPIdx = 1
		for d.chromaQPIdx < len(d.pps.chromaQPList) && d.flag(ctxChromaQpIdx) {
			d.chromaQPIdx++
		}
	}
	u.chromaQPIdx = d.chromaQPIdx
}
