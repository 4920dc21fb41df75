package vvc

// Intra prediction modes (table 8). Chroma modes continue after the 67 luma modes.
const (
	modePlanar     = 0
	modeDC         = 1
	modeHorizontal = 18
	modeDiagonal   = 34
	modeVertical   = 50
	modeLast       = 66
	modeCCLM       = 67 // neighbours from both sides
	modeCCLMLeft   = 68
	modeCCLMAbove  = 69
	modeDM         = 70 // as luma
)

// Directions of intra subpartitions and of block DPCM.
const (
	ispNone       = 0
	ispHorizontal = 1 // stacked rows
	ispVertical   = 2 // columns side by side

	bdpcmHorizontal = 1
	bdpcmVertical   = 2
)

// cuState is the coding unit being decoded.
type cuState struct {
	x, y, w, h int // luma
	tree       treeType
	luma       bool // codes luma
	chroma     bool // codes chroma
	separate   bool // luma and chroma are coded by different units here
	splits     uint16
	depth      int
	qtDepth    int

	skip, copy    bool
	bdpcm         [2]int
	mip           bool
	mipTransposed bool
	mipMode       int
	mrl           int
	isp           int
	lumaMode      int // planar for MIP
	chromaMode    int
	lfnst         int
	mts           int // explicit transform pair, 0: DCT-II
	qp            int
	chromaQPIdx   int
	bv            blockVector

	numTUs int
	tus    [16]transformUnit

	// What the residuals said about the secondary and the explicit transforms (clause 7.4.12.11).
	lfnstBlocked bool // coefficients outside of the region that the secondary transform produces
	lfnstNotDC   bool
	mtsBlocked   bool
	mtsNotDC     bool
}

// codingUnit decodes coding_unit() (clause 7.3.11.5) and reconstructs it.
func (d *sliceDecoder) codingUnit(n *treeNode) {
	u := &d.cu
	u.reset(n, d.sps.chroma)
	u.separate = n.tree != treeBoth
	if d.qgStart {
		d.qgStart = false
		d.lastQP = d.predictQP(u)
	}
	u.qp = d.lastQP
	if d.pps.cuQPDelta && n.tree == treeChroma {
		u.qp = int(d.cuAt(0, u.x+u.w>>2<<1, u.y+u.h>>2<<1).qp)
	}
	u.chromaQPIdx = d.chromaQPIdx
	d.scratch.coefs = d.scratch.coefs[:0]
	if d.sps.ibc && u.luma {
		d.parseSkipAndMode(n)
	}
	if u.copy {
		d.codeCopy(u)
		return
	}
	if u.luma {
		d.parseLumaMode(u)
	}
	if u.chroma {
		d.parseChromaMode(u)
	}
	d.transformTree(u, u.x, u.y, u.w, u.h)
	if d.err != nil {
		return
	}
	d.parseLfnst(u)
	d.parseMts(u)
	d.register(u)
	d.reconstruct(u)
}

func (u *cuState) reset(n *treeNode, chroma bool) {
	u.x, u.y, u.w, u.h = n.x, n.y, n.w, n.h
	u.tree = n.tree
	u.luma = n.tree != treeChroma
	u.chroma = chroma && n.tree != treeLuma
	u.splits, u.depth, u.qtDepth = n.splits, n.depth, n.qtDepth
	u.skip, u.copy = false, false
	u.bdpcm = [2]int{}
	u.mip, u.mrl, u.isp = false, 0, ispNone
	u.lumaMode, u.chromaMode = modeDC, modeDM
	u.lfnst, u.mts = 0, 0
	u.bv = blockVector{}
	u.numTUs = 0
	u.lfnstBlocked, u.lfnstNotDC, u.mtsBlocked, u.mtsNotDC = false, false, false, false
}

// predictQP derives qPY_PRED at the start of a quantisation group (clause 8.7.1).
func (d *sliceDecoder) predictQP(u *cuState) int {
	inX, inY := u.x&d.ctbMask, u.y&d.ctbMask
	cx := u.x >> d.sps.ctbLog2
	if inX == 0 && inY == 0 && cx == d.pic.colBd[d.pic.tileCol[cx]] {
		if above := d.neighbour(0, u.x, u.y-1); above != nil {
			return int(above.qp)
		}
	}
	a, b := d.lastQP, d.lastQP
	if inY != 0 {
		a = int(d.cuAt(0, u.x, u.y-1).qp)
	}
	if inX != 0 {
		b = int(d.cuAt(0, u.x-1, u.y).qp)
	}
	return (a + b + 1) >> 1
}

// register records the unit for its successors.
func (d *sliceDecoder) register(u *cuState) {
	pic := d.pic
	idx := int32(len(pic.cus))
	pic.cus = append(pic.cus, codingUnit{
		x: int32(u.x), y: int32(u.y), w: uint8(u.w), h: uint8(u.h),
		qtDepth: uint8(u.qtDepth), depth: uint8(u.depth), splits: u.splits,
		qp: int8(u.qp), mode: uint8(u.lumaMode), mip: u.mip, isp: uint8(u.isp),
		bdpcm: [2]uint8{uint8(u.bdpcm[0]), uint8(u.bdpcm[1])},
		skip:  u.skip, copy: u.copy, bv: u.bv,
	})
	if u.luma {
		fillUnits(pic.cuMap[0], pic.unitStride, u.x, u.y, u.w, u.h, idx)
	}
	if u.chroma {
		fillUnits(pic.cuMap[1], pic.unitStride, u.x, u.y, u.w, u.h, idx)
	}
}

// fillUnits sets the entries of a per-4x4 map that a luma rectangle covers.
func fillUnits[T any](m []T, stride, x, y, w, h int, v T) {
	for j := y >> 2; j < (y+h+3)>>2; j++ {
		row := m[j*stride+x>>2 : j*stride+(x+w+3)>>2]
		for i := range row {
			row[i] = v
		}
	}
}

// tsSize reports whether a block may skip the transform by size.
func (d *sliceDecoder) tsSize(w, h int) bool {
	return w <= 1<<d.sps.maxTsLog2 && h <= 1<<d.sps.maxTsLog2
}

func (d *sliceDecoder) parseBdpcm(w, h, ctx int) int {
	if !d.sps.bdpcm || !d.tsSize(w, h) || !d.flag(ctxBdpcm+ctx) {
		return 0
	}
	return 1 + int(d.bin(ctxBdpcm+ctx+1))
}

var bdpcmMode = [3]int{0, modeHorizontal, modeVertical}

// parseLumaMode decodes how luma is predicted (clause 7.3.11.5).
func (d *sliceDecoder) parseLumaMode(u *cuState) {
	if u.bdpcm[0] = d.parseBdpcm(u.w, u.h, 0); u.bdpcm[0] != 0 {
		u.lumaMode = bdpcmMode[u.bdpcm[0]]
		return
	}
	if d.sps.mip {
		if u.mip = d.flag(ctxMipFlag + d.mipContext(u)); u.mip {
			u.mipTransposed = d.bypass() != 0
			u.mipMode = d.truncatedBinary(mipModes[mipClass(u.w, u.h)])
			u.lumaMode = modePlanar
			return
		}
	}
	if d.sps.mrl && u.y&d.ctbMask != 0 && d.flag(ctxMultiRefLine) {
		u.mrl = 1 + int(d.bin(ctxMultiRefLine+1))
	}
	maxTb := 1 << d.sps.maxTbLog2
	if d.sps.isp && u.mrl == 0 && u.w*u.h > 16 && u.w <= maxTb && u.h <= maxTb && d.flag(ctxIsp) {
		u.isp = 1 + int(d.bin(ctxIsp+1))
	}
	if u.mrl != 0 || d.flag(ctxMpmFlag) {
		idx := 1
		if u.mrl == 0 {
			idx = int(d.bin(ctxPlanarFlag + btoi(u.isp == ispNone)))
		}
		if idx == 0 {
			u.lumaMode = modePlanar
			return
		}
		idx += d.truncatedUnaryBypass(4)
		mpm := d.mostProbable(u)
		u.lumaMode = mpm[idx]
		return
	}
	mode := d.truncatedBinary(modeLast + 1 - 6)
	mpm := d.mostProbable(u)
	sort6(&mpm)
	for _, m := range mpm {
		if mode >= m {
			mode++
		}
	}
	u.lumaMode = mode
}

func (d *sliceDecoder) mipContext(u *cuState) int {
	if u.w > 2*u.h || u.h > 2*u.w {
		return 3
	}
	ctx := 0
	if n := d.neighbour(0, u.x-1, u.y); n != nil && n.mip {
		ctx++
	}
	if n := d.neighbour(0, u.x, u.y-1); n != nil && n.mip {
		ctx++
	}
	return ctx
}

func sort6(m *[6]int) {
	for i := 1; i < len(m); i++ {
		for j := i; j > 0 && m[j] < m[j-1]; j-- {
			m[j], m[j-1] = m[j-1], m[j]
		}
	}
}

// mostProbable derives the most probable luma modes (clause 8.4.2).
func (d *sliceDecoder) mostProbable(u *cuState) [6]int {
	left, above := modePlanar, modePlanar
	if n := d.neighbour(0, u.x-1, u.y+u.h-1); n != nil && !n.copy {
		left = int(n.mode)
	}
	if u.y&d.ctbMask != 0 {
		if n := d.neighbour(0, u.x+u.w-1, u.y-1); n != nil && !n.copy {
			above = int(n.mode)
		}
	}
	// Modes 2 and 66 point in opposite directions along one line, so that steps wrap around modulo 64.
	next := func(m, k int) int { return 2 + (m-2+k+64)%64 }
	around := func(m int) [6]int {
		return [6]int{modePlanar, m, next(m, -1), next(m, 1), next(m, -2), next(m, 2)}
	}
	lo, hi := min(left, above), max(left, above)
	switch {
	case hi <= modeDC:
		return [6]int{modePlanar, modeDC, modeVertical, modeHorizontal, modeVertical - 4, modeVertical + 4}
	case left == above:
		return around(left)
	case lo <= modeDC:
		return around(hi)
	}
	m := [6]int{modePlanar, left, above}
	switch diff := hi - lo; {
	case diff == 1:
		m[3], m[4], m[5] = next(lo, -1), next(hi, 1), next(lo, -2)
	case diff >= 62:
		m[3], m[4], m[5] = next(lo, 1), next(hi, -1), next(lo, 2)
	case diff == 2:
		m[3], m[4], m[5] = next(lo, 1), next(lo, -1), next(hi, 1)
	default:
		m[3], m[4], m[5] = next(lo, -1), next(lo, 1), next(hi, -1)
	}
	return m
}

// colocatedMode returns the luma mode at the centre of the unit, from which chroma is derived.
func (d *sliceDecoder) colocatedMode(u *cuState) int {
	if !u.separate {
		return u.lumaMode
	}
	return int(d.cuAt(0, u.x+u.w>>1, u.y+u.h>>1).mode)
}

// parseChromaMode decodes how chroma is predicted.
func (d *sliceDecoder) parseChromaMode(u *cuState) {
	if u.bdpcm[1] = d.parseBdpcm(u.w>>1, u.h>>1, 2); u.bdpcm[1] != 0 {
		u.chromaMode = bdpcmMode[u.bdpcm[1]]
		return
	}
	if d.sps.cclm && d.cclmAllowed(u) && d.flag(ctxCclmFlag) {
		u.chromaMode = modeCCLM
		if d.flag(ctxCclmIdx) {
			u.chromaMode = modeCCLMLeft + int(d.bypass())
		}
		return
	}
	luma := d.colocatedMode(u)
	if !d.flag(ctxChromaPredMode) {
		u.chromaMode = luma
		return
	}
	u.chromaMode = [4]int{modePlanar, modeVertical, modeHorizontal, modeDC}[d.bypassBits(2)]
	if u.chromaMode == luma {
		u.chromaMode = modeLast
	}
}

// cclmAllowed implements the restriction of cross-component prediction to what a 64x64 luma area permits when trees are
// separate (clause 8.4.4, CclmEnabled).
func (d *sliceDecoder) cclmAllowed(u *cuState) bool {
	if !d.dual || d.sps.ctbLog2 <= 5 {
		return true
	}
	top := d.sps.ctbLog2 - 6 // depth of 64x64 nodes
	split := func(depth int) splitMode {
		if depth >= u.depth {
			return splitNone
		}
		return splitMode(u.splits >> (3 * depth) & 7)
	}
	first, second := split(top), split(top+1)
	switch {
	case first == splitQuad, first == splitNone:
	case first == splitHorizontal && (second == splitVertical || second == splitNone):
	default:
		return false
	}
	luma := d.cuAt(0, u.x, u.y)
	if int(luma.depth) > top && int(luma.qtDepth) == top {
		return false // luma is split there, but not into quarters
	}
	return !(int(luma.depth) == top && luma.isp != ispNone)
}

// parseLfnst decodes lfnst_idx.
func (d *sliceDecoder) parseLfnst(u *cuState) {
	if !d.sps.lfnst || u.lfnstBlocked || !u.lfnstNotDC && u.isp == ispNone {
		return
	}
	maxTb := 1 << d.sps.maxTbLog2
	switch {
	case u.w > maxTb || u.h > maxTb:
		return
	case u.isp != ispNone && (u.tus[0].w < 4 || u.tus[0].h < 4):
		return
	case u.mip && (u.w < 16 || u.h < 16):
		return
	case !u.luma && min(u.w, u.h) < 8:
		return
	}
	for i := range u.tus[:u.numTUs] {
		t := &u.tus[i]
		for c := range 3 {
			if t.cbf[c] && t.skip[c] {
				return
			}
		}
	}
	if d.flag(ctxLfnst + btoi(u.separate)) {
		u.lfnst = 1 + int(d.bin(ctxLfnst+2))
	}
}

// parseMts decodes mts_idx.
func (d *sliceDecoder) parseMts(u *cuState) {
	if !u.luma || !d.sps.mtsIntra || u.w > 32 || u.h > 32 || u.isp != ispNone || u.bdpcm[0] != 0 ||
		u.mtsBlocked || !u.mtsNotDC || u.lfnst != 0 || u.tus[0].skip[0] {
		return
	}
	if !d.flag(ctxMts) {
		return
	}
	u.mts = 1
	for u.mts < 4 && d.flag(ctxMts+u.mts) {
		u.mts++
	}
}
