package vvc

// plane is one colour component.
type plane struct {
	pix    []uint16
	stride int
	w, h   int
}

// Flags of unitInfo.
const (
	edgeLeft  = 1 << iota // the left side of the unit is a transform block edge
	edgeAbove             // the upper side of the unit is a transform block edge
	flagBdpcm
	flagCopy  // intra block copy
	flagCbf   // luma or Cb coefficients
	flagCbfCr // Cr coefficients
)

// unitInfo is what in-loop filters need to know about a 4x4 luma area, once per tree: transform block sizes in samples
// of the channel, edges and quantisation parameters (luma QP, or Cb and Cr QP).
type unitInfo struct {
	w, h  uint8
	flags uint8
	qp    [2]int8
}

// codingUnit is kept for neighbours: contexts, most probable modes, QP prediction and chroma derivation.
type codingUnit struct {
	x, y       int32 // luma position
	w, h       uint8 // luma size
	qtDepth    uint8
	depth      uint8
	splits     uint16 // first splits from the CTU down, 3 bits each
	qp         int8
	mode       uint8 // luma intra mode; planar for MIP
	mip        bool
	isp        uint8
	bdpcm      [2]uint8 // luma, chroma: 1 horizontal, 2 vertical
	skip, copy bool     // cu_skip_flag; intra block copy
	bv         blockVector
}

// ctuInfo is per-CTU slice membership and loop filter parameters.
type ctuInfo struct {
	slice  *sliceHeader
	tile   int32
	sao    [3]saoParams
	alf    [3]bool
	alfSet uint8
	alfAlt [2]uint8
	cc     [2]uint8
}

// picture is the picture being decoded with its side information. Maps have one entry per 4x4 luma samples, separately
// for the luma and the chroma tree.
type picture struct {
	sps    *sps
	pps    *pps
	planes [3]plane
	comps  int

	colBd, rowBd     []int
	tileCol, tileRow []int // of CTU columns and rows
	widthCtu         int
	heightCtu        int
	ctus             []ctuInfo
	slices           []*sliceHeader

	unitStride int
	cuMap      [2][]int32
	cus        []codingUnit
	segment    [2][]uint32 // nonzero once reconstructed: identifies slice and tile
	units      [2][]unitInfo

	poc     int
	output  bool
	hash    *pictureHash
	checked bool
}

// init prepares pic for a picture, reusing its memory where sizes allow.
func (pic *picture) init(s *sps, p *pps) {
	pic.sps, pic.pps = s, p
	pic.comps = 1
	if s.chroma {
		pic.comps = 3
	}
	for c := range pic.comps {
		shift := min(c, 1)
		pl := &pic.planes[c]
		pl.w, pl.h = p.width>>shift, p.height>>shift
		pl.stride = pl.w
		pl.pix = grow(pl.pix, pl.stride*pl.h)
	}
	size := 1 << s.ctbLog2
	pic.widthCtu = (p.width + size - 1) >> s.ctbLog2
	pic.heightCtu = (p.height + size - 1) >> s.ctbLog2
	pic.colBd, pic.rowBd = []int{0, pic.widthCtu}, []int{0, pic.heightCtu}
	if p.partitioned {
		pic.colBd, pic.rowBd = p.colBd, p.rowBd
	}
	pic.tileCol = tileIndex(pic.tileCol[:0], pic.colBd)
	pic.tileRow = tileIndex(pic.tileRow[:0], pic.rowBd)
	pic.ctus = grow(pic.ctus, pic.widthCtu*pic.heightCtu)
	clear(pic.ctus)
	pic.slices = pic.slices[:0]
	pic.unitStride = (p.width + 3) >> 2
	n := pic.unitStride * ((p.height + 3) >> 2)
	pic.cus = pic.cus[:0]
	for ch := range min(pic.comps, 2) {
		pic.cuMap[ch] = grow(pic.cuMap[ch], n)
		pic.segment[ch] = grow(pic.segment[ch], n)
		pic.units[ch] = grow(pic.units[ch], n)
		clear(pic.segment[ch])
		clear(pic.units[ch])
	}
	pic.hash = nil
}

func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

func tileIndex(dst, bd []int) []int {
	for i := 1; i < len(bd); i++ {
		for range bd[i] - bd[i-1] {
			dst = append(dst, i-1)
		}
	}
	return dst
}

func (pic *picture) appendCtus(list []int32, x0, x1, y0, y1 int) []int32 {
	for y := y0; y < y1; y++ {
		for x := x0; x < x1; x++ {
			list = append(list, int32(y*pic.widthCtu+x))
		}
	}
	return list
}

func (pic *picture) appendTile(list []int32, col, row int) []int32 {
	return pic.appendCtus(list, pic.colBd[col], pic.colBd[col+1], pic.rowBd[row], pic.rowBd[row+1])
}

func (pic *picture) appendRectSlice(list []int32, s rectSlice) []int32 {
	cols := len(pic.colBd) - 1
	col, row := s.tile%cols, s.tile/cols
	if s.rows > 0 {
		y := pic.rowBd[row] + s.firstRow
		return pic.appendCtus(list, pic.colBd[col], pic.colBd[col+1], y, y+s.rows)
	}
	for j := range s.height {
		for i := range s.width {
			list = pic.appendTile(list, col+i, row+j)
		}
	}
	return list
}

// startsSubstream reports whether CTU c, decoded after prev, starts a tile or, with wavefronts, a CTU row of a tile.
func (pic *picture) startsSubstream(c, prev int, wpp bool) bool {
	x, y := c%pic.widthCtu, c/pic.widthCtu
	px, py := prev%pic.widthCtu, prev/pic.widthCtu
	return pic.tileCol[x] != pic.tileCol[px] || pic.tileRow[y] != pic.tileRow[py] || wpp && y != py
}
