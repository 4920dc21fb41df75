package vvc

// skipProfileTierLevel reads past profile_tier_level() (clause 7.3.3.1): what a stream claims to be is not needed to
// decode it, unsupported tools are refused where they are switched on.
func skipProfileTierLevel(r *bitReader, maxSublayersMinus1 int) {
	r.u(8) // general_profile_idc, general_tier_flag
	r.u(8) // general_level_idc
	r.u(2) // frame only, multilayer enabled
	if r.flag() {
		// general_constraints_info(): 71 bits in the first version, then counted reserved bits.
		r.skip(71)
		r.skip(int(r.u(8)))
	}
	r.align()
	var present [8]bool
	for i := maxSublayersMinus1 - 1; i >= 0; i-- {
		present[i] = r.flag()
	}
	r.align()
	for i := maxSublayersMinus1 - 1; i >= 0; i-- {
		if present[i] {
			r.u(8)
		}
	}
	for range r.u(8) {
		r.u(32)
	}
}

// refPicList is the part of ref_pic_list_struct() that later syntax depends on. Reference lists are parsed because
// pictures other than IDR carry them even when every slice is intra.
type refPicList struct {
	longTerm    []bool
	ltrpInSlice bool
}

// parseRefPicListStruct parses ref_pic_list_struct(listIdx, rplsIdx); inSPS is false for the copy in a picture or slice
// header (rplsIdx equal to sps_num_ref_pic_lists).
func parseRefPicListStruct(r *bitReader, s *sps, inSPS bool) refPicList {
	n := r.ueMax("num_ref_entries", 29)
	l := refPicList{ltrpInSlice: s.longTermRefs}
	if s.longTermRefs && n > 0 && inSPS {
		l.ltrpInSlice = r.flag()
	}
	for i := range n {
		if s.interLayer && r.flag() {
			r.ue() // ilrp_idx
			continue
		}
		long := s.longTermRefs && !r.flag()
		if long {
			if !l.ltrpInSlice {
				r.u(s.pocBits)
			}
			l.longTerm = append(l.longTerm, true)
			continue
		}
		delta := int(r.ue()) // abs_delta_poc_st
		if !s.weightedPred || i == 0 {
			delta++
		}
		if delta > 0 {
			r.flag() // strp_entry_sign_flag
		}
	}
	return l
}

// skipRefPicLists reads past ref_pic_lists() (clause 7.3.9).
func skipRefPicLists(r *bitReader, s *sps, p *pps) {
	var fromSPS [2]bool
	var idx [2]int
	for i := range 2 {
		n := len(s.refLists[i])
		switch {
		case n > 0 && (i == 0 || p.rpl1IdxPresent):
			fromSPS[i] = r.flag()
		case n > 0:
			fromSPS[i] = fromSPS[0]
		}
		var l refPicList
		if fromSPS[i] {
			if n > 1 && (i == 0 || p.rpl1IdxPresent) {
				idx[i] = int(r.u(ceilLog2(n)))
			} else if n > 1 {
				idx[i] = idx[0]
			}
			if idx[i] >= n {
				r.fail(invalidf("rpl_idx is %d of %d lists", idx[i], n))
				return
			}
			l = s.refLists[i][idx[i]]
		} else {
			l = parseRefPicListStruct(r, s, false)
		}
		for range l.longTerm {
			if l.ltrpInSlice {
				r.u(s.pocBits)
			}
			if r.flag() { // delta_poc_msb_cycle_present_flag
				r.ue()
			}
		}
	}
}
