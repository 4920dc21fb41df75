package vvc

// sliceEncoder codes one slice. Nothing is predicted from other slices, so it treats its slice as a picture of its own,
// and reconstructs it with the decoder's functions.
type sliceEncoder struct {
	d      *sliceDecoder
	w      binEncoder
	src    []uint16 // samples to code, row stride width
	width  int      // of the source; beyond it nothing counts
	height int

	step                  float32 // of the quantiser, for an orthonormal transform
	variances             variances
	likeRows, likeColumns bool   // rows and columns of the area being divided resemble each other
	modes                 [3]int // scratch of alikeModes
	trellis               trellis
	lambda                float32 // distortion that a bit is worth, in squared quantiser steps
	block                 [32 * 32]float32
	tmp                   [32 * 32]float32
	levels                [32 * 32]int32
}

func newSliceEncoder() *sliceEncoder { return &sliceEncoder{d: newSliceDecoder()} }

// encode codes the samples src of a slice with the given parameter sets, which describe the slice alone, and returns its
// data. The reconstruction stays in e.d.pic.
func (e *sliceEncoder) encode(s *sps, p *pps, qp int, src []uint16, width, height int) []byte {
	d := e.d
	if d.pic == nil {
		d.pic = new(picture)
	}
	d.pic.init(s, p)
	d.sps, d.pps = s, p
	d.sh = &sliceHeader{
		ph: &picHeader{sps: s, pps: p, limits: s.intra},
		qp: qp, depQuant: true, deblockOff: true,
	}
	d.ctbMask = 1<<s.ctbLog2 - 1
	d.limitX = p.width
	d.bitDepth = s.bitDepth
	d.maxVal = 1<<s.bitDepth - 1
	d.segment = 1
	d.lmcsScale.init(d.sh, d.bitDepth)
	e.src, e.width, e.height = src, width, height
	e.lambda = lagrangian
	e.w.start(qp)
	d.cu.reset(&treeNode{}, false)
	d.cu.qp = qp
	e.step = e.stepSize(&d.cu, &transformUnit{w: 8, h: 8})
	size := 1 << s.ctbLog2
	for y := range d.pic.heightCtu {
		for x := range d.pic.widthCtu {
			e.codingTree(treeNode{x: x * size, y: y * size, w: size, h: size, partIdx: -1})
		}
	}
	e.w.terminate(true)
	return e.w.out
}

// lagrangian is the slope of distortion against rate at which levels are chosen, in squared quantiser steps a bit.
const lagrangian = 0.35

// codingTree codes a node and what is below it. Nodes as large as transforms and within the picture are divided where
// e.divide says so.
func (e *sliceEncoder) codingTree(n treeNode) {
	if n.w > 1<<encMaxTbLog2 || n.x+n.w > e.d.pps.width || n.y+n.h > e.d.pps.height {
		e.split(&n, splitQuad)
		n.qtDepth++
		w := n.w / 2
		for i := range 4 {
			x, y := n.x+i&1*w, n.y+i>>1*w
			if x < e.d.pps.width && y < e.d.pps.height {
				e.codingTree(n.child(splitQuad, i, x, y, w, w))
			}
		}
		return
	}
	e.look(&n)
	e.binaryTree(n)
}

// binaryTree codes a node that may be halved.
func (e *sliceEncoder) binaryTree(n treeNode) {
	mode, _ := e.divide(&n)
	e.split(&n, mode)
	if mode == splitNone {
		e.codingUnit(&n)
		return
	}
	for _, c := range n.halves(mode) {
		e.binaryTree(c)
	}
}

// halves returns the parts of a node split in two.
func (n *treeNode) halves(mode splitMode) [2]treeNode {
	w, h, x, y := n.w, n.h/2, 0, n.h/2
	if mode == splitVertical {
		w, h, x, y = n.w/2, n.h, n.w/2, 0
	}
	a, b := n.child(mode, 0, n.x, n.y, w, h), n.child(mode, 1, n.x+x, n.y+y, w, h)
	a.mtDepth++
	b.mtDepth++
	return [2]treeNode{a, b}
}

// split codes how a node is divided (clause 7.3.11.4), the reverse of sliceDecoder.parseSplit without ternary splits.
func (e *sliceEncoder) split(n *treeNode, mode splitMode) {
	a := e.d.allowed(n)
	total := btoi(a.horizontal) + btoi(a.vertical) + 2*btoi(a.quad)
	if total == 0 {
		return
	}
	left, above := e.d.neighbour(0, n.x-1, n.y), e.d.neighbour(0, n.x, n.y-1)
	if a.none {
		ctx := 3 * ((total - 1) >> 1)
		if left != nil && int(left.h) < n.h {
			ctx++
		}
		if above != nil && int(above.w) < n.w {
			ctx++
		}
		e.w.flag(ctxSplitFlag+ctx, mode != splitNone)
		if mode == splitNone {
			return
		}
	}
	if !a.horizontal && !a.vertical {
		return
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
		e.w.flag(ctxSplitQt+ctx, mode == splitQuad)
		if mode == splitQuad {
			return
		}
	}
	if a.horizontal && a.vertical {
		ctx := 0
		if left != nil && above != nil {
			across, down := n.w/int(above.w), n.h/int(left.h)
			if across < down {
				ctx = 1
			} else if across > down {
				ctx = 2
			}
		}
		e.w.flag(ctxSplitVertical+ctx, mode == splitVertical)
	}
}

// codingUnit predicts, codes and reconstructs one block.
func (e *sliceEncoder) codingUnit(n *treeNode) {
	d := e.d
	u := &d.cu
	u.reset(n, false)
	u.qp = d.sh.qp
	t := u.addTU(u.x, u.y, u.w, u.h, true, false)
	e.predict(u, t)
	e.lumaMode(u)
	levels := e.levels[:t.w*t.h]
	e.trellis.rates.load(&e.w.models, t.w, t.h)
	t.cbf[0] = e.trellis.search(e.block[:], t.w, t.h, 1/e.stepSize(u, t), e.lambda, levels)
	e.w.flag(ctxCbfLuma, t.cbf[0])
	if t.cbf[0] {
		e.residual(levels, t.w, t.h)
		e.reconstruct(u, t, levels)
	}
	fillUnits(d.pic.segment[0], d.pic.unitStride, u.x, u.y, u.w, u.h, d.segment)
	d.register(u)
}

// difference puts source minus prediction into e.block. Outside of the source there is nothing to code.
func (e *sliceEncoder) difference(t *transformUnit) {
	plane := &e.d.pic.planes[0]
	w, h := e.inside(t)
	if w < t.w || h < t.h {
		clear(e.block[:t.w*t.h])
	}
	if w == 0 {
		return
	}
	for y := range h {
		src := e.src[(t.y+y)*e.width+t.x:][:w]
		pred := plane.pix[(t.y+y)*plane.stride+t.x:][:w]
		dst := e.block[y*t.w:][:w]
		for x, v := range src {
			dst[x] = float32(int32(v) - int32(pred[x]))
		}
	}
}

// stepSize returns the distance of neighbouring values of the two quantisers together, in terms of an orthonormal
// transform.
func (e *sliceEncoder) stepSize(u *cuState, t *transformUnit) float32 {
	scale, shift := e.d.scaling(u, t, 0, t.w, t.h)
	gain := 1 << (15 - e.d.bitDepth) // of coefficients against an orthonormal transform of area one
	area := log2(t.w) + log2(t.h)
	step := float32(scale<<4) / float32(gain<<shift) * float32(int(1)<<(area/2))
	if area&1 != 0 {
		step *= 1.41421356
	}
	return step
}

// reconstruct adds the residual that a decoder sees to the prediction.
func (e *sliceEncoder) reconstruct(u *cuState, t *transformUnit, levels []int32) {
	d := e.d
	scan := blockScans[log2(t.w)][log2(t.h)]
	coefs := d.scratch.coefs[:0]
	last := len(levels) - 1
	for levels[last] == 0 {
		last--
	}
	maxX, maxY := 0, 0
	state := 0
	for i := last; i >= 0; i-- {
		if i&15 == 15 && i != last && i > 15 && allZero(levels[i-15:i+1]) {
			i -= 15 // a subblock without levels leaves the state alone
			continue
		}
		k := levels[i]
		if k != 0 {
			v := 2 * k
			if state >= 2 {
				v -= int32(sign(k))
			}
			x, y := int(scan.x[i]), int(scan.y[i])
			maxX, maxY = max(maxX, x), max(maxY, y)
			coefs = append(coefs, coefficient{int32(y<<6 | x), v})
		}
		state = stateTransitions >> (state<<2 + int(k&1)<<1) & 3
	}
	d.scratch.coefs = coefs
	t.coefs[0] = [2]int32{0, int32(len(coefs))}
	t.maxX[0], t.maxY[0] = maxX|3, maxY|3
	if last == 0 {
		t.maxX[0], t.maxY[0] = 0, 0
	}
	res := d.scratch.res[0][:]
	d.residualBlock(u, t, 0, t.w, t.h, res)
	d.addResidual(0, t.x, t.y, t.w, t.h, res)
}

func allZero(levels []int32) bool {
	for _, l := range levels {
		if l != 0 {
			return false
		}
	}
	return true
}
