// Package vvc decodes H.266/VVC (Rec. ITU-T H.266) video whose pictures are coded without inter prediction: the
// Main 10 intra tool set, 8 to 10 bits, 4:0:0 and 4:2:0, in Annex B byte streams. It also encodes luma pictures.
//
// It is the reader and writer of weight planes stored as all-intra pictures. It is not a video player: inter prediction,
// palette mode, adaptive colour transform, 4:2:2 and 4:4:4 chroma, virtual boundaries, gradual decoder refresh and more
// than one subpicture end decoding with an error that wraps [ErrUnsupported] and names the feature. Of a layered stream only
// the base layer is decoded. Nothing is concealed: a stream either decodes exactly as the standard says or returns an
// error. Picture hashes carried in SEI messages are verified.
//
// The input is untrusted. Every size is checked against [Options] before memory is allocated for it, decoding work is
// bounded by picture area, and malformed streams return an error that wraps [ErrInvalid].
//
// A [Decoder] owns its buffers and reuses them between pictures and calls; it is not safe for concurrent use, but
// any number of decoders may run at the same time. Package-level tables are read-only after initialisation.
//
// [Encode] writes what any decoder of the Main 10 profile reads, and chooses what pays for noise: blocks of 32x32 samples,
// halved where the variance is uneven, predicted by the mean of neighbours; a DCT; dependent quantisation by a Viterbi
// search over the costs of the adaptive contexts; no loop filters. Where rows or columns are alike, directional modes
// and what they leave decide. It does not search among modes as a video encoder does. Slices and pictures are independent, and the caller may run them concurrently.
//
// File order follows the bitstream: nal.go and bitreader.go, the parameter sets and headers (ptl.go, sps.go, pps.go,
// aps.go, scaling.go, picheader.go, slice.go), slice data (ctu.go, partition.go, cu.go, tu.go, residual.go,
// residual_ts.go and scan.go on top of cabac.go), reconstruction (recon.go, intra_*.go, ibc.go, quant.go, transform.go,
// lfnst.go, lmcs.go), in-loop filters (deblock*.go, sao.go, alf*.go) and output (picture.go, frame.go, hash.go), with
// decoder.go above them, and segment.go, which cuts streams; tables are in *_tables.go, errors in errors.go. The encoder is encoder.go over enc_slice.go, enc_partition.go, enc_mode.go, enc_alike.go, enc_transform.go, the
// search in enc_trellis.go and enc_rate.go, and the syntax in enc_headers.go, enc_residual.go, enc_cabac.go and bitwriter.go;
// it reconstructs with the decoder's functions. Clause numbers in comments refer to H.266 (04/2022).
package vvc
