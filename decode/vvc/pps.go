package vvc

// Limits of table A.2 (level 6.3) on picture partitioning.
const (
	maxTileCols = 30
	maxTileRows = 33
	maxSlices   = 1000
)

// deblockParams are the deblocking offsets of one component.
type deblockParams struct{ beta, tc int } // already doubled

// rectSlice is one rectangular slice: whole tiles, or CTU rows within one tile.
type rectSlice struct {
	tile          int // top left
	width, height int // in tiles
	firstRow      int // first CTU row within the tile when rows is not 0
	rows          int // CTU rows, for one of several slices of a tile; 0 for whole tiles
}

// pps holds a picture parameter set.
type pps struct {
	id, spsID          int
	width, height      int
	window             *[4]int
	outputFlagPresent  bool
	partitioned        bool
	ctbLog2            int
	colBd, rowBd       []int // tile boundaries in CTUs; two entries each when not partitioned are set on use
	loopAcrossTiles    bool
	rectSlices         bool
	slices             []rectSlice // nil: one slice per picture
	loopAcrossSlices   bool
	rpl1IdxPresent     bool
	initQP             int
	cuQPDelta          bool
	chromaToolOffsets  bool
	qpOffset           [3]int // Cb, Cr, joint
	sliceChromaQP      bool
	chromaQPList       [][3]int
	deblockOverridable bool
	deblockDisabled    bool
	dbfInPH            bool
	deblock            [3]deblockParams
	rplInPH            bool
	saoInPH            bool
	alfInPH            bool
	qpDeltaInPH        bool
	phExtension        bool
	shExtension        bool
}

func parsePPS(r *bitReader) (*pps, error) {
	p := &pps{id: int(r.u(6)), spsID: int(r.u(4)), loopAcrossTiles: true, loopAcrossSlices: true}
	r.flag() // pps_mixed_nalu_types_in_pic_flag
	p.width, p.height = r.ueMax("pps_pic_width_in_luma_samples", 1<<20), r.ueMax("pps_pic_height_in_luma_samples", 1<<20)
	if p.width == 0 || p.height == 0 {
		r.fail(invalidf("picture size %dx%d", p.width, p.height))
	}
	if r.flag() {
		w := parseWindow(r)
		p.window = &w
	}
	if r.flag() { // pps_scaling_window_explicit_signalling_flag
		for range 4 {
			r.se()
		}
	}
	p.outputFlagPresent = r.flag()
	p.partitioned = !r.flag()
	if r.flag() { // pps_subpic_id_mapping_present_flag
		if p.partitioned && r.ue() != 0 {
			return nil, unsupported("subpictures")
		}
		r.u(r.ueMax("pps_subpic_id_len_minus1", 15) + 1)
	}
	p.rectSlices = true
	if p.partitioned && r.err == nil {
		p.parsePartition(r)
	}
	r.flag() // pps_cabac_init_present_flag
	r.ue()   // pps_num_ref_idx_default_active_minus1
	r.ue()
	p.rpl1IdxPresent = r.flag()
	wp, bi := r.flag(), r.flag()
	if r.flag() {
		r.ue() // pps_pic_width_minus_wraparound_offset
	}
	p.initQP = 26 + r.seRange("pps_init_qp_minus26", -38, 37)
	p.cuQPDelta = r.flag()
	if p.chromaToolOffsets = r.flag(); p.chromaToolOffsets {
		p.parseChromaOffsets(r)
	}
	if r.flag() {
		p.parseDeblock(r)
	}
	if p.partitioned {
		p.rplInPH, p.saoInPH, p.alfInPH = r.flag(), r.flag(), r.flag()
		if (wp || bi) && p.rplInPH {
			r.flag() // pps_wp_info_in_ph_flag
		}
		p.qpDeltaInPH = r.flag()
	}
	p.phExtension, p.shExtension = r.flag(), r.flag()
	return p, r.err
}

func (p *pps) parseChromaOffsets(r *bitReader) {
	p.qpOffset[0] = r.seRange("pps_cb_qp_offset", -12, 12)
	p.qpOffset[1] = r.seRange("pps_cr_qp_offset", -12, 12)
	joint := r.flag()
	if joint {
		p.qpOffset[2] = r.seRange("pps_joint_cbcr_qp_offset_value", -12, 12)
	}
	p.sliceChromaQP = r.flag()
	if !r.flag() {
		return
	}
	for range r.ueMax("pps_chroma_qp_offset_list_len_minus1", 5) + 1 {
		var e [3]int
		e[0] = r.seRange("pps_cb_qp_offset_list", -12, 12)
		e[1] = r.seRange("pps_cr_qp_offset_list", -12, 12)
		if joint {
			e[2] = r.seRange("pps_joint_cbcr_qp_offset_list", -12, 12)
		}
		p.chromaQPList = append(p.chromaQPList, e)
	}
}

// parseOffsets reads the beta and tc offsets of luma and, when chroma is true, of Cb and Cr, which otherwise follow luma.
func parseOffsets(r *bitReader, chroma bool) (d [3]deblockParams) {
	for i := range d {
		if i > 0 && !chroma {
			d[i] = d[0]
			continue
		}
		d[i].beta = 2 * r.seRange("beta_offset_div2", -12, 12)
		d[i].tc = 2 * r.seRange("tc_offset_div2", -12, 12)
	}
	return d
}

func (p *pps) parseDeblock(r *bitReader) {
	p.deblockOverridable = r.flag()
	p.deblockDisabled = r.flag()
	if p.partitioned && p.deblockOverridable {
		p.dbfInPH = r.flag()
	}
	if !p.deblockDisabled {
		p.deblock = parseOffsets(r, p.chromaToolOffsets)
	}
}

// tileBoundaries reads n explicit sizes, repeats the last one until total is covered and returns the boundaries.
func tileBoundaries(r *bitReader, name string, n, total, limit int) []int {
	bd := []int{0}
	size := 1
	for range n {
		size = r.ueMax("size of tile "+name+" minus 1", total-1) + 1
		bd = append(bd, bd[len(bd)-1]+size)
	}
	if bd[n] > total {
		r.fail(invalidf("explicit tile %s exceed the picture", name))
	}
	for r.err == nil && bd[len(bd)-1] < total {
		if len(bd) > limit {
			r.fail(invalidf("more than %d tile %s", limit, name))
		}
		bd = append(bd, min(bd[len(bd)-1]+size, total))
	}
	return bd
}

func (p *pps) parsePartition(r *bitReader) {
	p.ctbLog2 = int(r.u(2)) + 5
	if p.ctbLog2 > 7 {
		r.fail(invalidf("pps_log2_ctu_size_minus5 is 3"))
		return
	}
	size := 1 << p.ctbLog2
	cols := (p.width + size - 1) >> p.ctbLog2
	rows := (p.height + size - 1) >> p.ctbLog2
	// Both counts come before both lists of sizes.
	nc := r.ueMax("pps_num_exp_tile_columns_minus1", min(cols, maxTileCols)-1) + 1
	nr := r.ueMax("pps_num_exp_tile_rows_minus1", min(rows, maxTileRows)-1) + 1
	p.colBd = tileBoundaries(r, "columns", nc, cols, maxTileCols)
	p.rowBd = tileBoundaries(r, "rows", nr, rows, maxTileRows)
	if r.err != nil {
		return
	}
	p.loopAcrossTiles = false
	if p.numTiles() > 1 {
		p.loopAcrossTiles = r.flag()
		p.rectSlices = r.flag()
	}
	perSubpic := p.rectSlices && r.flag()
	if p.rectSlices && !perSubpic {
		p.parseRectSlices(r)
	}
	p.loopAcrossSlices = false
	if !p.rectSlices || perSubpic || len(p.slices) > 1 {
		p.loopAcrossSlices = r.flag()
	}
}

func (p *pps) numTiles() int { return max(len(p.colBd)-1, 1) * max(len(p.rowBd)-1, 1) }

// parseRectSlices lays out rectangular slices (clause 6.5.1, equation 21).
func (p *pps) parseRectSlices(r *bitReader) {
	n := r.ueMax("pps_num_slices_in_pic_minus1", maxSlices-1) + 1
	deltas := n > 2 && r.flag()
	cols, rows := len(p.colBd)-1, len(p.rowBd)-1
	tile := 0
	for len(p.slices) < n-1 && r.err == nil {
		s := rectSlice{tile: tile, width: 1, height: 1}
		if tile < 0 || tile >= cols*rows {
			r.fail(invalidf("slice %d starts in tile %d of %d", len(p.slices), tile, cols*rows))
			return
		}
		col, row := tile%cols, tile/cols
		if col != cols-1 {
			s.width = r.ueMax("pps_slice_width_in_tiles_minus1", cols-1-col) + 1
		}
		if row != rows-1 {
			if deltas || col == 0 {
				s.height = r.ueMax("pps_slice_height_in_tiles_minus1", rows-1-row) + 1
			} else if len(p.slices) > 0 {
				s.height = min(p.slices[len(p.slices)-1].height, rows-row)
			}
		}
		if ctus := p.rowBd[row+1] - p.rowBd[row]; s.width == 1 && s.height == 1 && ctus > 1 {
			p.parseSlicesInTile(r, s, ctus, n)
		} else {
			p.slices = append(p.slices, s)
		}
		if len(p.slices) < n {
			if deltas {
				tile += r.seRange("pps_tile_idx_delta_val", -cols*rows, cols*rows)
			} else if tile += s.width; tile%cols == 0 {
				tile += (s.height - 1) * cols
			}
		}
	}
	if len(p.slices) == n-1 {
		if tile < 0 || tile >= cols*rows {
			r.fail(invalidf("last slice starts in tile %d of %d", tile, cols*rows))
			return
		}
		p.slices = append(p.slices, rectSlice{tile: tile, width: cols - tile%cols, height: rows - tile/cols})
	}
	if len(p.slices) != n {
		r.fail(invalidf("%d rectangular slices instead of %d", len(p.slices), n))
	}
}

// parseSlicesInTile appends the slices that split one tile of ctus CTU rows.
func (p *pps) parseSlicesInTile(r *bitReader, s rectSlice, ctus, limit int) {
	explicit := r.ueMax("pps_num_exp_slices_in_tile", ctus-1)
	if explicit == 0 {
		p.slices = append(p.slices, s)
		return
	}
	for left := ctus; left > 0 && r.err == nil; {
		if explicit > 0 {
			explicit--
			s.rows = r.ueMax("pps_exp_slice_height_in_ctus_minus1", left-1) + 1
		}
		s.rows = min(s.rows, left)
		if len(p.slices) >= limit {
			r.fail(invalidf("more than %d slices", limit))
			return
		}
		p.slices = append(p.slices, s)
		s.firstRow += s.rows
		left -= s.rows
	}
}
