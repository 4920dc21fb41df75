package vvc

// sliceEncoder codes one slice. Nothing is predicted from other slices, so it treats its slice as a picture of its own,
// and reconstructs it with the decoder's functions.
type sliceEncoder struct {
	d      *sliceDecoder
	w      binEncoder
	src    []uint16 // samples to code, row stride width
	width  int      // of the source; beyond it nothing counts
	height int

	trellis trellis
	lambda  float32 // distortion that a bit is worth, in squared quantiser steps
	block   [32 * 32]float32
	tmp     [32 * 32]float32
	levels  [32 * 32]int32
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

// codingTree codes a node and what is below it: blocks as large as transforms are, smaller ones only along the border.
func (e *sliceEncoder) codingTree(n treeNode) {
	mode := splitNone
	if n.w > 1<<encMaxTbLog2 || n.x+n.w > e.d.pps.width || n.y+n.h > e.d.pps.height {
		mode = splitQuad
	}
	e.split(&n, mode)
	if mode == splitNone {
		e.codingUnit(&n)
		return
	}
	n.qtDepth++
	w := n.w / 2
	for i := range 4 {
		x, y := n.x+i&1*w, n.y+i>>1*w
		if x < e.d.pps.width && y < e.d.pps.height {
			e.codingTree(n.child(splitQuad, i, x, y, w, w))
		}
	}
}

// split codes how a square node is divided (clause 7.3.11.4): with quadtrees alone that is one flag at most.
func (e *sliceEncoder) split(n *treeNode, mode splitMode) {
	a := e.d.allowed(n)
	if !a.none || !a.quad {
		return
	}
	ctx := 0
	if left := e.d.neighbour(0, n.x-1, n.y); left != nil && int(left.h) < n.h {
		ctx++
	}
	if above := e.d.neighbour(0, n.x, n.y-1); above != nil && int(above.w) < n.w {
		ctx++
	}
	e.w.flag(ctxSplitFlag+ctx, mode != splitNone)
}

// codingUnit predicts, codes and reconstructs one block.
//
// Neighbours of noise are noise, and what is predicted from them is noise added to the residual. So blocks are predicted
// by the mean of a row and a column of neighbours. Except in the first row of a CTU these are not the nearest ones, from
// which the standard would blend single samples into the prediction.
func (e *sliceEncoder) codingUnit(n *treeNode) {
	d := e.d
	u := &d.cu
	u.reset(n, false)
	u.qp = d.sh.qp
	inner := n.y&d.ctbMask != 0
	if inner {
		u.mrl = 1
		e.w.bin(ctxMultiRefLine, 1)
		e.w.bin(ctxMultiRefLine+1, 0)
	} else {
		e.w.bin(ctxMpmFlag, 1)
		e.w.bin(ctxPlanarFlag+1, 1)
	}
	// All neighbours are predicted likewise: the mean is the first of the most probable modes after planar.
	e.w.unaryBypass(0, 4)

	t := u.addTU(u.x, u.y, u.w, u.h, true, false)
	d.predictLuma(u, t, 0)
	e.difference(t)
	forwardTransform(e.block[:], e.tmp[:], t.w, t.h)
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
	w, h := min(t.w, e.width-t.x), min(t.h, e.height-t.y)
	if w < t.w || h < t.h {
		clear(e.block[:t.w*t.h])
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
	step := float32(scale<<4) / float32(int(gain)<<shift) * float32(int(1)<<(area/2))
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
