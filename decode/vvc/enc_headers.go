package vvc

import "crypto/md5"

// streamShape is what the headers of an encoded stream say.
type streamShape struct {
	width, height       int // multiples of 8
	cropRight, cropDown int
	bitDepth            int
	slices, sliceRows   int // number, and height of all but the last in CTUs
	level               int // general_level_idc
	still               bool
}

// Fixed choices of the encoder.
const (
	encCtbLog2   = 7
	encMinCbLog2 = 2
	encMinQTLog2 = 3
	encMaxDepth  = 3 // binary splits
	encMaxTbLog2 = 5 // 64-point transforms would lose three quarters of the coefficients
	encInitQP    = 26
)

// writeSPS writes seq_parameter_set_rbsp() (clause 7.3.2.4). All tools are off except dependent quantisation and multiple
// reference lines.
func (s *streamShape) writeSPS() []byte {
	w := new(bitWriter)
	w.u(4, 0)            // sps_seq_parameter_set_id
	w.u(4, 0)            // sps_video_parameter_set_id: no VPS
	w.u(3, 0)            // sps_max_sublayers_minus1
	w.u(2, 0)            // sps_chroma_format_idc: 4:0:0
	w.u(2, encCtbLog2-5) // sps_log2_ctu_size_minus5
	w.flag(true)         // sps_ptl_dpb_hrd_params_present_flag
	s.writeProfile(w)    //
	w.flag(false)        // sps_gdr_enabled_flag
	w.flag(false)        // sps_ref_pic_resampling_enabled_flag
	w.ue(s.width)        // sps_pic_width_max_in_luma_samples
	w.ue(s.height)       // sps_pic_height_max_in_luma_samples
	crop := s.cropRight+s.cropDown > 0
	if w.flag(crop); crop { // sps_conformance_window_flag
		w.ue(0)
		w.ue(s.cropRight)
		w.ue(0)
		w.ue(s.cropDown)
	}
	w.flag(false)                     // sps_subpic_info_present_flag
	w.ue(s.bitDepth - 8)              // sps_bitdepth_minus8
	w.flag(false)                     // sps_entropy_coding_sync_enabled_flag
	w.flag(false)                     // sps_entry_point_offsets_present_flag
	w.u(4, 0)                         // sps_log2_max_pic_order_cnt_lsb_minus4
	w.flag(false)                     // sps_poc_msb_cycle_flag
	w.u(2, 0)                         // sps_num_extra_ph_bytes
	w.u(2, 0)                         // sps_num_extra_sh_bytes
	w.ue(0)                           // dpb_max_dec_pic_buffering_minus1
	w.ue(0)                           // dpb_max_num_reorder_pics
	w.ue(0)                           // dpb_max_latency_increase_plus1
	w.ue(encMinCbLog2 - 2)            // sps_log2_min_luma_coding_block_size_minus2
	w.flag(false)                     // sps_partition_constraints_override_enabled_flag
	w.ue(encMinQTLog2 - encMinCbLog2) // sps_log2_diff_min_qt_min_cb_intra_slice_luma
	w.ue(encMaxDepth)                 // sps_max_mtt_hierarchy_depth_intra_slice_luma
	w.ue(encMaxTbLog2 - encMinQTLog2) // sps_log2_diff_max_bt_min_qt_intra_slice_luma
	w.ue(0)                           // sps_log2_diff_max_tt_min_qt_intra_slice_luma: no ternary splits
	w.ue(0)                           // sps_log2_diff_min_qt_min_cb_inter_slice
	w.ue(0)                           // sps_max_mtt_hierarchy_depth_inter_slice
	w.flag(false)                     // sps_max_luma_transform_size_64_flag
	w.flag(false)                     // sps_transform_skip_enabled_flag
	w.flag(false)                     // sps_mts_enabled_flag
	w.flag(false)                     // sps_lfnst_enabled_flag
	w.flag(false)                     // sps_sao_enabled_flag
	w.flag(false)                     // sps_alf_enabled_flag
	w.flag(false)                     // sps_lmcs_enabled_flag
	w.flag(false)                     // sps_weighted_pred_flag
	w.flag(false)                     // sps_weighted_bipred_flag
	w.flag(false)                     // sps_long_term_ref_pics_flag
	w.flag(false)                     // sps_idr_rpl_present_flag
	w.flag(true)                      // sps_rpl1_same_as_rpl0_flag
	w.ue(0)                           // sps_num_ref_pic_lists
	w.flag(false)                     // sps_ref_wraparound_enabled_flag
	w.flag(false)                     // sps_temporal_mvp_enabled_flag
	w.flag(false)                     // sps_amvr_enabled_flag
	w.flag(false)                     // sps_bdof_enabled_flag
	w.flag(false)                     // sps_smvd_enabled_flag
	w.flag(false)                     // sps_dmvr_enabled_flag
	w.flag(false)                     // sps_mmvd_enabled_flag
	w.ue(5)                           // sps_six_minus_max_num_merge_cand
	w.flag(false)                     // sps_sbt_enabled_flag
	w.flag(false)                     // sps_affine_enabled_flag
	w.flag(false)                     // sps_bcw_enabled_flag
	w.flag(false)                     // sps_ciip_enabled_flag
	w.ue(0)                           // sps_log2_parallel_merge_level_minus2
	w.flag(false)                     // sps_isp_enabled_flag
	w.flag(true)                      // sps_mrl_enabled_flag
	w.flag(false)                     // sps_mip_enabled_flag
	w.flag(false)                     // sps_palette_enabled_flag
	w.flag(false)                     // sps_ibc_enabled_flag
	w.flag(false)                     // sps_ladf_enabled_flag
	w.flag(false)                     // sps_explicit_scaling_list_enabled_flag
	w.flag(true)                      // sps_dep_quant_enabled_flag
	w.flag(false)                     // sps_sign_data_hiding_enabled_flag
	w.flag(false)                     // sps_virtual_boundaries_enabled_flag
	w.flag(false)                     // sps_timing_hrd_params_present_flag
	w.flag(false)                     // sps_field_seq_flag
	w.flag(false)                     // sps_vui_parameters_present_flag
	w.flag(false)                     // sps_extension_flag
	w.trailing()
	return w.data
}

// writeProfile writes profile_tier_level() (clause 7.3.3.1).
func (s *streamShape) writeProfile(w *bitWriter) {
	profile := uint32(1) // Main 10
	if s.still {
		profile = 65 // Main 10 Still Picture
	}
	w.u(7, profile)
	w.flag(false) // general_tier_flag: Main
	w.u(8, uint32(s.level))
	w.flag(true)  // ptl_frame_only_constraint_flag
	w.flag(false) // ptl_multilayer_enabled_flag
	w.flag(true)  // gci_present_flag
	w.flag(true)  // gci_intra_only_constraint_flag
	w.flag(true)  // gci_all_layers_independent_constraint_flag
	w.flag(s.still)
	w.u(4, uint32(16-s.bitDepth)) // gci_sixteen_minus_max_bitdepth_constraint_idc
	w.u(2, 3)                     // gci_three_minus_max_chroma_format_constraint_idc
	w.u(31, 0)                    // 62 constraints that the stream does not claim
	w.u(31, 0)                    //
	w.u(8, 0)                     // gci_num_additional_bits
	w.align()
	w.u(8, 0) // ptl_num_sub_profiles
}

// writePPS writes pic_parameter_set_rbsp() (clause 7.3.2.5).
func (s *streamShape) writePPS() []byte {
	w := new(bitWriter)
	w.u(6, 0)     // pps_pic_parameter_set_id
	w.u(4, 0)     // pps_seq_parameter_set_id
	w.flag(false) // pps_mixed_nalu_types_in_pic_flag
	w.ue(s.width)
	w.ue(s.height)
	w.flag(false) // pps_conformance_window_flag: that of the SPS
	w.flag(false) // pps_scaling_window_explicit_signalling_flag
	w.flag(false) // pps_output_flag_present_flag
	partitioned := s.slices > 1
	w.flag(!partitioned) // pps_no_pic_partition_flag
	w.flag(false)        // pps_subpic_id_mapping_present_flag
	if partitioned {
		ctus := func(n int) int { return (n + 1<<encCtbLog2 - 1) >> encCtbLog2 }
		w.u(2, encCtbLog2-5)
		w.ue(0) // pps_num_exp_tile_columns_minus1
		w.ue(0) // pps_num_exp_tile_rows_minus1
		w.ue(ctus(s.width) - 1)
		w.ue(ctus(s.height) - 1)
		w.flag(false) // pps_single_slice_per_subpic_flag
		w.ue(s.slices - 1)
		if s.slices > 2 {
			w.flag(false) // pps_tile_idx_delta_present_flag
		}
		w.ue(1) // pps_num_exp_slices_in_tile: the others are as high
		w.ue(s.sliceRows - 1)
		w.flag(false) // pps_loop_filter_across_slices_enabled_flag
	}
	w.flag(false)        // pps_cabac_init_present_flag
	w.ue(0)              // pps_num_ref_idx_default_active_minus1
	w.ue(0)              //
	w.flag(false)        // pps_rpl1_idx_present_flag
	w.flag(false)        // pps_weighted_pred_flag
	w.flag(false)        // pps_weighted_bipred_flag
	w.flag(false)        // pps_ref_wraparound_enabled_flag
	w.se(encInitQP - 26) // pps_init_qp_minus26
	w.flag(false)        // pps_cu_qp_delta_enabled_flag
	w.flag(false)        // pps_chroma_tool_offsets_present_flag
	w.flag(true)         // pps_deblocking_filter_control_present_flag
	w.flag(false)        // pps_deblocking_filter_override_enabled_flag
	w.flag(true)         // pps_deblocking_filter_disabled_flag
	if partitioned {
		w.flag(false) // pps_rpl_info_in_ph_flag
		w.flag(false) // pps_sao_info_in_ph_flag
		w.flag(false) // pps_alf_info_in_ph_flag
		w.flag(false) // pps_qp_delta_info_in_ph_flag
	}
	w.flag(false) // pps_picture_header_extension_present_flag
	w.flag(false) // pps_slice_header_extension_present_flag
	w.flag(false) // pps_extension_flag
	w.trailing()
	return w.data
}

// writePicHeader writes picture_header_structure() (clause 7.3.2.8) of an instantaneous decoder refresh.
func writePicHeader(w *bitWriter) {
	w.flag(true)  // ph_gdr_or_irap_pic_flag
	w.flag(false) // ph_non_ref_pic_flag
	w.flag(false) // ph_gdr_pic_flag
	w.flag(false) // ph_inter_slice_allowed_flag
	w.ue(0)       // ph_pic_parameter_set_id
	w.u(4, 0)     // ph_pic_order_cnt_lsb
}

// writeSliceHeader writes slice_header() (clause 7.3.7) of slice i, with the picture header inside when it is the only one.
func (s *streamShape) writeSliceHeader(i, qp int) []byte {
	w := new(bitWriter)
	if w.flag(s.slices == 1); s.slices == 1 {
		writePicHeader(w)
	} else {
		w.u(ceilLog2(s.slices), uint32(i)) // sh_slice_address
	}
	w.flag(false) // sh_no_output_of_prior_pics_flag
	w.se(qp - encInitQP)
	w.flag(true) // sh_dep_quant_used_flag
	w.trailing() // byte_alignment()
	return w.data
}

// writeHash writes an SEI message with the MD5 of the only component of a picture.
func writeHash(sum [md5.Size]byte) []byte {
	data := []byte{132, 2 + md5.Size, hashMD5, 0x80}
	data = append(data, sum[:]...)
	return append(data, 0x80)
}

// level is an entry of tables A.1 to A.3 for the Main tier.
type level struct {
	idc, maxPicture, maxSlices int
	maxCPB                     int // kbit
	maxRate                    int // luma samples a second
	minCompression             int
}

var levels = []level{
	{16, 36864, 16, 350, 552960, 2},
	{32, 122880, 16, 1500, 3686400, 2},
	{35, 245760, 20, 3000, 7372800, 2},
	{48, 552960, 30, 6000, 16588800, 2},
	{51, 983040, 40, 10000, 33177600, 2},
	{64, 2228224, 75, 12000, 66846720, 4},
	{67, 2228224, 75, 20000, 133693440, 4},
	{80, 8912896, 200, 25000, 267386880, 6},
	{83, 8912896, 200, 40000, 534773760, 8},
	{86, 8912896, 200, 60000, 1069547520, 8},
	{96, 35651584, 600, 80000, 1069547520, 8},
	{99, 35651584, 600, 120000, 2139095040, 8},
	{102, 35651584, 600, 180000, 4278190080, 8},
	{105, 80216064, 1000, 320000, 4812963840, 8},
}

const levelUnlimited = 255 // level 15.5

// chooseLevel returns the lowest level whose limits a stream keeps whose largest picture has size bytes.
func (s *streamShape) chooseLevel(size int) int {
	area := s.width * s.height
	for _, l := range levels {
		side := max(s.width, s.height)
		most := 15 * max(area, l.maxRate/300) / 8 / l.minCompression // clause A.4.2
		if area <= l.maxPicture && side*side <= 8*l.maxPicture && s.slices <= l.maxSlices &&
			8*size <= 1000*l.maxCPB && size <= most {
			return l.idc
		}
	}
	return levelUnlimited
}
