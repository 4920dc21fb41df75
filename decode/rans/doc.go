// Package rans is Lamina's native weight codec: small integer levels, coded
// with interleaved 16-bit-state range ANS so that vector registers decode 64
// weights per step and multiply them with int8 activations on the way.
//
// The method: range asymmetric numeral systems (Duda, arXiv 1311.2540),
// interleaved as in Giesen (arXiv 1402.3392), with 8-bit probabilities, byte
// renormalisation and a 16-symbol alphabet, so that every table fits vector
// registers; and, in mode [DQ], the 8-state trellis of dependent quantisation
// of H.266/VVC and ISO/IEC 15938-17. docs/FORMAT.md is the normative
// description of the bitstream.
//
// The package does no I/O, takes no locks and starts no goroutines. A [Matrix]
// borrows the coded bytes it was bound to, never writes to them, and is safe
// for concurrent use; each concurrent call needs a scratch of its own. Corrupt
// input gives [ErrCorrupt] and never touches memory outside the buffers given.
package rans
