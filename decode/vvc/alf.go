package vvc

// alfPad is the margin around filter input: three samples of the 7x7 diamond, rounded up.
const alfPad = 4

// paddedPlane is filter input with a margin; the sample (0, 0) is at origin.
type paddedPlane struct {
	pix    []uint16
	stride int
	origin int
}

// alfFilter is the adaptive loop filter of one picture (clause 8.8.5).
type alfFilter struct {
	pic      *picture
	planes   [3]paddedPlane // the whole picture
	local    [3]paddedPlane // one CTU whose surroundings may not be read
	lap      [4][66 * 66]int32
	classes  [32 * 32]alfClass
	bitDepth int
	maxVal   int32
}

// alfClass is the filter class and the transposition of a 4x4 block.
type alfClass struct{ filter, transpose uint8 }

// run filters the picture in place.
func (f *alfFilter) run(pic *picture) {
	used := false
	for i := range pic.ctus {
		c := &pic.ctus[i]
		used = used || c.alf[0] || c.alf[1] || c.alf[2] || c.cc[0] != 0 || c.cc[1] != 0
	}
	if !used {
		return
	}
	f.pic = pic
	f.bitDepth = pic.sps.bitDepth
	f.maxVal = 1<<f.bitDepth - 1
	for c := range pic.comps {
		p := &pic.planes[c]
		d := &f.planes[c]
		d.resize(p.w, p.h)
		for y := range p.h {
			copy(d.pix[d.origin+y*d.stride:], p.pix[y*p.stride:y*p.stride+p.w])
		}
		d.extend(0, 0, p.w, p.h)
	}
	restricted := !pic.pps.loopAcrossSlices && len(pic.slices) > 1 || !pic.pps.loopAcrossTiles
	for i := range pic.ctus {
		f.ctu(i, restricted)
	}
}

func (d *paddedPlane) resize(w, h int) {
	d.stride = w + 2*alfPad
	d.pix = grow(d.pix, d.stride*(h+2*alfPad))
	d.origin = alfPad*d.stride + alfPad
}

// extend repeats the border samples of the rectangle from (x0, y0) to (x1, y1) outwards into the margin of the plane.
func (d *paddedPlane) extend(x0, y0, x1, y1 int) {
	first := d.origin + y0*d.stride
	for y := y0; y < y1; y++ {
		row := d.origin + y*d.stride
		for i := 1; i <= alfPad; i++ {
			d.pix[row+x0-i] = d.pix[row+x0]
			d.pix[row+x1-1+i] = d.pix[row+x1-1]
		}
	}
	width := x1 - x0 + 2*alfPad
	first += x0 - alfPad
	last := first + (y1-1-y0)*d.stride
	for i := 1; i <= alfPad; i++ {
		copy(d.pix[first-i*d.stride:first-i*d.stride+width], d.pix[first:first+width])
		copy(d.pix[last+i*d.stride:last+i*d.stride+width], d.pix[last:last+width])
	}
}

// source returns the filter input of component c with the position of the CTU in it.
func (f *alfFilter) source(c, x, y int, restricted bool) (pix []uint16, pos, stride int) {
	if restricted {
		l := &f.local[c]
		return l.pix, l.origin, l.stride
	}
	p := &f.planes[c]
	return p.pix, p.origin + y*p.stride + x, p.stride
}

func (f *alfFilter) ctu(i int, restricted bool) {
	pic := f.pic
	ctu := &pic.ctus[i]
	size := 1 << pic.sps.ctbLog2
	cx, cy := i%pic.widthCtu, i/pic.widthCtu
	if restricted {
		restricted = f.isolate(i, cx*size, cy*size)
	}
	for c := range pic.comps {
		shift := min(c, 1)
		s := size >> shift
		p := &pic.planes[c]
		x, y := cx*s, cy*s
		w, h := min(s, p.w-x), min(s, p.h-y)
		pix, pos, stride := f.source(c, x, y, restricted)
		dst := p.pix[y*p.stride+x:]
		if ctu.alf[c] {
			if c == 0 {
				f.classify(pix, pos, stride, w, h, size-4)
				f.luma(ctu, dst, p.stride, pix, pos, stride, w, h, size-4)
			} else {
				f.chroma(ctu, c, dst, p.stride, pix, pos, stride, w, h, s-2)
			}
		}
		if c > 0 && ctu.cc[c-1] != 0 {
			lp, lpos, ls := f.source(0, cx*size, cy*size, restricted)
			coeff := &ctu.slice.alf.cc[c-1].cc[c-1][ctu.cc[c-1]-1]
			f.crossComponent(coeff, dst, p.stride, lp, lpos, ls, w, h, size-4)
		}
	}
}

// isolate copies a CTU with the surroundings that its filters may read and repeats border samples over the rest
// (clause 8.8.5.5). It reports false when nothing around the CTU is off limits.
func (f *alfFilter) isolate(i, x, y int) bool {
	pic := f.pic
	u := pic.usableNeighbours(i)
	cx, cy := i%pic.widthCtu, i/pic.widthCtu
	exists := func(dx, dy int) bool {
		return cx+dx >= 0 && cx+dx < pic.widthCtu && cy+dy >= 0 && cy+dy < pic.heightCtu
	}
	cut := false
	for dy := -1; dy <= 1; dy++ {
		for dx := -1; dx <= 1; dx++ {
			cut = cut || exists(dx, dy) && !u[dy+1][dx+1]
		}
	}
	if !cut {
		return false
	}
	size := 1 << pic.sps.ctbLog2
	for c := range pic.comps {
		shift := min(c, 1)
		s := size >> shift
		src, l := &f.planes[c], &f.local[c]
		px, py := x>>shift, y>>shift
		w, h := min(s, pic.planes[c].w-px), min(s, pic.planes[c].h-py)
		l.resize(s, s)
		x0, x1 := -alfPad*btoi(u[1][0]), w+alfPad*btoi(u[1][2])
		y0, y1 := -alfPad*btoi(u[0][1]), h+alfPad*btoi(u[2][1])
		for j := y0; j < y1; j++ {
			o := src.origin + (py+j)*src.stride + px
			copy(l.pix[l.origin+j*l.stride+x0:], src.pix[o+x0:o+x1])
		}
		// Corners that raster-scan slices cut off although both sides are there.
		if u[0][1] && u[1][0] && exists(-1, -1) && !u[0][0] {
			for j := -alfPad; j < 0; j++ {
				row := l.origin + j*l.stride
				for k := -alfPad; k < 0; k++ {
					l.pix[row+k] = l.pix[row]
				}
			}
		}
		if u[2][1] && u[1][2] && exists(1, 1) && !u[2][2] {
			for j := h; j < h+alfPad; j++ {
				row := l.origin + j*l.stride
				for k := w; k < w+alfPad; k++ {
					l.pix[row+k] = l.pix[row+w-1]
				}
			}
		}
		l.stretch(x0, y0, x1, y1, w, h)
	}
	return true
}

// stretch repeats the border of the copied rectangle until the margin around w by h samples is full.
func (d *paddedPlane) stretch(x0, y0, x1, y1, w, h int) {
	for y := y0; y < y1; y++ {
		row := d.origin + y*d.stride
		for x := -alfPad; x < x0; x++ {
			d.pix[row+x] = d.pix[row+x0]
		}
		for x := x1; x < w+alfPad; x++ {
			d.pix[row+x] = d.pix[row+x1-1]
		}
	}
	n := w + 2*alfPad
	row := func(y int) []uint16 {
		o := d.origin + y*d.stride - alfPad
		return d.pix[o : o+n]
	}
	for y := -alfPad; y < y0; y++ {
		copy(row(y), row(y0))
	}
	for y := y1; y < h+alfPad; y++ {
		copy(row(y), row(y1-1))
	}
}
