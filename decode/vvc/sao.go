package vvc

type saoKind uint8

const (
	saoOff saoKind = iota
	saoBand
	saoEdge
)

// saoParams are the sample adaptive offset parameters of one component of a CTU.
type saoParams struct {
	kind   saoKind
	class  uint8 // first band, or direction of edges
	offset [4]int16
}

// saoDirections holds the offset to one of the two neighbours of each edge class; the other one is opposite.
var saoDirections = [4][2]int{{1, 0}, {0, 1}, {1, 1}, {-1, 1}}

// sampleAdaptiveOffset filters the picture (clause 8.8.4). Edge classification reads deblocked samples, kept in tmp.
func (pic *picture) sampleAdaptiveOffset(tmp []uint16) []uint16 {
	size := 1 << pic.sps.ctbLog2
	for c := range pic.comps {
		used := false
		for i := range pic.ctus {
			used = used || pic.ctus[i].sao[c].kind != saoOff
		}
		if !used {
			continue
		}
		p := &pic.planes[c]
		tmp = grow(tmp, len(p.pix))
		copy(tmp, p.pix)
		s := size >> min(c, 1)
		for i := range pic.ctus {
			x, y := i%pic.widthCtu*s, i/pic.widthCtu*s
			w, h := min(s, p.w-x), min(s, p.h-y)
			switch prm := &pic.ctus[i].sao[c]; prm.kind {
			case saoBand:
				pic.saoBand(p, prm, x, y, w, h)
			case saoEdge:
				pic.saoEdge(p, tmp, prm, i, x, y, w, h)
			}
		}
	}
	return tmp
}

func (pic *picture) saoBand(p *plane, prm *saoParams, x, y, w, h int) {
	var table [32]int32
	for k, o := range prm.offset {
		table[(int(prm.class)+k)&31] = int32(o)
	}
	shift := pic.sps.bitDepth - 5
	limit := int32(1)<<pic.sps.bitDepth - 1
	for j := range h {
		row := p.pix[(y+j)*p.stride+x : (y+j)*p.stride+x+w]
		for i, v := range row {
			row[i] = uint16(min(max(int32(v)+table[v>>shift&31], 0), limit))
		}
	}
}

func (pic *picture) saoEdge(p *plane, src []uint16, prm *saoParams, ctu, x, y, w, h int) {
	o := prm.offset
	table := [5]int32{int32(o[0]), int32(o[1]), 0, int32(o[2]), int32(o[3])}
	limit := int32(1)<<pic.sps.bitDepth - 1
	dx, dy := saoDirections[prm.class][0], saoDirections[prm.class][1]
	step := dy*p.stride + dx
	usable := pic.usableNeighbours(ctu)
	// where returns 0, 1 or 2 for a coordinate before, in or after the CTU.
	where := func(v, n int) int {
		if v < 0 {
			return 0
		}
		return 1 + btoi(v >= n)
	}
	for j := range h {
		base := (y+j)*p.stride + x
		up, down := where(j-dy, h), where(j+dy, h)
		for i := 0; i < w; i++ {
			if i == 0 || i == w-1 || up != 1 || down != 1 {
				if !usable[up][where(i-dx, w)] || !usable[down][where(i+dx, w)] {
					continue
				}
			}
			k := base + i
			v := int32(src[k])
			class := 2 + sign(v-int32(src[k-step])) + sign(v-int32(src[k+step]))
			p.pix[k] = uint16(min(max(v+table[class], 0), limit))
		}
	}
}

func sign(v int32) int { return int(v>>31) | int(uint32(-v)>>31) }

// usableNeighbours tells which of the eight CTUs around one exist and may be read by its in-loop filters.
func (pic *picture) usableNeighbours(ctu int) (u [3][3]bool) {
	cx, cy := ctu%pic.widthCtu, ctu/pic.widthCtu
	for j := range 3 {
		for i := range 3 {
			x, y := cx+i-1, cy+j-1
			if x < 0 || y < 0 || x >= pic.widthCtu || y >= pic.heightCtu {
				continue
			}
			u[j][i] = pic.mayCross(&pic.ctus[ctu], &pic.ctus[y*pic.widthCtu+x])
		}
	}
	return u
}
