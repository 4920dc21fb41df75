package vvc

// cclmBuffer holds luma downsampled to chroma resolution: the block and up to twice its length of neighbours.
type cclmBuffer struct {
	luma        [32 * 32]int32
	above, left [64]int32
}

// lumaAt samples luma for cross-component prediction with the 4:2:0 filters of clause 8.4.5.2.14.
type lumaAt struct {
	pix        []uint16
	stride     int
	collocated bool
}

// six filters 2x3 samples around chroma position o, for chroma between luma rows; edge repeats the first column.
func (l *lumaAt) six(o int, edge bool) int32 {
	before := o - 1
	if edge {
		before = o
	}
	p, s := l.pix, l.stride
	return (2*int32(p[o]) + int32(p[before]) + int32(p[o+1]) +
		2*int32(p[o+s]) + int32(p[before+s]) + int32(p[o+1+s]) + 4) >> 3
}

// five filters a cross around o, for chroma collocated with luma rows.
func (l *lumaAt) five(o int, leftEdge, topEdge bool) int32 {
	before, above := o-1, o-l.stride
	if leftEdge {
		before = o
	}
	if topEdge {
		above = o
	}
	p := l.pix
	return (4*int32(p[o]) + int32(p[before]) + int32(p[o+1]) + int32(p[above]) + int32(p[o+l.stride]) + 4) >> 3
}

func (l *lumaAt) sample(o int, leftEdge, topEdge bool) int32 {
	if l.collocated {
		return l.five(o, leftEdge, topEdge)
	}
	return l.six(o, leftEdge)
}

// three filters along one row, above the first row of a CTU.
func (l *lumaAt) three(o int, edge bool) int32 {
	before := o - 1
	if edge {
		before = o
	}
	return (2*int32(l.pix[o]) + int32(l.pix[before]) + int32(l.pix[o+1]) + 2) >> 2
}

// cclmRef describes the neighbours of a chroma block that take part in cross-component prediction.
type cclmRef struct {
	x, y, w, h            int // chroma samples
	hasAbove, hasLeft     bool
	countAbove, countLeft int // template samples
}

// prepareCclm downsamples luma for the block and its template.
func (d *sliceDecoder) prepareCclm(t *transformUnit, mode int) cclmRef {
	c := cclmRef{x: t.cx, y: t.cy, w: t.cw, h: t.ch}
	lx, ly := 2*c.x, 2*c.y
	hasAbove := d.availableAt(1, lx, ly-1)
	hasLeft := d.availableAt(1, lx-1, ly)
	c.hasAbove = hasAbove && mode != modeCCLMLeft
	c.hasLeft = hasLeft && mode != modeCCLMAbove
	if c.hasAbove {
		c.countAbove = c.w
		if mode == modeCCLMAbove {
			c.countAbove += 2 * d.availableRun(1, lx+2*c.w, ly-1, 4, 0, min(c.w, c.h)/2)
		}
	}
	if c.hasLeft {
		c.countLeft = c.h
		if mode == modeCCLMLeft {
			c.countLeft += 2 * d.availableRun(1, lx-1, ly+2*c.h, 0, 4, min(c.w, c.h)/2)
		}
	}
	p := &d.pic.planes[0]
	l := lumaAt{p.pix, p.stride, d.sps.collocated}
	base := ly*p.stride + lx
	buf := &d.scratch.cclm
	for y := range c.h {
		row := buf.luma[y*c.w : (y+1)*c.w]
		o := base + 2*y*p.stride
		for x := range row {
			row[x] = l.sample(o+2*x, x == 0 && !hasLeft, y == 0 && !hasAbove)
		}
	}
	firstRow := ly&d.ctbMask == 0
	for x := range c.countAbove {
		edge := x == 0 && !hasLeft
		if firstRow {
			buf.above[x] = l.three(base-p.stride+2*x, edge)
		} else {
			buf.above[x] = l.sample(base-2*p.stride+2*x, edge, false)
		}
	}
	for y := range c.countLeft {
		buf.left[y] = l.sample(base-2+2*y*p.stride, false, y == 0 && !hasAbove)
	}
	return c
}

// predictCclm predicts chroma component comp from reconstructed luma.
func (d *sliceDecoder) predictCclm(c *cclmRef, comp int) {
	p := &d.pic.planes[comp]
	base := c.y*p.stride + c.x
	a, b, shift := d.cclmModel(c, p.pix, base, p.stride)
	for y := range c.h {
		row := p.pix[base+y*p.stride : base+y*p.stride+c.w]
		for x, v := range d.scratch.cclm.luma[y*c.w : (y+1)*c.w] {
			row[x] = uint16(min(max(a*v>>shift+b, 0), d.maxVal))
		}
	}
}

// cclmModel fits the line through up to four template samples.
func (d *sliceDecoder) cclmModel(c *cclmRef, pix []uint16, base, stride int) (a, b int32, shift int) {
	if !c.hasAbove && !c.hasLeft {
		return 0, 1 << (d.bitDepth - 1), 0
	}
	var luma, chroma [4]int32
	n := 0
	pick := func(count int, other bool, at func(i int) (int32, int32)) {
		alone := btoi(!other)
		step := max(1, count>>(1+alone))
		i := count >> (2 + alone)
		for range min(count, 2+2*alone) {
			luma[n], chroma[n] = at(i)
			n++
			i += step
		}
	}
	buf := &d.scratch.cclm
	if c.hasAbove {
		pick(c.countAbove, c.hasLeft, func(i int) (int32, int32) { return buf.above[i], int32(pix[base-stride+i]) })
	}
	if c.hasLeft {
		pick(c.countLeft, c.hasAbove, func(i int) (int32, int32) { return buf.left[i], int32(pix[base-1+i*stride]) })
	}
	if n == 2 {
		luma[2], luma[3] = luma[1], luma[0]
		luma[0], luma[1] = luma[1], luma[3]
		chroma[2], chroma[3] = chroma[1], chroma[0]
		chroma[0], chroma[1] = chroma[1], chroma[3]
	}
	lo, hi := [2]int{0, 2}, [2]int{1, 3}
	if luma[lo[0]] > luma[lo[1]] {
		lo[0], lo[1] = lo[1], lo[0]
	}
	if luma[hi[0]] > luma[hi[1]] {
		hi[0], hi[1] = hi[1], hi[0]
	}
	if luma[lo[0]] > luma[hi[1]] {
		lo, hi = hi, lo
	}
	if luma[lo[1]] > luma[hi[0]] {
		lo[1], hi[0] = hi[0], lo[1]
	}
	minL, minC := (luma[lo[0]]+luma[lo[1]]+1)>>1, (chroma[lo[0]]+chroma[lo[1]]+1)>>1
	maxL, maxC := (luma[hi[0]]+luma[hi[1]]+1)>>1, (chroma[hi[0]]+chroma[hi[1]]+1)>>1
	diff := int(maxL - minL)
	if diff <= 0 {
		return 0, minC, 0
	}
	diffC := maxC - minC
	x := log2(diff)
	norm := diff << 4 >> x & 15
	v := int32([16]uint8{0, 7, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 1, 1, 0}[norm] | 8)
	x += btoi(norm != 0)
	y := 0
	if diffC != 0 {
		y = log2(int(abs32(diffC))) + 1
	}
	a = (diffC*v + 1<<y>>1) >> y
	shift = 3 + x - y
	if shift < 1 {
		shift = 1
		if a != 0 {
			a = 15 * (1 - 2*int32(btoi(a < 0)))
		}
	}
	return a, minC - a*minL>>shift, shift
}
