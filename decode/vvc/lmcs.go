package vvc

// lmcsModel is the piecewise linear luma mapping of a picture (clause 7.4.3.19): 16 bins of equal width in the original
// domain.
type lmcsModel struct {
	pivot       [17]int // in the mapped domain
	inverse     [16]int // scale from mapped to original, 11 fractional bits
	chromaScale [16]int
	minBin      int
	maxBin      int
	lut         [1 << 10]uint16 // mapped to original
}

// newLmcsModel derives the model; it returns an error when code words break the constraints that keep it invertible.
func newLmcsModel(a *lmcsAPS, bitDepth int) (*lmcsModel, error) {
	m := &lmcsModel{minBin: a.minBin, maxBin: a.maxBin}
	orgCW := 1 << bitDepth / 16
	for i := range 16 {
		m.pivot[i+1] = m.pivot[i]
		m.chromaScale[i] = 1 << 11
		if i < a.minBin || i > a.maxBin {
			continue
		}
		cw := orgCW + a.deltaCW[i]
		if lo, hi := orgCW>>3, orgCW<<3-1; cw < lo || cw > hi || cw+a.deltaCrs < lo || cw+a.deltaCrs > hi {
			return nil, invalidf("LMCS code words of bin %d: %d", i, cw)
		}
		m.pivot[i+1] += cw
		m.inverse[i] = orgCW << 11 / cw
		m.chromaScale[i] = orgCW << 11 / (cw + a.deltaCrs)
	}
	if m.pivot[16] > 1<<bitDepth-1 {
		return nil, invalidf("LMCS code words add up to %d", m.pivot[16])
	}
	for v := range 1 << bitDepth {
		i := m.bin(v)
		o := i*orgCW + (m.inverse[i]*(v-m.pivot[i])+1<<10)>>11
		m.lut[v] = uint16(min(max(o, 0), 1<<bitDepth-1))
	}
	return m, nil
}

// bin returns the bin of a mapped luma value.
func (m *lmcsModel) bin(v int) int {
	i := m.minBin
	for i <= m.maxBin && v >= m.pivot[i+1] {
		i++
	}
	return min(i, 15)
}

// lmcsScaler scales chroma residuals by the mapped luma level around each 64x64 area (clause 8.7.5.3).
type lmcsScaler struct {
	chroma bool
	model  *lmcsModel
	x, y   int // area of scale
	scale  int32
}

func (s *lmcsScaler) init(sh *sliceHeader, bitDepth int) {
	s.model = sh.ph.lmcsModel
	s.chroma = sh.lmcs && sh.ph.chromaScale
	s.x, s.y = -1, -1
}

// chromaScale returns the scale for the area of a transform unit, from the luma samples left of and above the area.
func (d *sliceDecoder) chromaScale(t *transformUnit) int32 {
	s := &d.lmcsScale
	size := min(64, d.ctbMask+1)
	x, y := 2*t.cx&^(size-1), 2*t.cy&^(size-1)
	if x == s.x && y == s.y {
		return s.scale
	}
	s.x, s.y = x, y
	cu := d.cuAt(0, x, y)
	cx, cy := int(cu.x), int(cu.y)
	p := &d.pic.planes[0]
	sum, n := 0, 0
	if d.availableAt(0, cx-1, cy) {
		for i := range size {
			sum += int(p.pix[min(cy+i, p.h-1)*p.stride+cx-1])
		}
		n += size
	}
	if d.availableAt(0, cx, cy-1) {
		for i := range size {
			sum += int(p.pix[(cy-1)*p.stride+min(cx+i, p.w-1)])
		}
		n += size
	}
	level := 1 << (d.bitDepth - 1)
	if n > 0 {
		level = (sum + n>>1) >> log2(n)
	}
	s.scale = int32(s.model.chromaScale[s.model.bin(level)])
	return s.scale
}

func scaleResidual(res []int32, scale, maxVal int32) {
	for i, v := range res {
		v = min(max(v, -maxVal-1), maxVal)
		if v >= 0 {
			res[i] = (v*scale + 1<<10) >> 11
		} else {
			res[i] = -((-v*scale + 1<<10) >> 11)
		}
	}
}

// inverseLmcs maps luma of all slices that use mapping back to the original domain (clause 8.8.2).
func (pic *picture) inverseLmcs(ctbLog2 int) {
	p := &pic.planes[0]
	size := 1 << ctbLog2
	for c := range pic.ctus {
		sh := pic.ctus[c].slice
		if !sh.lmcs {
			continue
		}
		lut := &sh.ph.lmcsModel.lut
		x, y := c%pic.widthCtu*size, c/pic.widthCtu*size
		for j := y; j < min(y+size, p.h); j++ {
			row := p.pix[j*p.stride+x : j*p.stride+min(x+size, p.w)]
			for i, v := range row {
				row[i] = lut[v&1023]
			}
		}
	}
}
