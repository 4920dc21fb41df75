package vvc

// partitionLimits bounds the multi-type tree of one tree kind, in luma samples (clause 7.4.3.4).
type partitionLimits struct {
	minQT, maxBT, maxTT int
	maxDepth            int // MaxMttDepth
}

// sps holds the fields of a sequence parameter set that decoding of intra pictures needs.
type sps struct {
	id                int
	chroma            bool // 4:2:0, else 4:0:0
	ctbLog2           int
	maxWidth          int
	maxHeight         int
	window            [4]int // conformance window: left, right, top, bottom, in chroma units
	subpicIDBits      int    // of sh_subpic_id, 0 when absent
	bitDepth          int
	wpp               bool
	entryPoints       bool // slice headers list the sizes of their substreams
	pocBits           int
	pocMsbCycle       bool
	pocMsbBits        int
	extraPHBits       int // number of ph_extra_bit that are present
	extraSHBits       int
	maxReorder        int
	minCbLog2         int
	overridable       bool // partition constraints may be overridden by picture headers
	intra             [2]partitionLimits
	dualTree          bool
	maxTbLog2         int
	transformSkip     bool
	maxTsLog2         int
	bdpcm             bool
	mts               bool
	mtsIntra          bool // explicit
	lfnst             bool
	jointCbCr         bool
	chromaQP          [3][]int8 // Cb, Cr, joint; indexed by luma QP + qpBdOffset
	sao, alf          bool
	ccAlf             bool
	lmcs              bool
	weightedPred      bool
	longTermRefs      bool
	interLayer        bool
	idrRefLists       bool
	refLists          [2][]refPicList
	isp, mrl, mip     bool
	cclm              bool
	collocated        bool // chroma sample location is vertically collocated with luma
	minQPPrimeTS      int
	ibc               bool
	maxIBCMerge       int
	amvr              bool
	ladf              []ladfInterval
	scalingLists      bool
	noScalingForLfnst bool
	depQuant          bool
	signHiding        bool
}

// ladfInterval is one interval of the luma-adaptive deblocking offset: levels above lower use offset.
type ladfInterval struct{ lower, offset int }

func (s *sps) qpBdOffset() int { return 6 * (s.bitDepth - 8) }

func parseSPS(r *bitReader, opts *Options) (*sps, error) {
	s := &sps{id: int(r.u(4))}
	vpsID := r.u(4)
	sublayers := int(r.u(3)) // minus 1
	chromaFormat := r.u(2)
	s.chroma = chromaFormat == 1
	s.ctbLog2 = int(r.u(2)) + 5
	ptlPresent := r.flag()
	if ptlPresent {
		skipProfileTierLevel(r, sublayers)
	}
	r.flag() // sps_gdr_enabled_flag
	if r.flag() {
		r.flag() // sps_res_change_in_clvs_allowed_flag
	}
	s.maxWidth, s.maxHeight = int(r.ue()), int(r.ue())
	if r.err != nil {
		return nil, r.err
	}
	switch {
	case chromaFormat > 1:
		return nil, unsupported("chroma format " + [4]string{2: "4:2:2", 3: "4:4:4"}[chromaFormat])
	case s.ctbLog2 > 7:
		return nil, invalidf("sps_log2_ctu_size_minus5 is 3")
	case s.maxWidth == 0 || s.maxHeight == 0:
		return nil, invalidf("picture size %dx%d", s.maxWidth, s.maxHeight)
	}
	if err := opts.checkSize(s.maxWidth, s.maxHeight, 0); err != nil {
		return nil, err
	}
	if r.flag() {
		s.window = parseWindow(r)
	}
	if r.flag() {
		if err := s.parseSubpictures(r); err != nil {
			return nil, err
		}
	}
	s.bitDepth = r.ueMax("sps_bitdepth_minus8", 8) + 8
	if s.bitDepth > 10 {
		return nil, unsupported("bit depth above 10")
	}
	s.wpp = r.flag()
	s.entryPoints = r.flag()
	s.parsePOC(r)
	if ptlPresent {
		all := sublayers > 0 && r.flag()
		for i := range sublayers + 1 {
			if all || i == sublayers {
				r.ue() // dpb_max_dec_pic_buffering_minus1
				s.maxReorder = r.ueMax("dpb_max_num_reorder_pics", 15)
				r.ue() // dpb_max_latency_increase_plus1
			}
		}
	}
	s.parsePartitioning(r)
	s.parseTransforms(r)
	if s.chroma && r.err == nil {
		s.parseChromaQP(r)
	}
	s.sao, s.alf = r.flag(), r.flag()
	s.ccAlf = s.alf && s.chroma && r.flag()
	s.lmcs = r.flag()
	s.parseInter(r, vpsID > 0)
	if err := s.parseIntraTools(r); err != nil {
		return nil, err
	}
	if r.flag() {
		return nil, unsupported("virtual boundaries")
	}
	return s, r.err // HRD parameters, VUI and extensions follow and do not matter
}

func parseWindow(r *bitReader) (w [4]int) {
	for i := range w {
		w[i] = r.ueMax("conformance window offset", 1<<16)
	}
	return w
}

// parseSubpictures accepts the one layout that equals having no subpictures.
func (s *sps) parseSubpictures(r *bitReader) error {
	if r.ue() != 0 && r.err == nil {
		return unsupported("subpictures")
	}
	s.subpicIDBits = r.ueMax("sps_subpic_id_len_minus1", 15) + 1
	if explicit := r.flag(); explicit && r.flag() { // identifiers are signalled, and in this parameter set
		r.u(s.subpicIDBits)
	}
	return r.err
}

func (s *sps) parsePOC(r *bitReader) {
	s.pocBits = int(r.u(4)) + 4
	if s.pocBits > 16 {
		r.fail(invalidf("picture order count of %d bits", s.pocBits))
		return
	}
	if s.pocMsbCycle = r.flag(); s.pocMsbCycle {
		s.pocMsbBits = r.ueMax("sps_poc_msb_cycle_len_minus1", 31-s.pocBits) + 1
	}
	for range 8 * r.u(2) {
		s.extraPHBits += int(r.u(1))
	}
	for range 8 * r.u(2) {
		s.extraSHBits += int(r.u(1))
	}
}

// parseLimits parses the quad and multi-type tree limits that sequence and picture headers share.
func parseLimits(r *bitReader, minCbLog2, ctbLog2 int, maxBTLog2 int) (l partitionLimits) {
	top := min(6, ctbLog2)
	qt := r.ueMax("log2_diff_min_qt_min_cb", max(top-minCbLog2, 0)) + minCbLog2
	l.maxDepth = r.ueMax("max_mtt_hierarchy_depth", 2*(ctbLog2-minCbLog2))
	l.minQT = 1 << qt
	l.maxBT, l.maxTT = l.minQT, l.minQT
	if l.maxDepth != 0 {
		l.maxBT <<= r.ueMax("log2_diff_max_bt_min_qt", max(maxBTLog2-qt, 0))
		l.maxTT <<= r.ueMax("log2_diff_max_tt_min_qt", max(top-qt, 0))
	}
	return l
}

func (s *sps) parsePartitioning(r *bitReader) {
	s.minCbLog2 = r.ueMax("sps_log2_min_luma_coding_block_size_minus2", min(4, s.ctbLog2-2)) + 2
	s.overridable = r.flag()
	s.intra[0] = parseLimits(r, s.minCbLog2, s.ctbLog2, s.ctbLog2)
	if s.chroma {
		s.dualTree = r.flag()
	}
	if s.dualTree {
		s.intra[1] = parseLimits(r, s.minCbLog2, s.ctbLog2, min(6, s.ctbLog2))
	}
	parseLimits(r, s.minCbLog2, s.ctbLog2, s.ctbLog2) // inter slices
	if s.maxWidth&(max(8, 1<<s.minCbLog2)-1) != 0 || s.maxHeight&(max(8, 1<<s.minCbLog2)-1) != 0 {
		r.fail(invalidf("picture size %dx%d is not a multiple of the minimum coding block", s.maxWidth, s.maxHeight))
	}
}

func (s *sps) parseTransforms(r *bitReader) {
	s.maxTbLog2 = 5
	if s.ctbLog2 > 5 && r.flag() {
		s.maxTbLog2 = 6
	}
	s.maxTsLog2 = 2
	if s.transformSkip = r.flag(); s.transformSkip {
		s.maxTsLog2 = r.ueMax("sps_log2_transform_skip_max_size_minus2", 3) + 2
		s.bdpcm = r.flag()
	}
	if s.mts = r.flag(); s.mts {
		s.mtsIntra = r.flag()
		r.flag() // sps_explicit_mts_inter_enabled_flag
	}
	s.lfnst = r.flag()
}

// parseChromaQP reads the piecewise linear maps from luma to chroma QP (clause 7.4.3.4, ChromaQpTable).
func (s *sps) parseChromaQP(r *bitReader) {
	s.jointCbCr = r.flag()
	same := r.flag()
	tables := 2
	if same {
		tables = 1
	} else if s.jointCbCr {
		tables = 3
	}
	off := s.qpBdOffset()
	for i := range tables {
		start := r.seRange("sps_qp_table_start_minus26", -26-off, 36) + 26
		points := r.ueMax("sps_num_points_in_qp_table_minus1", max(62-start, 0)) + 1
		table := make([]int8, 64+off)
		in, out := start, start
		put := func(qp, v int) { table[qp+off] = int8(min(max(v, -off), 63)) }
		put(in, out)
		for range points {
			dIn := int(r.ue())
			dOut := int(r.ue()) ^ dIn
			dIn++
			if r.err != nil || in+dIn > 63 || out+dOut > 63 {
				r.fail(invalidf("chroma QP table leaves the QP range"))
				return
			}
			for m := 1; m <= dIn; m++ {
				put(in+m, out+(dOut*m+dIn>>1)/dIn)
			}
			in += dIn
			out += dOut
		}
		for qp := start - 1; qp >= -off; qp-- {
			put(qp, int(table[qp+1+off])-1)
		}
		for qp := in + 1; qp <= 63; qp++ {
			put(qp, int(table[qp-1+off])+1)
		}
		s.chromaQP[i] = table
	}
	if same {
		s.chromaQP[1], s.chromaQP[2] = s.chromaQP[0], s.chromaQP[0]
	}
}

// parseInter reads past the tools of inter prediction, keeping what headers and block copy depend on.
func (s *sps) parseInter(r *bitReader, dependent bool) {
	wp, bi := r.flag(), r.flag()
	s.weightedPred = wp || bi
	s.longTermRefs = r.flag()
	s.interLayer = dependent && r.flag()
	s.idrRefLists = r.flag()
	sameLists := r.flag()
	for i := range 2 {
		if i == 1 && sameLists {
			s.refLists[1] = s.refLists[0]
			break
		}
		for range r.ueMax("sps_num_ref_pic_lists", 64) {
			s.refLists[i] = append(s.refLists[i], parseRefPicListStruct(r, s, true))
		}
	}
	r.flag() // sps_ref_wraparound_enabled_flag
	sbtmvp := false
	if r.flag() {
		sbtmvp = r.flag()
	}
	s.amvr = r.flag()
	if r.flag() { // sps_bdof_enabled_flag
		r.flag()
	}
	r.flag()      // sps_smvd_enabled_flag
	if r.flag() { // sps_dmvr_enabled_flag
		r.flag()
	}
	if r.flag() { // sps_mmvd_enabled_flag
		r.flag()
	}
	mergeCand := 6 - r.ueMax("sps_six_minus_max_num_merge_cand", 5)
	r.flag()      // sps_sbt_enabled_flag
	if r.flag() { // sps_affine_enabled_flag
		limit := 5
		if sbtmvp {
			limit = 4
		}
		r.ueMax("sps_five_minus_max_num_subblock_merge_cand", limit)
		r.flag()
		if s.amvr {
			r.flag()
		}
		if r.flag() { // sps_affine_prof_enabled_flag
			r.flag()
		}
	}
	r.flag() // sps_bcw_enabled_flag
	r.flag() // sps_ciip_enabled_flag
	if mergeCand >= 2 && r.flag() && mergeCand >= 3 {
		r.ue() // sps_max_num_merge_cand_minus_max_num_gpm_cand
	}
	r.ueMax("sps_log2_parallel_merge_level_minus2", s.ctbLog2-2)
}

func (s *sps) parseIntraTools(r *bitReader) error {
	s.isp, s.mrl, s.mip = r.flag(), r.flag(), r.flag()
	if s.chroma {
		s.cclm = r.flag()
		r.flag() // sps_chroma_horizontal_collocated_flag
		s.collocated = r.flag()
	}
	palette := r.flag()
	if s.transformSkip || palette {
		s.minQPPrimeTS = r.ueMax("sps_internal_bit_depth_minus_input_bit_depth", 8)
	}
	if s.ibc = r.flag(); s.ibc {
		s.maxIBCMerge = 6 - r.ueMax("sps_six_minus_max_num_ibc_merge_cand", 5)
	}
	if r.flag() {
		n := int(r.u(2)) + 1
		s.ladf = append(s.ladf, ladfInterval{offset: r.seRange("sps_ladf_lowest_interval_qp_offset", -63, 63)})
		for i := range n {
			offset := r.seRange("sps_ladf_qp_offset", -63, 63)
			step := r.ueMax("sps_ladf_delta_threshold_minus1", 1<<s.bitDepth-3) + 1
			s.ladf = append(s.ladf, ladfInterval{lower: s.ladf[i].lower + step, offset: offset})
		}
	}
	if s.scalingLists = r.flag(); s.scalingLists && s.lfnst {
		s.noScalingForLfnst = r.flag()
	}
	s.depQuant, s.signHiding = r.flag(), r.flag()
	if r.err == nil && palette {
		return unsupported("palette mode")
	}
	return r.err
}
