package vvc

// Adaptation parameter set types (table 6).
const (
	apsALF     = 0
	apsLMCS    = 1
	apsScaling = 2
)

// alfAPS holds adaptive loop filter parameters (clause 7.3.2.18). Clipping is kept as indices: values depend on bit depth.
type alfAPS struct {
	hasLuma, hasChroma bool
	luma               [25][12]int8
	lumaClip           [25][12]uint8
	chromaAlts         int
	chroma             [8][6]int8
	chromaClip         [8][6]uint8
	ccFilters          [2]int
	cc                 [2][4][7]int8
}

// lmcsAPS holds luma mapping with chroma scaling parameters (clause 7.3.2.19).
type lmcsAPS struct {
	minBin, maxBin int
	deltaCW        [16]int
	deltaCrs       int
}

// parseAPS parses adaptation_parameter_set_rbsp() and files the result under its type and identifier.
func (d *Decoder) parseAPS(r *bitReader) error {
	kind := r.u(3)
	id := int(r.u(5))
	chroma := r.flag()
	if r.err != nil {
		return r.err
	}
	switch {
	case kind == apsALF && id < len(d.alfAPS):
		a := parseALF(r, chroma)
		d.alfAPS[id] = a
	case kind == apsLMCS && id < len(d.lmcsAPS):
		a := &lmcsAPS{minBin: r.ueMax("lmcs_min_bin_idx", 15)}
		a.maxBin = 15 - r.ueMax("lmcs_delta_max_bin_idx", 15)
		bits := r.ueMax("lmcs_delta_cw_prec_minus1", 14) + 1
		if a.maxBin < a.minBin {
			r.fail(invalidf("lmcs bins %d to %d", a.minBin, a.maxBin))
		}
		for i := a.minBin; i <= a.maxBin; i++ {
			a.deltaCW[i] = signMagnitude(r, bits)
		}
		if chroma {
			a.deltaCrs = signMagnitude(r, 3)
		}
		d.lmcsAPS[id] = a
	case kind == apsScaling && id < len(d.scalingAPS):
		d.scalingAPS[id] = parseScalingLists(r, chroma)
	case kind <= apsScaling:
		return invalidf("adaptation parameter set %d of type %d", id, kind)
	}
	return r.err
}

// signMagnitude reads an n-bit magnitude followed by a sign bit unless it is zero.
func signMagnitude(r *bitReader, n int) int {
	v := int(r.u(n))
	if v != 0 && r.flag() {
		return -v
	}
	return v
}

func parseALF(r *bitReader, chroma bool) *alfAPS {
	a := &alfAPS{hasLuma: r.flag()}
	var cc [2]bool
	if chroma {
		a.hasChroma = r.flag()
		cc[0], cc[1] = r.flag(), r.flag()
	}
	if a.hasLuma {
		a.parseLuma(r)
	}
	if a.hasChroma {
		clip := r.flag()
		a.chromaAlts = r.ueMax("alf_chroma_num_alt_filters_minus1", 7) + 1
		for i := range a.chromaAlts {
			parseFilter(r, a.chroma[i][:])
			if clip {
				parseClips(r, a.chromaClip[i][:])
			}
		}
	}
	for c := range cc {
		if !cc[c] {
			continue
		}
		a.ccFilters[c] = r.ueMax("alf_cc_filters_signalled_minus1", 3) + 1
		for k := range a.ccFilters[c] {
			for i := range a.cc[c][k] {
				if e := r.u(3); e != 0 {
					a.cc[c][k][i] = 1 << (e - 1)
					if r.flag() {
						a.cc[c][k][i] = -a.cc[c][k][i]
					}
				}
			}
		}
	}
	return a
}

func parseFilter(r *bitReader, coeff []int8) {
	for i := range coeff {
		v := r.ueMax("alf_coeff_abs", 128)
		if v != 0 && r.flag() {
			v = -v
		}
		if v == 128 {
			r.fail(invalidf("adaptive loop filter coefficient of 128"))
		}
		coeff[i] = int8(v)
	}
}

func parseClips(r *bitReader, clip []uint8) {
	for i := range clip {
		clip[i] = uint8(r.u(2))
	}
}

func (a *alfAPS) parseLuma(r *bitReader) {
	clip := r.flag()
	n := r.ueMax("alf_luma_num_filters_signalled_minus1", 24) + 1
	var idx [25]int
	if n > 1 {
		for i := range idx {
			if idx[i] = int(r.u(ceilLog2(n))); idx[i] >= n {
				r.fail(invalidf("alf_luma_coeff_delta_idx is %d of %d filters", idx[i], n))
				return
			}
		}
	}
	var filters [25][12]int8
	var clips [25][12]uint8
	for i := range n {
		parseFilter(r, filters[i][:])
	}
	if clip {
		for i := range n {
			parseClips(r, clips[i][:])
		}
	}
	for i, k := range idx {
		a.luma[i], a.lumaClip[i] = filters[k], clips[k]
	}
}
