package vvc

// Intra block copy (clauses 7.3.11.5 to 7.3.11.7 and 8.6): a unit is predicted by a copy of reconstructed samples of the
// same picture. Block vectors are kept in whole luma samples.

// blockVector is the displacement to the copied block.
type blockVector struct{ x, y int16 }

// ibcHistory is the list of recent block vectors, the latest one last.
type ibcHistory struct {
	list [5]blockVector
	n    int
}

func (h *ibcHistory) reset() { h.n = 0 }

// add appends v, removing its earlier copy or the oldest entry.
func (h *ibcHistory) add(v blockVector) {
	at := 0
	for at < h.n && h.list[at] != v {
		at++
	}
	if at == h.n {
		if h.n < len(h.list) {
			h.list[h.n] = v
			h.n++
			return
		}
		at = 0
	}
	copy(h.list[at:h.n-1], h.list[at+1:h.n])
	h.list[h.n-1] = v
}

// parseSkipAndMode decodes cu_skip_flag and pred_mode_ibc_flag of an I slice.
func (d *sliceDecoder) parseSkipAndMode(n *treeNode) {
	u := &d.cu
	small := u.w <= 64 && u.h <= 64
	left, above := d.neighbour(0, u.x-1, u.y), d.neighbour(0, u.x, u.y-1)
	if small || !n.intraOnly {
		ctx := btoi(left != nil && left.skip) + btoi(above != nil && above.skip)
		u.skip = d.flag(ctxSkipFlag + ctx)
	}
	if u.skip && !small {
		d.err = invalidf("skipped unit of %dx%d samples in an I slice", u.w, u.h)
		return
	}
	if u.skip {
		u.copy = true
	} else if small {
		ctx := btoi(left != nil && left.copy) + btoi(above != nil && above.copy)
		u.copy = d.flag(ctxIbcFlag + ctx)
	}
}

// codeCopy decodes the rest of a block copy unit and reconstructs it.
func (d *sliceDecoder) codeCopy(u *cuState) {
	merge := u.skip || d.flag(ctxMergeFlag)
	if merge {
		idx := 0
		if d.sps.maxIBCMerge > 1 && d.flag(ctxMergeIdx) {
			idx = 1 + d.truncatedUnaryBypass(d.sps.maxIBCMerge-2)
		}
		u.bv = d.copyCandidate(u, idx)
	} else {
		d.parseVector(u)
	}
	coded := !u.skip && (merge || d.flag(ctxRootCbf))
	if coded {
		d.transformTree(u, u.x, u.y, u.w, u.h)
	} else {
		d.emptyTree(u, u.x, u.y, u.w, u.h)
	}
	if d.err != nil {
		return
	}
	if u.w*u.h > 16 {
		d.hmvp.add(u.bv)
	}
	if !d.predictCopy(u) {
		d.err = invalidf("block vector (%d, %d) at (%d, %d) leaves the reconstructed area", u.bv.x, u.bv.y, u.x, u.y)
		return
	}
	d.register(u)
	d.reconstruct(u)
}

// emptyTree adds the transform units of a unit without residual.
func (d *sliceDecoder) emptyTree(u *cuState, x, y, w, h int) {
	maxTb := 1 << d.sps.maxTbLog2
	if w <= maxTb && h <= maxTb {
		u.addTU(x, y, w, h, u.luma, u.chroma)
		return
	}
	for j := 0; j < h; j += maxTb {
		for i := 0; i < w; i += maxTb {
			u.addTU(x+i, y+j, min(w, maxTb), min(h, maxTb), u.luma, u.chroma)
		}
	}
}

// parseVector decodes a block vector as a difference to a predictor.
func (d *sliceDecoder) parseVector(u *cuState) {
	x, y := int(d.bin(ctxMvd)), int(d.bin(ctxMvd))
	if x > 0 {
		x += int(d.bin(ctxMvd + 1))
	}
	if y > 0 {
		y += int(d.bin(ctxMvd + 1))
	}
	rest := func(v int) int {
		if v > 1 {
			v += d.limitedGolomb(1, 0, 17)
		}
		if v > 0 && d.bypass() != 0 {
			v = -v
		}
		return v
	}
	x = rest(x)
	y = rest(y)
	idx := 0
	if d.sps.maxIBCMerge > 1 {
		idx = int(d.bin(ctxMvpIdx))
	}
	pred := d.copyCandidate(u, idx)
	px, py := int(pred.x), int(pred.y)
	if d.sps.amvr && (x != 0 || y != 0) && d.flag(ctxAmvr+1) {
		// Steps of four samples.
		px, py = roundToFour(px), roundToFour(py)
		x, y = 4*x, 4*y
	}
	u.bv = blockVector{wrapVector(px + x), wrapVector(py + y)}
}

func roundToFour(v int) int {
	if v >= 0 {
		return (v + 1) >> 2 << 2
	}
	return (v + 2) >> 2 << 2
}

// wrapVector keeps 14 bits: vectors have 18 bits in units of 1/16 sample.
func wrapVector(v int) int16 { return int16(v<<2) >> 2 }

// copyCandidate derives entry idx of the list of block vector candidates (clause 8.6.2.2).
func (d *sliceDecoder) copyCandidate(u *cuState, idx int) blockVector {
	var spatial [2]blockVector
	n := 0
	large := u.w*u.h > 16
	if large {
		if left := d.neighbour(0, u.x-1, u.y+u.h-1); left != nil && left.copy {
			spatial[n] = left.bv
			n++
		}
		if n < d.sps.maxIBCMerge {
			above := d.neighbour(0, u.x+u.w-1, u.y-1)
			if above != nil && above.copy && (n == 0 || above.bv != spatial[0]) {
				spatial[n] = above.bv
				n++
			}
		}
	}
	if idx < n {
		return spatial[idx]
	}
	count := n
	for i := d.hmvp.n - 1; i >= 0 && count < d.sps.maxIBCMerge; i-- {
		v := d.hmvp.list[i]
		if i == d.hmvp.n-1 && large && (n > 0 && v == spatial[0] || n > 1 && v == spatial[1]) {
			continue
		}
		if count == idx {
			return v
		}
		count++
	}
	return blockVector{}
}

// predictCopy copies the prediction of a unit. It reports false when the source is not reconstructed.
func (d *sliceDecoder) predictCopy(u *cuState) bool {
	sx, sy := u.x+int(u.bv.x), u.y+int(u.bv.y)
	for _, p := range [4][2]int{{0, 0}, {u.w - 1, 0}, {0, u.h - 1}, {u.w - 1, u.h - 1}} {
		if !d.availableAt(0, sx+p[0], sy+p[1]) || u.chroma && !d.availableAt(1, sx+p[0], sy+p[1]) {
			return false
		}
	}
	for c := range d.pic.comps {
		if c > 0 && !u.chroma {
			break
		}
		s := min(c, 1)
		pl := &d.pic.planes[c]
		dst := u.y>>s*pl.stride + u.x>>s
		src := dst + int(u.bv.y)>>s*pl.stride + int(u.bv.x)>>s
		w := u.w >> s
		for range u.h >> s {
			copy(pl.pix[dst:dst+w], pl.pix[src:src+w])
			dst += pl.stride
			src += pl.stride
		}
	}
	return true
}
