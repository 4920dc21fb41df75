package vvc

// sliceHeader holds a slice header merged with what it inherits from the picture header.
type sliceHeader struct {
	ph         *picHeader
	ctus       []int32 // raster addresses in decoding order
	index      int     // in the picture
	alf        alfParams
	lmcs       bool
	scaling    *scalingLists
	qp         int
	qpOffset   [3]int
	cuChromaQP bool
	sao        [2]bool
	deblockOff bool
	deblock    [3]deblockParams
	depQuant   bool
	signHiding bool
	tsRegular  bool // sh_ts_residual_coding_disabled_flag: transform skip blocks use regular residual coding
}

// parseSliceHeader parses slice_header() (clause 7.3.7). It starts a new picture when the slice carries its own picture
// header. On return r stands at the first byte of slice data.
func (d *Decoder) parseSliceHeader(r *bitReader, nal nalUnit, yield func(*Frame) error) (*sliceHeader, error) {
	ownPH := r.flag()
	if ownPH {
		if err := d.finishPicture(yield); err != nil {
			return nil, err
		}
		ph, err := d.parsePicHeader(r)
		if err != nil {
			return nil, err
		}
		d.ph = ph
	}
	ph := d.ph
	if ph == nil {
		return nil, invalidf("slice without a picture header")
	}
	s, p := ph.sps, ph.pps
	if d.pic == nil {
		if err := d.startPicture(nal, yield); err != nil {
			return nil, err
		}
	}
	h := &sliceHeader{ph: ph, index: len(d.pic.slices)}
	r.skip(s.subpicIDBits)
	if err := h.parseAddress(r, d.pic); err != nil {
		return nil, err
	}
	// ph_inter_slice_allowed_flag is 0: every slice is an I slice.
	if nal.kind >= nalIDRRadl && nal.kind <= nalGDR {
		r.flag() // sh_no_output_of_prior_pics_flag
	}
	h.alf = ph.alf
	if s.alf && !p.alfInPH {
		d.parseALFSelection(r, s, &h.alf)
	}
	h.lmcs, h.scaling = ph.lmcs != nil, ph.scaling
	if h.lmcs && !ownPH {
		h.lmcs = r.flag()
	}
	if h.scaling != nil && !ownPH && !r.flag() {
		h.scaling = nil
	}
	idr := nal.kind == nalIDRRadl || nal.kind == nalIDRNoLP
	if !p.rplInPH && (!idr || s.idrRefLists) {
		skipRefPicLists(r, s, p)
	}
	h.parseQuant(r, s, p)
	if p.shExtension {
		r.skip(8 * r.ueMax("sh_slice_header_extension_length", 256))
	}
	h.skipEntryPoints(r, d.pic)
	if r.u(1) != 1 {
		r.fail(invalidf("slice header is not followed by an alignment bit"))
	}
	r.align()
	return h, r.err
}

// parseAddress finds the CTUs of the slice (clause 7.4.8, equation 110) and checks that none is decoded twice.
func (h *sliceHeader) parseAddress(r *bitReader, pic *picture) error {
	p, s := h.ph.pps, h.ph.sps
	address, tiles := 0, p.numTiles()
	switch {
	case !p.rectSlices:
		address = int(r.u(ceilLog2(tiles)))
	case len(p.slices) > 1:
		address = int(r.u(ceilLog2(len(p.slices))))
	}
	r.skip(s.extraSHBits)
	count := 1
	if !p.rectSlices && tiles-address > 1 {
		count = r.ueMax("sh_num_tiles_in_slice_minus1", tiles-address-1) + 1
	}
	if r.err != nil {
		return r.err
	}
	cols := len(pic.colBd) - 1
	switch {
	case !p.rectSlices:
		if address >= tiles {
			return invalidf("slice address %d of %d tiles", address, tiles)
		}
		for t := address; t < address+count; t++ {
			h.ctus = pic.appendTile(h.ctus, t%cols, t/cols)
		}
	case len(p.slices) == 0:
		for t := range tiles {
			h.ctus = pic.appendTile(h.ctus, t%cols, t/cols)
		}
	case address >= len(p.slices):
		return invalidf("slice address %d of %d slices", address, len(p.slices))
	default:
		h.ctus = pic.appendRectSlice(h.ctus, p.slices[address])
	}
	for _, c := range h.ctus {
		if pic.ctus[c].slice != nil {
			return invalidf("CTU %d is in two slices", c)
		}
	}
	return nil
}

func (h *sliceHeader) parseQuant(r *bitReader, s *sps, p *pps) {
	delta := h.ph.qpDelta
	if !p.qpDeltaInPH {
		delta = r.seRange("sh_qp_delta", -127, 127)
	}
	h.qp = p.initQP + delta
	if h.qp < -s.qpBdOffset() || h.qp > 63 {
		r.fail(invalidf("slice QP is %d", h.qp))
		return
	}
	h.qpOffset = p.qpOffset
	if p.sliceChromaQP {
		n := 2
		if s.jointCbCr {
			n = 3
		}
		for i := range n {
			h.qpOffset[i] += r.seRange("slice chroma QP offset", -12, 12)
		}
	}
	h.cuChromaQP = p.chromaQPList != nil && r.flag()
	h.sao = h.ph.sao
	if s.sao && !p.saoInPH {
		h.sao[0] = r.flag()
		h.sao[1] = s.chroma && r.flag()
	}
	h.deblockOff, h.deblock = h.ph.deblockOff, h.ph.deblock
	if p.deblockOverridable && !p.dbfInPH && r.flag() {
		h.deblockOff, h.deblock = parseDeblockOverride(r, p, h.deblock)
	}
	h.depQuant = s.depQuant && r.flag()
	h.signHiding = s.signHiding && !h.depQuant && r.flag()
	h.tsRegular = s.transformSkip && !h.depQuant && !h.signHiding && r.flag()
}

// skipEntryPoints reads past the substream sizes: substreams follow each other without gaps, so that the position of
// the arithmetic decoder tells where the next one starts.
func (h *sliceHeader) skipEntryPoints(r *bitReader, pic *picture) {
	if !h.ph.sps.entryPoints {
		return
	}
	n := 0
	for i := 1; i < len(h.ctus); i++ {
		if pic.startsSubstream(int(h.ctus[i]), int(h.ctus[i-1]), h.ph.sps.wpp) {
			n++
		}
	}
	if n > 0 {
		bits := r.ueMax("sh_entry_offset_len_minus1", 31) + 1
		r.skip(n * bits)
	}
}
