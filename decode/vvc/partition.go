package vvc

// splitMode is how a coding tree node is divided.
type splitMode uint8

const (
	splitNone splitMode = iota
	splitQuad
	splitHorizontal
	splitVertical
	splitTernaryHorizontal
	splitTernaryVertical
)

// Tree types: a node codes both channels, or only one of them.
type treeType uint8

const (
	treeBoth treeType = iota
	treeLuma
	treeChroma
)

// treeNode is a node of the coding tree. Positions and sizes are in luma samples, also in chroma trees.
type treeNode struct {
	x, y, w, h       int
	qgLuma, qgChroma bool // quantisation groups may still start here
	subdiv           int  // cbSubdiv
	qtDepth, mtDepth int
	implicit         int // binary splits forced by the picture border (depthOffset)
	depth            int
	splits           uint16
	partIdx          int
	last             splitMode // of the parent
	tree             treeType
	intraOnly        bool // modeType is MODE_TYPE_INTRA
}

func (n *treeNode) channel() int {
	if n.tree == treeChroma {
		return 1
	}
	return 0
}

// child returns a part of n split by mode.
func (n *treeNode) child(mode splitMode, idx, x, y, w, h int) treeNode {
	c := *n
	c.x, c.y, c.w, c.h = x, y, w, h
	c.partIdx, c.last = idx, mode
	if n.depth < 3 {
		c.splits |= uint16(mode) << (3 * n.depth)
	}
	c.depth++
	return c
}

// dualTree splits a CTU down to 64x64 and codes the luma and then the chroma tree of each part (clause 7.3.11.2).
func (d *sliceDecoder) dualTree(n treeNode) {
	if n.w <= 64 {
		l, c := n, n
		l.tree, c.tree = treeLuma, treeChroma
		d.codingTree(l)
		d.codingTree(c)
		return
	}
	d.startGroups(&n, true)
	w := n.w / 2
	for i := range 4 {
		x, y := n.x+i&1*w, n.y+i>>1*w
		if x >= d.pps.width || y >= d.pps.height || d.err != nil {
			continue
		}
		c := n.child(splitQuad, i, x, y, w, w)
		c.qtDepth++
		c.subdiv += 2
		d.dualTree(c)
	}
}

// startGroups starts quantisation groups where the subdivision level asks for it.
func (d *sliceDecoder) startGroups(n *treeNode, luma bool) {
	if luma && d.pps.cuQPDelta && n.qgLuma && n.subdiv <= d.sh.ph.qpSubdiv {
		d.qgStart, d.dqpCoded = true, false
	}
	if d.sh.cuChromaQP && n.qgChroma && n.subdiv <= d.sh.ph.chromaQPSub {
		d.chromaQPCoded, d.chromaQPIdx = false, 0
	}
}

// codingTree decodes coding_tree() (clause 7.3.11.4).
func (d *sliceDecoder) codingTree(n treeNode) {
	if d.err != nil {
		return
	}
	d.startGroups(&n, n.tree != treeChroma)
	mode := d.parseSplit(&n)
	if mode == splitNone {
		d.codingUnit(&n)
		return
	}
	// Small chroma blocks are not split along with luma (clause 7.4.12.4): in I slices luma is coded first and chroma
	// follows unsplit.
	separate := d.sps.chroma && !d.dual && !n.intraOnly && n.tree == treeBoth && smallChroma(&n, mode)
	p := n
	if separate {
		p.tree, p.intraOnly = treeLuma, true
	}
	d.splitNode(&p, mode)
	if separate {
		c := n
		c.tree, c.intraOnly = treeChroma, true
		if d.err == nil {
			d.startGroups(&c, false)
			d.codingUnit(&c)
		}
	}
}

func smallChroma(n *treeNode, mode splitMode) bool {
	area := n.w * n.h
	switch mode {
	case splitQuad, splitTernaryHorizontal, splitTernaryVertical:
		area >>= 2
	default:
		area >>= 1
	}
	return area>>2 < 16 || n.w == 8 && mode == splitVertical || n.w == 16 && mode == splitTernaryVertical
}

// splitNode codes the parts of n in order, leaving out those outside of the picture.
func (d *sliceDecoder) splitNode(n *treeNode, mode splitMode) {
	part := func(idx, x, y, w, h, subdiv int, c treeNode) {
		if n.x+x >= d.pps.width || n.y+y >= d.pps.height {
			return
		}
		c = c.child(mode, idx, n.x+x, n.y+y, w, h)
		c.subdiv += subdiv
		d.codingTree(c)
	}
	c := *n
	w, h := n.w, n.h
	switch mode {
	case splitQuad:
		c.qtDepth++
		for i := range 4 {
			part(i, i&1*w/2, i>>1*h/2, w/2, h/2, 2, c)
		}
	case splitHorizontal, splitVertical:
		c.mtDepth++
		if n.x+w > d.pps.width || n.y+h > d.pps.height {
			c.implicit++
		}
		if mode == splitHorizontal {
			part(0, 0, 0, w, h/2, 1, c)
			part(1, 0, h/2, w, h/2, 1, c)
		} else {
			part(0, 0, 0, w/2, h, 1, c)
			part(1, w/2, 0, w/2, h, 1, c)
		}
	default:
		c.mtDepth++
		c.qgLuma = c.qgLuma && n.subdiv+2 <= d.sh.ph.qpSubdiv
		c.qgChroma = c.qgChroma && n.subdiv+2 <= d.sh.ph.chromaQPSub
		if mode == splitTernaryHorizontal {
			part(0, 0, 0, w, h/4, 2, c)
			part(1, 0, h/4, w, h/2, 1, c)
			part(2, 0, h*3/4, w, h/4, 2, c)
		} else {
			part(0, 0, 0, w/4, h, 2, c)
			part(1, w/4, 0, w/2, h, 1, c)
			part(2, w*3/4, 0, w/4, h, 2, c)
		}
	}
}

// allowedSplits tells which divisions of a node the limits and the picture border permit (clauses 6.4.1 to 6.4.3).
type allowedSplits struct {
	none, quad bool
	horizontal bool
	vertical   bool
	ternaryHor bool
	ternaryVer bool
}

func (d *sliceDecoder) allowed(n *treeNode) (a allowedSplits) {
	const maxTU = 64
	chroma := n.tree == treeChroma
	if d.dual && d.sps.chroma && (n.w > maxTU || n.h > maxTU) {
		a.quad = true
		return a
	}
	l := &d.sh.ph.limits[0]
	if d.dual && chroma {
		l = &d.sh.ph.limits[1]
	}
	minSize := 1 << d.sps.minCbLog2
	a.quad = n.last <= splitQuad && n.w > l.minQT && !(chroma && n.w <= 8)
	deeper := n.mtDepth < l.maxDepth+n.implicit
	right, below := n.x+n.w > d.pps.width, n.y+n.h > d.pps.height
	if right || below {
		binary := n.w <= l.maxBT && n.h <= l.maxBT && n.w <= maxTU && n.h <= maxTU && deeper
		if !binary {
			a.quad = true
		}
		a.horizontal = binary && below && (!right || !a.quad)
		a.vertical = binary && !below && right && !(chroma && n.w <= 8)
		if !a.horizontal && !a.vertical {
			a.quad = true
		}
		return a
	}
	a.none = true
	if !deeper {
		return a
	}
	if n.w <= l.maxBT && n.h <= l.maxBT {
		// The middle part of a ternary split is not halved into what a binary split would have given.
		middle := n.partIdx == 1
		a.horizontal = n.h > minSize && (n.w <= maxTU || n.h > maxTU) && !(middle && n.last == splitTernaryHorizontal)
		a.vertical = n.w > minSize && (n.w > maxTU || n.h <= maxTU) && !(middle && n.last == splitTernaryVertical)
	}
	if n.w <= l.maxTT && n.h <= l.maxTT && n.w <= maxTU && n.h <= maxTU {
		a.ternaryHor = n.h > 2*minSize
		a.ternaryVer = n.w > 2*minSize
	}
	if chroma {
		area := n.w * n.h / 4
		a.horizontal = a.horizontal && area > 16
		a.vertical = a.vertical && area > 16 && n.w > 8
		a.ternaryHor = a.ternaryHor && area > 32
		a.ternaryVer = a.ternaryVer && area > 32 && n.w > 16
	}
	return a
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// parseSplit decodes the split flags of a node (clause 7.3.11.4; contexts: clause 9.3.4.2.2 and 9.3.4.2.3).
func (d *sliceDecoder) parseSplit(n *treeNode) splitMode {
	a := d.allowed(n)
	hor := btoi(a.horizontal) + btoi(a.ternaryHor)
	ver := btoi(a.vertical) + btoi(a.ternaryVer)
	total := hor + ver + 2*btoi(a.quad)
	if total == 0 {
		return splitNone
	}
	ch := n.channel()
	left := d.neighbour(ch, n.x-1, n.y)
	above := d.neighbour(ch, n.x, n.y-1)
	if a.none {
		ctx := 3 * ((total - 1) >> 1)
		if left != nil && int(left.h) < n.h {
			ctx++
		}
		if above != nil && int(above.w) < n.w {
			ctx++
		}
		if !d.flag(ctxSplitFlag + ctx) {
			return splitNone
		}
	}
	if a.quad && hor+ver == 0 {
		return splitQuad
	}
	if a.quad {
		ctx := 0
		if n.qtDepth >= 2 {
			ctx = 3
		}
		if left != nil && int(left.qtDepth) > n.qtDepth {
			ctx++
		}
		if above != nil && int(above.qtDepth) > n.qtDepth {
			ctx++
		}
		if d.flag(ctxSplitQt + ctx) {
			return splitQuad
		}
	}
	vertical := ver > 0
	if ver > 0 && hor > 0 {
		ctx := 0
		switch {
		case ver < hor:
			ctx = 3
		case ver > hor:
			ctx = 4
		case left != nil && above != nil:
			across, down := n.w/int(above.w), n.h/int(left.h)
			if across < down {
				ctx = 1
			} else if across > down {
				ctx = 2
			}
		}
		vertical = d.flag(ctxSplitVertical + ctx)
	}
	binary, ternary := a.horizontal, a.ternaryHor
	if vertical {
		binary, ternary = a.vertical, a.ternaryVer
	}
	if binary && ternary {
		binary = d.flag(ctxSplitBinary + btoi(n.mtDepth <= 1) + 2*btoi(vertical))
	}
	switch {
	case vertical && binary:
		return splitVertical
	case vertical:
		return splitTernaryVertical
	case binary:
		return splitHorizontal
	}
	return splitTernaryHorizontal
}
