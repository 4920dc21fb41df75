package vvc

// scalingLists holds the 28 explicit scaling lists of an adaptation parameter set in raster order (clause 7.3.2.21).
type scalingLists struct {
	list [28][64]uint8
	dc   [28]uint8
}

// scalingListSize returns the side of list id: 2 for ids 0 and 1, 4 up to 7, else 8.
func scalingListSize(id int) int {
	switch {
	case id < 2:
		return 2
	case id < 8:
		return 4
	}
	return 8
}

func parseScalingLists(r *bitReader, chroma bool) *scalingLists {
	s := new(scalingLists)
	for id := range s.list {
		size := scalingListSize(id)
		if !chroma && id%3 != 2 && id != 27 {
			s.flat(id, 16)
			continue
		}
		copyMode := r.flag()
		pred := !copyMode && r.flag()
		ref := id
		if (copyMode || pred) && id != 0 && id != 2 && id != 8 {
			first := 0
			if id >= 8 {
				first = 8
			} else if id >= 2 {
				first = 2
			}
			ref = id - r.ueMax("scaling_list_pred_id_delta", id-first)
		}
		switch {
		case !copyMode && !pred:
			s.flat(id, 8)
		case ref == id:
			s.flat(id, 16)
		default:
			s.list[id] = s.list[ref]
			s.dc[id] = s.dc[ref]
			if ref < 14 {
				s.dc[id] = s.list[ref][0]
			}
		}
		if copyMode {
			continue
		}
		next := 0
		if id > 13 {
			next = r.seRange("scaling_list_dc_coef", -128, 127)
			s.dc[id] += uint8(next)
		}
		scan := &scanTables[log2(size)][log2(size)]
		for i := range size * size {
			x, y := int(scan.x[i]), int(scan.y[i])
			if id <= 25 || x < 4 || y < 4 {
				next += r.seRange("scaling_list_delta_coef", -128, 127)
			}
			s.list[id][y*size+x] += uint8(next)
		}
	}
	return s
}

func (s *scalingLists) flat(id int, v uint8) {
	for i := range s.list[id] {
		s.list[id][i] = v
	}
	s.dc[id] = v
}

// scalingListID is the list of (log2 of the larger side, component) for intra blocks (table 38, predMode INTRA), and
// for block copy with 3 added to the component.
var scalingListID = [7][6]uint8{
	{0, 0, 0, 0, 0, 0},
	{0, 0, 0, 0, 0, 1},
	{2, 3, 4, 5, 6, 7},
	{8, 9, 10, 11, 12, 13},
	{14, 15, 16, 17, 18, 19},
	{20, 21, 22, 23, 24, 25},
	{26, 21, 22, 27, 24, 25},
}

// factor returns the scaling factor m of coefficient (x, y) in a block of 1<<lw by 1<<lh (clause 8.7.3).
func (s *scalingLists) factor(comp, lw, lh, x, y int) int64 {
	larger := max(lw, lh)
	id := int(scalingListID[larger][comp])
	if larger > 3 && x == 0 && y == 0 {
		return int64(s.dc[id])
	}
	size := log2(scalingListSize(id))
	i := x << size >> lw
	j := y << size >> lh
	return int64(s.list[id][j<<size+i])
}
