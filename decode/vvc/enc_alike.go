package vvc

import "math"

// alikeModes returns the modes worth trying in the area of the last call of look: the mean always, the others where rows
// or columns are alike.
func (e *sliceEncoder) alikeModes() []int {
	modes := append(e.modes[:0], modeDC)
	if e.likeRows {
		modes = append(modes, modeVertical)
	}
	if e.likeColumns {
		modes = append(modes, modeHorizontal)
	}
	return modes
}

// look finds out about the area of a node before it is divided.
func (e *sliceEncoder) look(n *treeNode) {
	e.variances.measure(e, n.x, n.y, n.w, n.h)
	e.likeRows, e.likeColumns = e.resemblance(&transformUnit{x: n.x, y: n.y, w: n.w, h: n.h})
}

// referenceNoise is the variance of the quantisation noise of neighbours, in squared quantiser steps, about.
const referenceNoise = 0.1

// predictedBits estimates what a block takes when it is predicted in the best mode. The source stands for neighbours that
// are not reconstructed yet, with the noise that they will have.
func (e *sliceEncoder) predictedBits(n *treeNode) float32 {
	t := transformUnit{x: n.x, y: n.y, w: n.w, h: n.h}
	best := float32(math.MaxFloat32)
	for _, mode := range e.alikeModes() {
		if mode == modeVertical && n.y == 0 || mode == modeHorizontal && n.x == 0 {
			continue
		}
		e.predictSource(&t, mode)
		forwardTransform(e.block[:], e.tmp[:], t.w, t.h)
		noise := referenceNoise * e.step * e.step
		switch mode {
		case modeVertical:
			for x := range t.w {
				e.block[x] = hypot(e.block[x], noise*float32(t.h))
			}
		case modeHorizontal:
			for y := range t.h {
				e.block[y*t.w] = hypot(e.block[y*t.w], noise*float32(t.w))
			}
		}
		best = min(best, e.residualBits(&t))
	}
	return best
}

// hypot returns a coefficient with as much energy as a and noise of the given variance.
func hypot(a, variance float32) float32 { return float32(math.Sqrt(float64(a*a + variance))) }

// predictSource puts the difference between a block and its prediction from the source around it into e.block. Outside
// of the source there is nothing to code.
func (e *sliceEncoder) predictSource(t *transformUnit, mode int) {
	w, h := e.inside(t)
	clear(e.block[:t.w*t.h])
	if w == 0 {
		return
	}
	mean := float32(int(1) << (e.d.bitDepth - 1))
	for y := range h {
		at := (t.y+y)*e.width + t.x
		src, dst := e.src[at:at+w], e.block[y*t.w:][:w]
		for x, v := range src {
			pred := mean
			switch mode {
			case modeVertical:
				pred = float32(e.src[(t.y-1)*e.width+t.x+x])
			case modeHorizontal:
				pred = float32(e.src[at-1])
			}
			dst[x] = float32(v) - pred
		}
	}
}

// residualBits estimates what the coefficients in e.block take.
func (e *sliceEncoder) residualBits(t *transformUnit) float32 {
	bits, scale := 0.0, 3/(e.step*e.step)
	for i := 0; i < t.w*t.h; i += 8 {
		product := 1.0
		for _, c := range e.block[i : i+8] {
			product *= float64(1 + scale*c*c)
		}
		bits += math.Log2(product) / 2
	}
	return float32(bits)
}
