package vvc

import "math"

// inside returns how much of a block lies within the source.
func (e *sliceEncoder) inside(t *transformUnit) (w, h int) {
	return max(min(t.w, e.width-t.x), 0), max(min(t.h, e.height-t.y), 0)
}

// predict chooses the mode of a block, leaves its prediction in the picture and the transformed residual in e.block.
//
// Neighbours of noise are noise, and what is predicted from them is noise added to the residual. So blocks are predicted
// by the mean of a row and a column of neighbours, unless rows or columns resemble each other. Where the syntax permits,
// these neighbours are not the nearest ones, from which the standard would blend single samples into the prediction.
func (e *sliceEncoder) predict(u *cuState, t *transformUnit) {
	tried := e.alikeModes()
	if len(tried) == 1 {
		e.predictBy(u, t, tried[0], e.farLine(u, tried[0]))
		forwardTransform(e.block[:], e.tmp[:], t.w, t.h)
		return
	}
	best, bestLine, bestBits := 0, 0, float32(math.MaxFloat32)
	for _, mode := range tried {
		far := e.farLine(u, mode)
		for line := 0; line <= far; line++ {
			if mode == modeDC && line < far {
				continue
			}
			e.predictBy(u, t, mode, line)
			forwardTransform(e.block[:], e.tmp[:], t.w, t.h)
			if bits := e.residualBits(t); bits < bestBits {
				best, bestLine, bestBits = mode, line, bits
			}
		}
	}
	e.predictBy(u, t, best, bestLine)
	forwardTransform(e.block[:], e.tmp[:], t.w, t.h)
}

// farLine returns how far from the block the neighbours are that it should be predicted from: 1 where the syntax permits it.
func (e *sliceEncoder) farLine(u *cuState, mode int) int {
	if u.y&e.d.ctbMask != 0 && mpmIndex(e.d.mostProbable(u), mode) > 0 {
		return 1
	}
	return 0
}

// resemblance tells whether rows, and columns, of the source look like their neighbours: independent ones differ by twice
// the variance.
func (e *sliceEncoder) resemblance(t *transformUnit) (rows, columns bool) {
	w, h := e.inside(t)
	if w < 2 || h < 2 {
		return false, false
	}
	var sum, squares, down, across int
	for y := range h {
		row := e.src[(t.y+y)*e.width+t.x:][:w]
		for x, v := range row {
			s := int(v)
			sum += s
			squares += s * s
			if x > 0 {
				diff := s - int(row[x-1])
				across += diff * diff
			}
			if y > 0 {
				diff := s - int(e.src[(t.y+y-1)*e.width+t.x+x])
				down += diff * diff
			}
		}
	}
	limit := 1.6 * (float64(squares) - float64(sum)*float64(sum)/float64(w*h))
	return float64(down) < limit*float64(h-1)/float64(h), float64(across) < limit*float64(w-1)/float64(w)
}

// predictBy predicts a block in one mode from a line of neighbours and puts the difference into e.block.
func (e *sliceEncoder) predictBy(u *cuState, t *transformUnit, mode, line int) {
	u.lumaMode, u.mrl = mode, line
	e.d.predictLuma(u, t, 0)
	e.difference(t)
}

// mpmIndex returns the position of a mode among the most probable ones, or -1.
func mpmIndex(mpm [6]int, mode int) int {
	for i, m := range mpm {
		if m == mode {
			return i
		}
	}
	return -1
}

// lumaMode codes how a block is predicted (clause 7.3.11.5), the reverse of sliceDecoder.parseLumaMode for the modes in use.
func (e *sliceEncoder) lumaMode(u *cuState) {
	w := &e.w
	if u.y&e.d.ctbMask != 0 {
		w.flag(ctxMultiRefLine, u.mrl > 0)
		if u.mrl > 0 {
			w.bin(ctxMultiRefLine+1, uint32(u.mrl-1))
		}
	}
	mpm := e.d.mostProbable(u)
	idx := mpmIndex(mpm, u.lumaMode)
	if u.mrl == 0 {
		w.flag(ctxMpmFlag, idx >= 0)
		if idx >= 0 {
			w.flag(ctxPlanarFlag+1, idx > 0)
		}
	}
	switch {
	case idx > 0:
		w.unaryBypass(idx-1, 4)
	case idx < 0:
		rest := u.lumaMode
		for _, m := range mpm {
			if m < u.lumaMode {
				rest--
			}
		}
		w.truncatedBinary(rest, modeLast+1-len(mpm))
	}
}
