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
	modes := [3]int{modeDC, modeVertical, modeHorizontal}
	likeRows, likeColumns := e.resemblance(t)
	tried := [3]bool{true, likeRows, likeColumns}
	if !likeRows && !likeColumns {
		e.predictBy(u, t, modeDC)
		forwardTransform(e.block[:], e.tmp[:], t.w, t.h)
		return
	}
	best, bestBits := 0, float32(math.MaxFloat32)
	for i, mode := range modes {
		if !tried[i] {
			continue
		}
		e.predictBy(u, t, mode)
		forwardTransform(e.block[:], e.tmp[:], t.w, t.h)
		if bits := e.residualBits(t); bits < bestBits {
			best, bestBits = i, bits
		}
	}
	e.predictBy(u, t, modes[best])
	forwardTransform(e.block[:], e.tmp[:], t.w, t.h)
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

// predictBy predicts a block in one mode and puts the difference into e.block.
func (e *sliceEncoder) predictBy(u *cuState, t *transformUnit, mode int) {
	u.lumaMode, u.mrl = mode, 0
	if u.y&e.d.ctbMask != 0 && mpmIndex(e.d.mostProbable(u), mode) > 0 {
		u.mrl = 1
	}
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

// residualBits estimates what the coefficients in e.block take, by the variance of each 4x4 subblock.
func (e *sliceEncoder) residualBits(t *transformUnit) float32 {
	bits := 0.0
	for y := 0; y < t.h; y += 4 {
		for x := 0; x < t.w; x += 4 {
			energy := float32(0)
			for j := range 4 {
				for _, c := range e.block[(y+j)*t.w+x:][:4] {
					energy += c * c
				}
			}
			bits += 8 * math.Log2(float64(1+3*energy/(16*e.step*e.step)))
		}
	}
	return float32(bits)
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
