package vvc

// bitWriter writes the fixed-length and Exp-Golomb codes of a raw byte sequence payload (clause 9.2), the reverse of
// bitReader.
type bitWriter struct {
	data []byte
	free int // unused bits of the last byte
}

// u writes the n low bits of v, 0 <= n <= 32, most significant first.
func (w *bitWriter) u(n int, v uint32) {
	for n > 0 {
		if w.free == 0 {
			w.data = append(w.data, 0)
			w.free = 8
		}
		k := min(n, w.free)
		n -= k
		w.free -= k
		w.data[len(w.data)-1] |= byte(v>>n&(1<<k-1)) << w.free
	}
}

func (w *bitWriter) flag(b bool) { w.u(1, uint32(btoi(b))) }

// ue writes an unsigned Exp-Golomb code.
func (w *bitWriter) ue(v int) {
	n := log2(v + 1)
	w.u(n, 0)
	w.u(n+1, uint32(v+1))
}

// se writes a signed Exp-Golomb code.
func (w *bitWriter) se(v int) {
	if v > 0 {
		w.ue(2*v - 1)
	} else {
		w.ue(-2 * v)
	}
}

// align fills the last byte with zeros.
func (w *bitWriter) align() { w.free = 0 }

// trailing writes a one and zeros up to the end of the byte: rbsp_trailing_bits() and byte_alignment().
func (w *bitWriter) trailing() {
	w.u(1, 1)
	w.align()
}

// appendNAL appends a NAL unit of the base layer with its start code and emulation prevention bytes.
func appendNAL(dst []byte, kind int, rbsp []byte) []byte {
	dst = append(dst, 0, 0, 0, 1, 0, byte(kind<<3|1))
	zeros := 0
	for _, b := range rbsp {
		if zeros >= 2 && b <= 3 {
			dst = append(dst, 3)
			zeros = 0
		}
		dst = append(dst, b)
		if b == 0 {
			zeros++
		} else {
			zeros = 0
		}
	}
	if zeros > 0 { // cabac_zero_words: a NAL unit does not end in a zero
		dst = append(dst, 3)
	}
	return dst
}
