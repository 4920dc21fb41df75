package vvc

// residualTS decodes residual_ts_coding() (clause 7.3.11.12): levels of a block without transform, in forward scan.
func (d *sliceDecoder) residualTS(t *transformUnit, c, w, h int, bdpcm bool) {
	lw, lh := subblockLog2(log2(w), log2(h))
	groups := &scanTables[log2(w)-lw][log2(h)-lh]
	inner := &scanTables[lw][lh]
	s := d.scratch
	clear(s.tsLevel[:(h+2*levelPad)*levelStride])
	r := tsReader{
		cabac: &d.cabac, s: s, inner: inner, size: 1 << (lw + lh),
		budget: w * h * 7 >> 2, bdpcm: bdpcm,
	}
	var coded [16]uint32
	count := w * h >> (lw + lh)
	none := true
	for g := range count {
		gx, gy := int(groups.x[g]), int(groups.y[g])
		if !(g == count-1 && none) {
			near := 0
			if gx > 0 {
				near += int(coded[gy] >> (gx - 1) & 1)
			}
			if gy > 0 {
				near += int(coded[gy-1] >> gx & 1)
			}
			if !d.flag(ctxTsSubblock + near) {
				continue
			}
		}
		none = false
		coded[gy] |= 1 << gx
		r.subblock(gx<<lw, gy<<lh)
	}
	t.maxX[c], t.maxY[c] = w-1, h-1
}

type tsReader struct {
	*cabac
	s      *scratch
	inner  *scanTable
	size   int
	budget int // context coded bins left
	bdpcm  bool
}

func abs32(v int32) int32 {
	if v < 0 {
		return -v
	}
	return v
}

// signContext returns the context of a sign between the levels to the left and above.
func signContext(left, above int32) int {
	switch {
	case left == 0 && above == 0, left < 0 && above > 0, left > 0 && above < 0:
		return 0
	case left >= 0 && above >= 0:
		return 1
	}
	return 2
}

func (r *tsReader) subblock(x, y int) {
	base := (y+levelPad)*levelStride + x + levelPad
	level := &r.s.tsLevel
	var negative [16]bool
	any := false
	// First pass: significance, sign, greater than one, parity.
	first := 0
	for ; first < r.size && r.budget >= 4; first++ {
		off := base + int(r.inner.off[first])
		left, above := level[off-1], level[off-levelStride]
		near := btoi(left != 0) + btoi(above != 0)
		if any || first != r.size-1 {
			r.budget--
			if !r.flag(ctxTsSig + near) {
				continue
			}
		}
		any = true
		ctx := signContext(left, above)
		if r.bdpcm {
			ctx += 3
			near = 3
		}
		neg := r.flag(ctxTsSign + ctx)
		v := int32(1)
		r.budget -= 2
		if r.flag(ctxTsGt1 + near) {
			r.budget--
			v += 1 + int32(r.bin(ctxTsPar))
		}
		negative[first] = neg
		if neg {
			v = -v
		}
		level[off] = v
	}
	// Second pass: up to four greater-than flags.
	second := 0
	for ; second < r.size && r.budget >= 4; second++ {
		off := base + int(r.inner.off[second])
		v := abs32(level[off])
		for k := int32(1); k <= 4 && v >= 2*k; k++ {
			r.budget--
			v += int32(r.bin(ctxTsGtx+int(k))) << 1
		}
		level[off] = v
	}
	// Third pass: remainders, and what the budget left out of the first pass.
	coefs := r.s.coefs
	for i := range r.size {
		off := base + int(r.inner.off[i])
		v := abs32(level[off])
		switch {
		case i < second:
			if v >= 10 {
				v += int32(r.remainder(1) << 1)
			}
		case i < first:
			if v >= 2 {
				v += int32(r.remainder(1) << 1)
			}
		default:
			if v = int32(r.remainder(1)); v != 0 {
				negative[i] = r.bypass() != 0
			}
		}
		if i < first && !r.bdpcm && v > 0 {
			// Levels that equal the larger neighbour were coded as one.
			if pred := max(abs32(level[off-1]), abs32(level[off-levelStride])); v == 1 && pred > 0 {
				v = pred
			} else if v <= pred {
				v--
			}
		}
		if v != 0 && negative[i] {
			level[off] = -v
		} else {
			level[off] = v
		}
	}
	for i := range r.size {
		if v := level[base+int(r.inner.off[i])]; v != 0 {
			coefs = append(coefs, coefficient{int32((y+int(r.inner.y[i]))<<6 | x + int(r.inner.x[i])), v})
		}
	}
	r.s.coefs = coefs
}
