//go:build !purego

package rans

import "github.com/lamina-llm/lamina/internal/cpu"

// Sizes of one class in the table layout of the AVX-512 kernels: 256 slots to
// symbol per quantiser, then 64-byte tables of frequency, first slot and, in
// mode DQ, level.
const (
	strideScalar512 = 256 + 2*64
	strideDQ512     = 2*256 + 3*64
)

//go:noescape
func rowsScalarAVX512(a *kernelArgs)

//go:noescape
func rowsDQAVX512(a *kernelArgs)

// rows decodes n rows of panel p of chunk i with the active tier.
func (m *Matrix) rows(i, p, n int, act []int8, bias int32, dots []int32, levels []uint8, s *Scratch) error {
	switch {
	case cpu.Active() == cpu.AVX512 && m.side.Mode == Scalar:
		m.vector(rowsScalarAVX512, strideScalar512, i, p, n, act, bias, dots, levels, s)
	case cpu.Active() == cpu.AVX512:
		m.vector(rowsDQAVX512, strideDQ512, i, p, n, act, bias, dots, levels, s)
	default:
		m.rowsGeneric(i, p, n, act, bias, dots, levels, s)
	}
	return nil
}

// vectorTables lays out the tables of every class for the AVX-512 kernels.
func vectorTables(s *Side) []byte {
	stride := strideScalar512
	if s.Mode == DQ {
		stride = strideDQ512
	}
	nq := s.quantisers()
	buf := make([]byte, s.Classes()*stride)
	for c := range s.Classes() {
		t := buf[c*stride : (c+1)*stride]
		small := t[nq*probOne:]
		for q := range nq {
			var start [Alphabet]uint8
			var sym [probOne]uint8
			f := &s.Tables[c*nq+q]
			if f.slots(&start, &sym) != nil {
				continue // ParseSide has refused such a table
			}
			for slot, v := range sym {
				t[q*probOne+slot] = v | uint8(q)<<4
			}
			for v := range Alphabet {
				// In scalar mode the 16 entries repeat in each 128-bit lane, for VPSHUFB.
				for rep := q * Alphabet; rep < Lanes; rep += Alphabet * (1 + 3*(nq-1)) {
					small[rep+v], small[Lanes+rep+v] = f.Freq[v], start[v]
				}
				if s.Mode == DQ {
					u := uint8(v)
					if s.Planes == 0 {
						u = recon(uint8(v), uint8(q), 0)
					}
					small[2*Lanes+q*Alphabet+v] = u
				}
			}
		}
	}
	return buf
}
