package vvc

// levelScale holds the scaling of QP modulo 6, for blocks with an even and an odd sum of log2 sides (clause 8.7.3).
var levelScale = [2][6]int64{{40, 45, 51, 57, 64, 72}, {57, 64, 72, 80, 90, 102}}

const (
	coefMin = -1 << 15
	coefMax = 1<<15 - 1
)

// chromaQP derives the QP of a chroma component including the bit depth offset (clause 8.7.1); component 3 is the joint
// residual of both.
func (d *sliceDecoder) chromaQP(u *cuState, c int) int {
	off := d.sps.qpBdOffset()
	qp := int(d.sps.chromaQP[c-1][min(max(u.qp, -off), 63)+off])
	qp += d.sh.qpOffset[c-1]
	if u.chromaQPIdx > 0 {
		qp += d.pps.chromaQPList[u.chromaQPIdx-1][c-1]
	}
	return min(max(qp, -off), 63) + off
}

// qpFor returns qP of component c of a transform unit before the transform skip minimum.
func (d *sliceDecoder) qpFor(u *cuState, t *transformUnit, c int) int {
	if c == 0 {
		return u.qp + d.sps.qpBdOffset()
	}
	if t.joint == 3 {
		c = 3
	}
	return d.chromaQP(u, c)
}

// scaling returns the factor and the shift that scale the levels of component c (clause 8.7.3) when all coefficients are
// weighted alike, but for the factor 16 that stands for such weights.
func (d *sliceDecoder) scaling(u *cuState, t *transformUnit, c, w, h int) (scale int64, shift int) {
	qp := d.qpFor(u, t, c)
	lw, lh := log2(w), log2(h)
	odd := 0
	shift = 10
	if t.skip[c] {
		qp = max(qp, 4+6*d.sps.minQPPrimeTS)
	} else {
		odd = (lw + lh) & 1
		shift = d.bitDepth + odd + (lw+lh)/2 - 5
		if d.sh.depQuant {
			shift++
			qp++
		}
	}
	return levelScale[odd][qp%6] << (qp / 6), shift
}

// dequantise scales the levels of component c into block, row stride w (clause 8.7.3). block must be zero.
func (d *sliceDecoder) dequantise(u *cuState, t *transformUnit, c, w, h int, block []int32) {
	coefs := d.scratch.coefs[t.coefs[c][0]:t.coefs[c][1]]
	skip := t.skip[c]
	lw, lh := log2(w), log2(h)
	scale, shift := d.scaling(u, t, c, w, h)
	ch := min(c, 1)
	secondary := u.lfnst > 0 && (c == 0 || u.separate)
	lists := d.sh.scaling
	if skip || secondary && d.sps.noScalingForLfnst {
		lists = nil
	}
	if dir := u.bdpcm[ch]; dir != 0 {
		for _, k := range coefs {
			block[int(k.pos>>6)*w+int(k.pos&63)] = k.level
		}
		accumulate(block, w, h, dir)
		for i, v := range block[:w*h] {
			block[i] = scaleLevel(int64(v), scale<<4, shift)
		}
		return
	}
	if lists != nil {
		comp := c
		if u.copy {
			comp += 3
		}
		for _, k := range coefs {
			x, y := int(k.pos&63), int(k.pos>>6)
			block[y*w+x] = scaleLevel(int64(k.level), scale*lists.factor(comp, lw, lh, x, y), shift)
		}
		return
	}
	scale <<= 4
	round := int64(1) << shift >> 1
	for _, k := range coefs {
		v := min(max((int64(k.level)*scale+round)>>shift, coefMin), coefMax)
		block[int(k.pos>>6)<<lw+int(k.pos&63)] = int32(v)
	}
}

func scaleLevel(level, scale int64, shift int) int32 {
	return int32(min(max((level*scale+int64(1)<<shift>>1)>>shift, coefMin), coefMax))
}

// accumulate undoes block DPCM: levels are differences to the left or upper neighbour.
func accumulate(block []int32, w, h, dir int) {
	for y := range h {
		row := block[y*w : y*w+w]
		if dir == bdpcmHorizontal {
			for x := 1; x < w; x++ {
				row[x] = min(max(row[x]+row[x-1], coefMin), coefMax)
			}
		} else if y > 0 {
			above := block[(y-1)*w : y*w]
			for x := range row {
				row[x] = min(max(row[x]+above[x], coefMin), coefMax)
			}
		}
	}
}
