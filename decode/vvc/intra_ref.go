package vvc

const refMax = 2*64 + 64 + 8

// refBuffer holds the reference samples of a block: top[0] and left[0] are the corner, top[1+i] the sample above column i,
// left[1+j] the sample left of row j. With reference line r > 0 everything is r samples further away and the corner is
// followed by r samples of overlap.
type refBuffer struct {
	top, left   [refMax]int32
	fTop, fLeft [refMax]int32 // smoothed
	main        [3 * refMax]int32
}

// blockRef describes where the reference samples of a block come from.
type blockRef struct {
	comp       int
	x, y, w, h int // samples of the plane
	line       int // reference line index
	refW, refH int // number of samples above and to the left
	// Available samples above (from x) and left (from y), and the corner.
	above, left int
	corner      bool
}

// availability counts the reference samples of a block that are already reconstructed (clause 6.4.4).
func (d *sliceDecoder) availability(b *blockRef) {
	ch := min(b.comp, 1)
	lx, ly := b.x<<ch, b.y<<ch
	unit := 4 >> ch
	b.corner = d.availableAt(ch, lx-1, ly-1)
	// Narrow subpartitions start within a unit.
	inX, inY := lx&3>>ch, ly&3>>ch
	b.above = max(d.availableRun(ch, lx, ly-1, 4, 0, (b.refW+inX+unit-1)/unit)*unit-inX, 0)
	b.left = max(d.availableRun(ch, lx-1, ly, 0, 4, (b.refH+inY+unit-1)/unit)*unit-inY, 0)
}

// availableRun counts up to n available units from luma position (x, y) on in steps of (dx, dy).
func (d *sliceDecoder) availableRun(ch, x, y, dx, dy, n int) int {
	for i := range n {
		if !d.availableAt(ch, x+i*dx, y+i*dy) {
			return i
		}
	}
	return n
}

// loadRef fills the reference samples, substituting those that are not available (clause 8.4.5.2.8).
func (d *sliceDecoder) loadRef(b *blockRef) {
	r := &d.scratch.ref
	p := &d.pic.planes[b.comp]
	line := b.line
	top, left := r.top[:b.refW+line+1], r.left[:b.refH+line+1]
	above, beside := min(b.above, b.refW), min(b.left, b.refH)
	base := b.y*p.stride + b.x // first sample of the block
	if above == 0 && beside == 0 && !b.corner {
		fill(top, 1<<(d.bitDepth-1))
		fill(left, 1<<(d.bitDepth-1))
		return
	}
	if beside > 0 {
		o := base - 1 - line
		for j := range beside {
			left[1+line+j] = int32(p.pix[o+j*p.stride])
		}
		fill(left[1+line+beside:], left[line+beside])
	}
	switch {
	case b.corner:
		o := base - (1+line)*p.stride - 1 - line
		for i := range line + 1 {
			top[i] = int32(p.pix[o+i])
			left[i] = int32(p.pix[o+i*p.stride])
		}
	case beside > 0:
		fill(top[:line+1], left[line+1])
		fill(left[:line+1], left[line+1])
	}
	if above > 0 {
		o := base - (1+line)*p.stride
		for i, v := range p.pix[o : o+above] {
			top[1+line+i] = int32(v)
		}
		fill(top[1+line+above:], top[line+above])
	} else {
		fill(top[1+line:], top[line])
	}
	if beside == 0 {
		v := top[1+line]
		if b.corner {
			v = left[line]
		} else {
			fill(top[:line+1], v)
			fill(left[:line+1], v)
		}
		fill(left[1+line:], v)
	}
}

func fill(s []int32, v int32) {
	for i := range s {
		s[i] = v
	}
}

// smoothRef applies the [1 2 1] filter to the reference samples (clause 8.4.5.2.10).
func (r *refBuffer) smoothRef(refW, refH int) {
	corner := (r.left[1] + 2*r.top[0] + r.top[1] + 2) >> 2
	smooth := func(dst, src []int32) {
		dst[0] = corner
		last := len(src) - 1
		for i := 1; i < last; i++ {
			dst[i] = (src[i-1] + 2*src[i] + src[i+1] + 2) >> 2
		}
		dst[last] = src[last]
	}
	smooth(r.fTop[:refW+1], r.top[:refW+1])
	smooth(r.fLeft[:refH+1], r.left[:refH+1])
}
