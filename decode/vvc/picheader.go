package vvc

// alfParams selects adaptive loop filters for a slice; parameter sets are resolved when the header is parsed, so that
// later updates of a set do not reach back.
type alfParams struct {
	enabled [3]bool
	luma    []*alfAPS
	chroma  *alfAPS
	cc      [2]*alfAPS // nil: cross-component filter off
}

// picHeader holds a picture header and the parameter sets it activates.
type picHeader struct {
	sps         *sps
	pps         *pps
	irap        bool // ph_gdr_or_irap_pic_flag
	nonRef      bool
	pocLsb      int
	pocMsb      int // ph_poc_msb_cycle_val, -1 when absent
	output      bool
	alf         alfParams
	lmcs        *lmcsAPS
	lmcsModel   *lmcsModel
	chromaScale bool // ph_chroma_residual_scale_flag
	scaling     *scalingLists
	limits      [2]partitionLimits
	qpSubdiv    int
	chromaQPSub int
	qpDelta     int
	jointSign   bool
	sao         [2]bool
	deblockOff  bool
	deblock     [3]deblockParams
}

func (d *Decoder) parsePicHeader(r *bitReader) (*picHeader, error) {
	h := &picHeader{irap: r.flag(), nonRef: r.flag(), pocMsb: -1, output: true}
	if h.irap && r.flag() {
		return nil, unsupported("gradual decoding refresh")
	}
	if r.flag() { // ph_inter_slice_allowed_flag
		if r.err != nil {
			return nil, r.err
		}
		return nil, unsupported("inter prediction")
	}
	id := r.ueMax("ph_pic_parameter_set_id", 63)
	if r.err != nil {
		return nil, r.err
	}
	if h.pps = d.pps[id]; h.pps == nil {
		return nil, invalidf("picture parameter set %d is missing", id)
	}
	if h.sps = d.sps[h.pps.spsID]; h.sps == nil {
		return nil, invalidf("sequence parameter set %d is missing", h.pps.spsID)
	}
	s, p := h.sps, h.pps
	if err := checkPair(s, p); err != nil {
		return nil, err
	}
	h.pocLsb = int(r.u(s.pocBits))
	r.skip(s.extraPHBits)
	if s.pocMsbCycle && r.flag() {
		h.pocMsb = int(r.u(s.pocMsbBits))
	}
	if s.alf && p.alfInPH {
		d.parseALFSelection(r, s, &h.alf)
	}
	if s.lmcs && r.flag() {
		if h.lmcs = d.lmcsAPS[r.u(2)]; h.lmcs == nil {
			r.fail(invalidf("LMCS parameter set is missing"))
			return nil, r.err
		}
		m, err := newLmcsModel(h.lmcs, s.bitDepth)
		if err != nil {
			return nil, err
		}
		h.lmcsModel = m
		h.chromaScale = s.chroma && r.flag()
	}
	if s.scalingLists && r.flag() {
		if h.scaling = d.scalingAPS[r.u(3)]; h.scaling == nil {
			r.fail(invalidf("scaling list parameter set is missing"))
		}
	}
	if p.outputFlagPresent && !h.nonRef {
		h.output = r.flag()
	}
	if p.rplInPH {
		skipRefPicLists(r, s, p)
	}
	h.limits = s.intra
	if s.overridable && r.flag() {
		h.limits[0] = parseLimits(r, s.minCbLog2, s.ctbLog2, s.ctbLog2)
		if s.dualTree {
			h.limits[1] = parseLimits(r, s.minCbLog2, s.ctbLog2, min(6, s.ctbLog2))
		}
	}
	maxSubdiv := 2 * (s.ctbLog2 - log2(h.limits[0].minQT) + h.limits[0].maxDepth)
	if p.cuQPDelta {
		h.qpSubdiv = r.ueMax("ph_cu_qp_delta_subdiv_intra_slice", maxSubdiv)
	}
	if p.chromaQPList != nil {
		h.chromaQPSub = r.ueMax("ph_cu_chroma_qp_offset_subdiv_intra_slice", maxSubdiv)
	}
	if p.qpDeltaInPH {
		h.qpDelta = r.seRange("ph_qp_delta", -127, 127)
	}
	h.jointSign = s.jointCbCr && r.flag()
	if s.sao && p.saoInPH {
		h.sao[0] = r.flag()
		h.sao[1] = s.chroma && r.flag()
	}
	h.deblockOff, h.deblock = p.deblockDisabled, p.deblock
	if p.dbfInPH && r.flag() {
		h.deblockOff, h.deblock = parseDeblockOverride(r, p, h.deblock)
	}
	if p.phExtension {
		r.skip(8 * r.ueMax("ph_extension_length", 256))
	}
	return h, r.err
}

// checkPair checks the constraints between a picture parameter set and the sequence parameter set it refers to.
func checkPair(s *sps, p *pps) error {
	unit := max(8, 1<<s.minCbLog2) - 1
	switch {
	case p.width > s.maxWidth || p.height > s.maxHeight || p.width&unit != 0 || p.height&unit != 0:
		return invalidf("picture size %dx%d in a sequence of %dx%d", p.width, p.height, s.maxWidth, s.maxHeight)
	case p.partitioned && p.ctbLog2 != s.ctbLog2:
		return invalidf("CTU sizes %d and %d of parameter sets differ", 1<<p.ctbLog2, 1<<s.ctbLog2)
	}
	return nil
}

// parseDeblockOverride reads the deblocking parameters of a picture or slice header.
func parseDeblockOverride(r *bitReader, p *pps, inherited [3]deblockParams) (off bool, params [3]deblockParams) {
	if !p.deblockDisabled {
		off = r.flag()
	}
	if off {
		return true, inherited
	}
	return false, parseOffsets(r, p.chromaToolOffsets)
}

// parseALFSelection reads the adaptive loop filter part that picture and slice headers share.
func (d *Decoder) parseALFSelection(r *bitReader, s *sps, a *alfParams) {
	a.enabled[0] = r.flag()
	if !a.enabled[0] {
		return
	}
	need := func(ok func(*alfAPS) bool) *alfAPS {
		set := d.alfAPS[r.u(3)]
		if set == nil || !ok(set) {
			r.fail(invalidf("adaptive loop filter parameter set is missing"))
			return nil
		}
		return set
	}
	for range r.u(3) {
		a.luma = append(a.luma, need(func(set *alfAPS) bool { return set.hasLuma }))
	}
	if s.chroma {
		a.enabled[1], a.enabled[2] = r.flag(), r.flag()
	}
	if a.enabled[1] || a.enabled[2] {
		a.chroma = need(func(set *alfAPS) bool { return set.hasChroma })
	}
	if s.ccAlf {
		for c := range a.cc {
			if r.flag() {
				a.cc[c] = need(func(set *alfAPS) bool { return set.ccFilters[c] > 0 })
			}
		}
	}
}
