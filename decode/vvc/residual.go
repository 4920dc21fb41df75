package vvc

// contextSet holds the first contexts of the syntax elements of residual_coding() for one channel.
type contextSet struct {
	sig      [3]int // by dependent quantisation state: 0 and 1, 2, 3
	par      int
	gt1, gt2 int
	subblock int
	lastX    int
	lastY    int
}

var residualContexts = [2]contextSet{
	{[3]int{ctxSigLuma0, ctxSigLuma1, ctxSigLuma2}, ctxParLuma, ctxGt1Luma, ctxGt2Luma, ctxSubblockLuma, ctxLastXLuma, ctxLastYLuma},
	{[3]int{ctxSigChroma0, ctxSigChroma1, ctxSigChroma2}, ctxParChroma, ctxGt1Chroma, ctxGt2Chroma, ctxSubblockChroma, ctxLastXChroma, ctxLastYChroma},
}

// riceParam maps the clipped sum of absolute levels of a template to a Rice parameter (table 128).
var riceParam = [32]uint8{0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3}

// sigDiagonal and levelDiagonal give, by channel and x+y, what the position of a coefficient adds to its significance
// and level contexts.
var sigDiagonal, levelDiagonal = func() (sig, level [2][64]uint8) {
	for k := range 64 {
		if k < 2 {
			sig[0][k], sig[1][k] = 8, 4
		} else if k < 5 {
			sig[0][k] = 4
		}
		switch {
		case k == 0:
			level[0][k], level[1][k] = 15, 5
		case k < 3:
			level[0][k] = 10
		case k < 10:
			level[0][k] = 5
		}
	}
	return
}()

// lastGroupMin holds the smallest last position of each prefix; prefixes from 4 on are refined by a suffix.
var lastGroupMin = [14]int{0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96}

// lastPrefixMax returns the largest prefix for a side of n samples.
func lastPrefixMax(n int) int { return max(2*log2(n)-1, 0) }

// stateTransitions packs the next dependent quantisation state by 4*state + 2*parity, two bits each (table 129).
const stateTransitions = 32040

// residual decodes residual_coding() or residual_ts_coding() of component c (clauses 7.3.11.11 and 7.3.11.12).
func (d *sliceDecoder) residual(u *cuState, t *transformUnit, c int) {
	w, h := t.w, t.h
	if c > 0 {
		w, h = t.cw, t.ch
	}
	ch := min(c, 1)
	switch {
	case u.bdpcm[ch] != 0:
		t.skip[c] = true
	case d.sps.transformSkip && d.tsSize(w, h) && (u.isp == ispNone || c > 0):
		t.skip[c] = d.flag(ctxMts + 4 + ch)
	}
	t.coefs[c][0] = int32(len(d.scratch.coefs))
	if t.skip[c] && !d.sh.tsRegular {
		d.residualTS(t, c, w, h, u.bdpcm[ch] != 0)
	} else {
		d.residualRegular(u, t, c, w, h)
	}
	t.coefs[c][1] = int32(len(d.scratch.coefs))
}

// lastPosition decodes the position of the last significant coefficient.
func (d *sliceDecoder) lastPosition(set *contextSet, ch, w, h int) (int, int) {
	prefix := func(ctx, n int) int {
		l := log2(n)
		shift := (l + 1) >> 2
		if ch == 0 {
			ctx += [8]int{0, 0, 0, 3, 6, 10, 15, 21}[l]
		} else {
			shift = min(n>>3, 2)
		}
		limit := lastPrefixMax(min(n, 32))
		p := 0
		for p < limit && d.flag(ctx+p>>shift) {
			p++
		}
		return p
	}
	suffix := func(p int) int {
		if p <= 3 {
			return p
		}
		return lastGroupMin[p] + int(d.bypassBits((p-2)>>1))
	}
	px := prefix(set.lastX, w)
	py := prefix(set.lastY, h)
	x := suffix(px)
	return x, suffix(py)
}

func (d *sliceDecoder) residualRegular(u *cuState, t *transformUnit, c, w, h int) {
	ch := min(c, 1)
	set := &residualContexts[ch]
	lastX, lastY := d.lastPosition(set, ch, w, h)
	zw, zh := min(w, 32), min(h, 32) // coefficients beyond are zero
	if lastX >= zw || lastY >= zh {
		d.err = invalidf("last coefficient at (%d, %d) of a %dx%d block", lastX, lastY, w, h)
		return
	}
	lw, lh := subblockLog2(log2(w), log2(h))
	groups := &scanTables[log2(zw)-lw][log2(zh)-lh]
	inner := &scanTables[lw][lh]
	size := 1 << (lw + lh)
	lastGroup := groups.index(lastX>>lw, lastY>>lh, (zw*zh)>>(lw+lh))
	lastPos := inner.index(lastX&(1<<lw-1), lastY&(1<<lh-1), size)
	last := lastGroup<<(lw+lh) + lastPos
	if !t.skip[c] {
		if w >= 4 && h >= 4 {
			limit := 15
			if w == h && w <= 8 {
				limit = 7
			}
			u.lfnstBlocked = u.lfnstBlocked || last > limit
			u.lfnstNotDC = u.lfnstNotDC || last > 0
		}
		u.mtsNotDC = u.mtsNotDC || c == 0 && last > 0
	}

	s := d.scratch
	rows := (zh + 2*levelPad) * levelStride
	clear(s.template[:rows])
	clear(s.level[:rows])
	r := residualReader{
		cabac: &d.cabac, set: set, s: s,
		sigDiag: &sigDiagonal[ch], levelDiag: &levelDiagonal[ch],
		inner: inner, size: size, lastPos: lastPos,
		budget:    zw * zh * 28 >> 4,
		hideSigns: d.sh.signHiding,
	}
	if d.sh.depQuant {
		r.transitions = stateTransitions
		r.doubled = !t.skip[c]
	}
	var coded [8]uint32 // significant subblocks by row, one bit per column
	maxX, maxY := 0, 0
	for g := lastGroup; g >= 0; g-- {
		gx, gy := int(groups.x[g]), int(groups.y[g])
		if g != lastGroup && g != 0 {
			near := coded[gy] >> (gx + 1) & 1
			if gy < 7 {
				near |= coded[gy+1] >> gx & 1
			}
			if !d.flag(set.subblock + int(near)) {
				continue
			}
		}
		coded[gy] |= 1 << gx
		r.x, r.y = gx<<lw, gy<<lh
		r.first, r.last = g == 0, g == lastGroup
		if r.subblock() {
			maxX, maxY = max(maxX, gx), max(maxY, gy)
		}
		u.mtsBlocked = u.mtsBlocked || c == 0 && (gx > 3 || gy > 3)
	}
	t.maxX[c], t.maxY[c] = (maxX+1)<<lw-1, (maxY+1)<<lh-1
	if last == 0 {
		t.maxX[c], t.maxY[c] = 0, 0
	}
}

// residualReader decodes the subblocks of one transform block.
type residualReader struct {
	*cabac
	set                *contextSet
	s                  *scratch
	sigDiag, levelDiag *[64]uint8
	inner              *scanTable
	size               int // of a subblock
	lastPos            int // within the last subblock
	x, y               int // of the subblock
	first, last        bool
	budget             int // context coded bins left (remBinsPass1)
	transitions        uint32
	state              uint32
	doubled            bool // levels are indices of dependent quantisation
	hideSigns          bool
}

// saturate keeps what later templates can tell apart: their sums are clipped to 31 after at most 20 is subtracted.
func saturate(level int) uint8 { return uint8(min(level, 63)) }

// subblock decodes one significant subblock and appends its coefficients. It reports whether there are any.
func (r *residualReader) subblock() bool {
	s := r.s
	base := (r.y+levelPad)*levelStride + r.x + levelPad
	diag := r.x + r.y
	start := r.size - 1
	if r.last {
		start = r.lastPos
	}
	var (
		positions [16]uint8 // scan positions of nonzero levels in decoding order
		levels    [16]int32
		odd       [16]bool // decoded in states 2 and 3
		remaining [16]uint8
	)
	n, pending := 0, 0
	pos := start
	state := r.state
	inferred := -1 // position whose significance follows from the others being zero
	if !r.last && !r.first {
		inferred = 0
	}
	for ; pos >= 0 && r.budget >= 4; pos-- {
		off := base + int(r.inner.off[pos])
		tpl := int(s.template[off])
		k := diag + int(r.inner.x[pos]) + int(r.inner.y[pos])
		sum := tpl & 31
		ctx := 0
		if r.last && pos == start {
			// the last coefficient is significant and has its own level contexts
		} else {
			ctx = min(sum-tpl>>5, 4) + 1 + int(r.levelDiag[k])
			if !(pos == inferred && n == 0) {
				sig := min((sum+1)>>1, 3) + int(r.sigDiag[k])
				r.budget--
				if !r.flag(r.set.sig[max(int(state)-1, 0)] + sig) {
					state = r.transitions >> (state << 2) & 3
					continue
				}
			}
		}
		level := 1
		r.budget--
		if r.flag(r.set.gt1 + ctx) {
			level = 2 + int(r.bin(r.set.par+ctx))
			r.budget -= 2
			if r.flag(r.set.gt2 + ctx) {
				level += 2
				remaining[pending] = uint8(n)
				pending++
			}
		}
		positions[n], levels[n], odd[n] = uint8(pos), int32(level), state >= 2
		n++
		state = r.transitions >> (state<<2 + uint32(level&1)<<1) & 3
		s.level[off] = uint8(level)
		add := uint8(32 + level)
		s.template[off-1] += add
		s.template[off-2] += add
		s.template[off-levelStride] += add
		s.template[off-2*levelStride] += add
		s.template[off-levelStride-1] += add
	}
	for _, i := range remaining[:pending] {
		off := base + int(r.inner.off[positions[i]])
		rice := riceParam[min(max(s.templateSum(off)-20, 0), 31)]
		levels[i] += int32(r.remainder(int(rice)) << 1)
		s.level[off] = saturate(int(levels[i]))
	}
	for ; pos >= 0; pos-- {
		off := base + int(r.inner.off[pos])
		rice := int(riceParam[min(s.templateSum(off), 31)])
		zero := 1 << rice // the code that stands for zero
		if state >= 2 {
			zero <<= 1
		}
		level := r.remainder(rice)
		if level == zero {
			level = 0
		} else if level < zero {
			level++
		}
		if level != 0 {
			positions[n], levels[n], odd[n] = uint8(pos), int32(level), state >= 2
			n++
			s.level[off] = saturate(level)
		}
		state = r.transitions >> (state<<2 + uint32(level&1)<<1) & 3
	}
	r.state = state
	if n == 0 {
		return false
	}
	r.appendSigned(positions[:n], levels[:n], odd[:n])
	return true
}

// templateSum adds the absolute levels to the right of and below a coefficient.
func (s *scratch) templateSum(off int) int {
	l := s.level[off : off+2*levelStride+1]
	return int(l[1]) + int(l[2]) + int(l[levelStride]) + int(l[levelStride+1]) + int(l[2*levelStride])
}

// appendSigned decodes signs and appends the coefficients.
func (r *residualReader) appendSigned(positions []uint8, levels []int32, odd []bool) {
	n := len(positions)
	hidden := r.hideSigns && positions[0]-positions[n-1] > 3
	coded := n - btoi(hidden)
	signs := r.bypassBits(coded) << (32 - coded)
	if hidden {
		sum := int32(0)
		for _, l := range levels {
			sum += l
		}
		signs |= uint32(sum&1) << (31 - coded)
	}
	coefs := r.s.coefs
	for i, p := range positions {
		l := levels[i]
		if r.doubled {
			l <<= 1
			if odd[i] {
				l--
			}
		}
		if signs&(1<<31) != 0 {
			l = -l
		}
		signs <<= 1
		x, y := r.x+int(r.inner.x[p]), r.y+int(r.inner.y[p])
		coefs = append(coefs, coefficient{int32(y<<6 | x), l})
	}
	r.s.coefs = coefs
}
