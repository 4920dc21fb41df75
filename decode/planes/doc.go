// Package planes stores weight matrices as pictures: the codec "vvc1". A matrix
// is cut into bands of rows; each band is the luma plane of one H.266 picture in
// a byte stream of its own, sample 128 standing for weight zero, with a scale
// per row and per column as side information (docs/FORMAT.md; the idea is
// LLMCodec's, arXiv 2606.05861).
//
// Samples become levels of 7 bits, which every product kernel takes, by a window
// around zero; the few samples outside are reported one by one. Their number is
// part of the side information, so that memory is known before anything is
// decoded.
//
// The package does no I/O and takes no locks. A [Matrix] is immutable but for
// Attach; concurrent decoding needs a [Scratch] each. Input is untrusted: sizes
// are checked before memory is allocated, errors wrap [ErrCorrupt].
package planes
