package vvc

// residual codes the levels of a luma transform block, given in scan order (residual_coding(), clause 7.3.11.11), the
// reverse of sliceDecoder.residualRegular with dependent quantisation. At least one level is not zero.
func (e *sliceEncoder) residual(levels []int32, w, h int) {
	scan := blockScans[log2(w)][log2(h)]
	last := len(levels) - 1
	for levels[last] == 0 {
		last--
	}
	e.lastPosition(int(scan.x[last]), int(scan.y[last]), w, h)
	s := e.d.scratch
	rows := (h + 2*levelPad) * levelStride
	clear(s.template[:rows])
	clear(s.level[:rows])
	budget := w * h * 28 >> 4
	state := uint32(0)
	var coded [8]uint32
	for g := last >> 4; g >= 0; g-- {
		group := levels[g<<4 : g<<4+16]
		gx, gy := scan.x[g<<4]>>2, scan.y[g<<4]>>2
		inferred := -1
		if g != last>>4 && g != 0 {
			near := coded[gy] >> (gx + 1) & 1
			if gy < 7 {
				near |= coded[gy+1] >> gx & 1
			}
			any := false
			for _, l := range group {
				any = any || l != 0
			}
			e.w.flag(ctxSubblockLuma+int(near), any)
			if !any {
				continue
			}
			inferred = 0
		}
		coded[gy] |= 1 << gx
		start := 15
		if g == last>>4 {
			start = last & 15
		}
		state, budget = e.subblock(scan, g, group, start, inferred, g == last>>4, state, budget)
	}
}

// subblock codes the levels of subblock g from scan position start on and returns the next state and budget.
func (e *sliceEncoder) subblock(scan *blockScan, g int, group []int32, start, inferred int, isLast bool, state uint32, budget int) (uint32, int) {
	s := e.d.scratch
	w := &e.w
	offsets := scan.off[g<<4 : g<<4+16]
	any := false
	pos := start
	signs, n := uint32(0), 0
	for ; pos >= 0 && budget >= 4; pos-- {
		off := int(offsets[pos])
		tpl := s.template[off]
		k := scan.diag[g<<4+pos]
		level := group[pos]
		negative := level < 0
		level = abs32(level)
		ctx := 0
		if !(isLast && pos == start) {
			ctx = int(gtContext[tpl] + levelDiagonal[0][k])
			if pos != inferred || any {
				budget--
				w.flag(residualContexts[0].sig[max(int(state)-1, 0)]+int(sigContext[tpl]+sigDiagonal[0][k]), level != 0)
				if level == 0 {
					state = stateTransitions >> (state << 2) & 3
					continue
				}
			}
		}
		any = true
		signs = signs<<1 | uint32(btoi(negative))
		n++
		budget--
		w.flag(ctxGt1Luma+ctx, level > 1)
		if level > 1 {
			budget -= 2
			w.bin(ctxParLuma+ctx, uint32(level)&1)
			w.flag(ctxGt2Luma+ctx, level > 3)
		}
		state = stateTransitions >> (state<<2 + uint32(level&1)<<1) & 3
		add := uint8(32 + min(level, 4+level&1))
		s.template[off-1] += add
		s.template[off-2] += add
		s.template[off-levelStride] += add
		s.template[off-2*levelStride] += add
		s.template[off-levelStride-1] += add
	}
	for i := start; i > pos; i-- {
		off := int(offsets[i])
		level := int(abs32(group[i]))
		if level > 3 {
			w.remainder((level-4)>>1, int(riceParam[min(max(s.templateSum(off)-20, 0), 31)]))
		}
		s.level[off] = saturate(level)
	}
	for ; pos >= 0; pos-- {
		off := int(offsets[pos])
		level := int(abs32(group[pos]))
		rice := riceParam[min(s.templateSum(off), 31)]
		w.remainder(int(bypassCode(int32(level), rice, state)), int(rice))
		if level != 0 {
			signs = signs<<1 | uint32(btoi(group[pos] < 0))
			n++
			s.level[off] = saturate(level)
		}
		state = stateTransitions >> (state<<2 + uint32(level&1)<<1) & 3
	}
	w.bypassBits(signs, n)
	return state, budget
}

// bypassCode maps a level to the number that dec_abs_level codes: zero trades places with a number that depends on the Rice
// parameter and the state.
func bypassCode(level int32, rice uint8, state uint32) int32 {
	zero := int32(1) << rice << (state >> 1)
	switch {
	case level == 0:
		return zero
	case level <= zero:
		return level - 1
	}
	return level
}

// lastPosition codes the position of the last significant coefficient.
func (e *sliceEncoder) lastPosition(x, y, w, h int) {
	prefix := func(ctx, v, n int) int {
		offset, shift := lastContext(n)
		limit := lastPrefixMax(n)
		p := 0
		for p < limit && lastGroupMin[p+1] <= v {
			p++
		}
		for i := range p {
			e.w.bin(ctx+offset+i>>shift, 1)
		}
		if p < limit {
			e.w.bin(ctx+offset+p>>shift, 0)
		}
		return p
	}
	px := prefix(ctxLastXLuma, x, w)
	py := prefix(ctxLastYLuma, y, h)
	if px > 3 {
		e.w.bypassBits(uint32(x-lastGroupMin[px]), (px-2)>>1)
	}
	if py > 3 {
		e.w.bypassBits(uint32(y-lastGroupMin[py]), (py-2)>>1)
	}
}

// gtContext and sigContext give the part of level and significance contexts that depends on the template of a coefficient
// in the form of scratch.template.
var gtContext, sigContext = func() (gt, sig [256]uint8) {
	for t := range 256 {
		sum := t & 31
		gt[t] = uint8(min(max(sum-t>>5, 0), 4) + 1)
		sig[t] = uint8(min((sum+1)>>1, 3))
	}
	return
}()

// blockScan is the coding order of a luma transform block of 4x4 subblocks.
type blockScan struct {
	x, y, diag [32 * 32]uint8
	off        [32 * 32]uint16 // in the padded work arrays
}

// blockScans is indexed by the log2 of width and height, 2 to 5 each.
var blockScans = func() (t [encMaxTbLog2 + 1][encMaxTbLog2 + 1]*blockScan) {
	inner := &scanTables[2][2]
	for lw := encMinCbLog2; lw <= encMaxTbLog2; lw++ {
		for lh := encMinCbLog2; lh <= encMaxTbLog2; lh++ {
			s := new(blockScan)
			groups := &scanTables[lw-2][lh-2]
			for i := range 1 << (lw + lh) {
				x := groups.x[i>>4]<<2 + inner.x[i&15]
				y := groups.y[i>>4]<<2 + inner.y[i&15]
				s.x[i], s.y[i], s.diag[i] = x, y, x+y
				s.off[i] = uint16((int(y)+levelPad)*levelStride + int(x) + levelPad)
			}
			t[lw][lh] = s
		}
	}
	return t
}()
