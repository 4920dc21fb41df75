package vvc

// sliceDecoder decodes the data of one slice at a time into its picture. It holds all scratch memory of block decoding;
// slices of one picture could be decoded by several of them in turn, pictures by several at the same time.
type sliceDecoder struct {
	cabac
	pic *picture
	sh  *sliceHeader
	sps *sps
	pps *pps
	err error

	dual      bool   // luma and chroma have separate trees
	segment   uint32 // identifies the current slice and tile in availability maps
	ctbMask   int
	limitX    int // samples from here on are not available
	bitDepth  int
	maxVal    int32
	wppModels [numContexts]contextModel

	// QP prediction (clause 8.7.1): state of the current quantisation group.
	lastQP        int
	qgStart       bool
	dqpCoded      bool
	chromaQPCoded bool
	chromaQPIdx   int // entry of the chroma QP offset list plus one

	lmcsScale lmcsScaler
	hmvp      ibcHistory
	cu        cuState
	scratch   *scratch
}

// scratch is the block-level working memory of a sliceDecoder.
type scratch struct {
	template [levelRows * levelStride]uint8 // per coefficient: 32 * significant + sum of first-pass levels of its template
	level    [levelRows * levelStride]uint8 // absolute levels, saturated
	tsLevel  [levelRows * levelStride]int32
	coefs    []coefficient
	res      [3][64 * 64]int32
	tmp      [64 * 64]int32
	work     transformWork
	ref      refBuffer
	cclm     cclmBuffer
	mip      [64 * 64]int32
}

func newSliceDecoder() *sliceDecoder {
	return &sliceDecoder{scratch: &scratch{coefs: make([]coefficient, 0, 128*128*3/2)}}
}

// decode decodes slice data (clause 7.3.11.1) that follows the slice header.
func (d *sliceDecoder) decode(pic *picture, sh *sliceHeader, data []byte, segment *uint32) error {
	d.pic, d.sh = pic, sh
	d.sps, d.pps = pic.sps, pic.pps
	d.err = nil
	d.dual = d.sps.dualTree
	d.ctbMask = 1<<d.sps.ctbLog2 - 1
	d.bitDepth = d.sps.bitDepth
	d.maxVal = 1<<d.bitDepth - 1
	d.lmcsScale.init(sh, d.bitDepth)
	d.data = data
	d.initContexts(sh.qp)
	d.start(0)
	d.lastQP = sh.qp
	d.dqpCoded, d.chromaQPCoded, d.chromaQPIdx = false, false, 0
	*segment++
	d.segment = *segment
	wpp := d.sps.wpp
	for i, c := range sh.ctus {
		x, y := int(c)%pic.widthCtu, int(c)/pic.widthCtu
		tileX := pic.colBd[pic.tileCol[x]]
		d.limitX = pic.pps.width
		if wpp {
			// With wavefronts, rows run one CTU apart: the CTU above to the right may not exist yet.
			d.limitX = min(d.limitX, (x+1)<<d.sps.ctbLog2)
		}
		newTile := x == tileX && y == pic.rowBd[pic.tileRow[y]]
		ctu := &pic.ctus[c]
		*ctu = ctuInfo{slice: sh, tile: int32(pic.tileRow[y]*(len(pic.colBd)-1) + pic.tileCol[x])}
		if i > 0 && pic.startsSubstream(int(c), int(sh.ctus[i-1]), wpp) {
			if newTile {
				*segment++
				d.segment = *segment
			}
			d.initContexts(sh.qp)
			d.start(d.end())
		}
		if newTile || wpp && x == tileX {
			d.lastQP = sh.qp
		}
		if wpp && x == tileX && !newTile && d.availableAt(0, x<<d.sps.ctbLog2, y<<d.sps.ctbLog2-1) {
			d.models = d.wppModels
		}
		if x == tileX {
			d.hmvp.reset()
		}
		d.codingTreeUnit(ctu, x, y)
		if d.err == nil && d.overrun() {
			d.err = invalidf("slice data ends in CTU %d", c)
		}
		if d.err != nil {
			return d.err
		}
		if wpp && x == tileX {
			d.wppModels = d.models
		}
		last := i == len(sh.ctus)-1
		if last || pic.startsSubstream(int(sh.ctus[i+1]), int(c), wpp) {
			if !d.terminate() {
				return invalidf("no terminating bit after CTU %d", c)
			}
		}
	}
	return nil
}

// availableAt reports whether the sample at luma position (x, y) of a tree is reconstructed and in the same slice and tile.
func (d *sliceDecoder) availableAt(ch, x, y int) bool {
	if x < 0 || y < 0 || x >= d.limitX || y >= d.pps.height {
		return false
	}
	return d.pic.segment[ch][(y>>2)*d.pic.unitStride+x>>2] == d.segment
}

// neighbour returns the coding unit that covers luma position (x, y), or nil when it is not available.
func (d *sliceDecoder) neighbour(ch, x, y int) *codingUnit {
	if !d.availableAt(ch, x, y) {
		return nil
	}
	return d.cuAt(ch, x, y)
}

func (d *sliceDecoder) cuAt(ch, x, y int) *codingUnit {
	return &d.pic.cus[d.pic.cuMap[ch][(y>>2)*d.pic.unitStride+x>>2]]
}

// codingTreeUnit decodes coding_tree_unit() (clause 7.3.11.2).
func (d *sliceDecoder) codingTreeUnit(ctu *ctuInfo, cx, cy int) {
	size := 1 << d.sps.ctbLog2
	x, y := cx*size, cy*size
	var left, above *ctuInfo
	addr := cy*d.pic.widthCtu + cx
	if d.availableAt(0, x-1, y) {
		left = &d.pic.ctus[addr-1]
	}
	if d.availableAt(0, x, y-1) {
		above = &d.pic.ctus[addr-d.pic.widthCtu]
	}
	d.parseSAO(ctu, left, above)
	d.parseALF(ctu, left, above)
	node := treeNode{x: x, y: y, w: size, h: size, qgLuma: true, qgChroma: true, partIdx: -1}
	if d.dual && d.sps.chroma {
		d.dualTree(node)
	} else {
		d.codingTree(node)
	}
}

// parseSAO decodes sao() (clause 7.3.11.3).
func (d *sliceDecoder) parseSAO(ctu, left, above *ctuInfo) {
	if !d.sh.sao[0] && !d.sh.sao[1] {
		return
	}
	if left != nil && d.flag(ctxSaoMerge) {
		d.mergeSAO(ctu, left)
		return
	}
	if above != nil && d.flag(ctxSaoMerge) {
		d.mergeSAO(ctu, above)
		return
	}
	limit := 1<<(min(d.bitDepth, 10)-5) - 1
	for c := range d.pic.comps {
		if !d.sh.sao[min(c, 1)] {
			continue
		}
		p := &ctu.sao[c]
		if c == 2 {
			p.kind, p.class = ctu.sao[1].kind, ctu.sao[1].class
		} else if d.flag(ctxSaoType) {
			p.kind = saoBand + saoKind(d.bypass())
		}
		if p.kind == saoOff {
			continue
		}
		for i := range p.offset {
			p.offset[i] = int16(d.truncatedUnaryBypass(limit))
		}
		if p.kind == saoBand {
			for i := range p.offset {
				if p.offset[i] != 0 && d.bypass() != 0 {
					p.offset[i] = -p.offset[i]
				}
			}
			p.class = uint8(d.bypassBits(5))
			continue
		}
		p.offset[2], p.offset[3] = -p.offset[2], -p.offset[3]
		if c != 2 {
			p.class = uint8(d.bypassBits(2))
		}
	}
}

func (d *sliceDecoder) mergeSAO(ctu, from *ctuInfo) {
	for c := range d.pic.comps {
		if d.sh.sao[min(c, 1)] {
			ctu.sao[c] = from.sao[c]
		}
	}
}

// parseALF decodes the adaptive loop filter flags of a CTU (clause 7.3.11.2).
func (d *sliceDecoder) parseALF(ctu, left, above *ctuInfo) {
	a := &d.sh.alf
	count := func(on func(*ctuInfo) bool) int {
		n := 0
		if left != nil && on(left) {
			n++
		}
		if above != nil && on(above) {
			n++
		}
		return n
	}
	if a.enabled[0] {
		ctu.alf[0] = d.flag(ctxAlfFlag + count(func(n *ctuInfo) bool { return n.alf[0] }))
		if ctu.alf[0] {
			d.parseALFSet(ctu)
		}
	}
	for c := 1; c < d.pic.comps; c++ {
		if !a.enabled[c] {
			continue
		}
		ctu.alf[c] = d.flag(ctxAlfFlag + 3*c + count(func(n *ctuInfo) bool { return n.alf[c] }))
		if ctu.alf[c] {
			alt := 0
			for alt < a.chroma.chromaAlts-1 && d.flag(ctxAlfAlternative+c-1) {
				alt++
			}
			ctu.alfAlt[c-1] = uint8(alt)
		}
	}
	for c := range d.pic.comps - 1 {
		if a.cc[c] == nil {
			continue
		}
		if d.flag(ctxCcAlf + 3*c + count(func(n *ctuInfo) bool { return n.cc[c] != 0 })) {
			ctu.cc[c] = uint8(1 + d.truncatedUnaryBypass(a.cc[c].ccFilters[c]-1))
		}
	}
}

// parseALFSet decodes which luma filter set a CTU uses: one of 16 fixed ones or of the slice's parameter sets.
func (d *sliceDecoder) parseALFSet(ctu *ctuInfo) {
	sets := len(d.sh.alf.luma)
	if sets > 0 && d.flag(ctxAlfUseAps) {
		ctu.alfSet = 16
		if sets > 1 {
			ctu.alfSet += uint8(d.truncatedBinary(sets))
		}
		return
	}
	ctu.alfSet = uint8(d.truncatedBinary(16))
}
