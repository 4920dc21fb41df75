package vvc

// Frame is a decoded picture cropped to its conformance window.
//
// Sample (x, y) of plane c is Planes[c][y*Stride[c]+x]. Planes 1 and 2 (Cb, Cr) have half the width and height of
// plane 0, rounded down to whole samples of the window, and are nil for 4:0:0. Samples use BitDepth bits, 8 to 10.
//
// The planes alias the decoder's memory: they are valid until the callback that received the frame returns and must
// not be modified. Use Clone to keep a frame.
type Frame struct {
	Width, Height int
	BitDepth      int
	POC           int // picture order count
	Planes        [3][]uint16
	Stride        [3]int
	// HashChecked reports that the stream carried a hash of the picture, which matched.
	HashChecked bool
}

// PlaneSize returns the width and height of plane c in samples.
func (f *Frame) PlaneSize(c int) (w, h int) {
	switch {
	case c == 0:
		return f.Width, f.Height
	case f.Planes[c] == nil:
		return 0, 0
	}
	return f.Width / 2, f.Height / 2
}

// Clone returns a deep copy of f that the caller owns.
func (f *Frame) Clone() *Frame {
	g := *f
	for c := range f.Planes {
		if f.Planes[c] == nil {
			continue
		}
		w, h := f.PlaneSize(c)
		g.Planes[c] = make([]uint16, w*h)
		g.Stride[c] = w
		for y := range h {
			copy(g.Planes[c][y*w:(y+1)*w], f.Planes[c][y*f.Stride[c]:])
		}
	}
	return &g
}

// AppendPlanar appends the samples of all planes, each in raster order, to dst and returns it: one byte per sample at
// 8 bits, else two bytes, least significant first. It is the layout of raw .yuv files.
func (f *Frame) AppendPlanar(dst []byte) []byte {
	for c := range f.Planes {
		w, h := f.PlaneSize(c)
		for y := range h {
			dst = appendSamples(dst, f.Planes[c][y*f.Stride[c]:y*f.Stride[c]+w], f.BitDepth)
		}
	}
	return dst
}

func appendSamples(dst []byte, row []uint16, bitDepth int) []byte {
	if bitDepth == 8 {
		for _, v := range row {
			dst = append(dst, byte(v))
		}
		return dst
	}
	for _, v := range row {
		dst = append(dst, byte(v), byte(v>>8))
	}
	return dst
}

// frame returns the cropped view of a picture.
func (pic *picture) frame() *Frame {
	win := pic.sps.window
	if pic.pps.window != nil && (pic.pps.width != pic.sps.maxWidth || pic.pps.height != pic.sps.maxHeight) {
		win = *pic.pps.window
	}
	unit := 1
	if pic.comps > 1 {
		unit = 2
	}
	f := &Frame{
		Width:    pic.pps.width - unit*(win[0]+win[1]),
		Height:   pic.pps.height - unit*(win[2]+win[3]),
		BitDepth: pic.sps.bitDepth, POC: pic.poc, HashChecked: pic.checked,
	}
	if f.Width <= 0 || f.Height <= 0 {
		return f
	}
	for c := range pic.comps {
		p := &pic.planes[c]
		x, y := win[0], win[2]
		if c == 0 {
			x, y = x*unit, y*unit
		}
		f.Planes[c] = p.pix[y*p.stride+x:]
		f.Stride[c] = p.stride
	}
	return f
}
