//go:build !purego

package rans

import "github.com/lamina-llm/lamina/internal/cpu"

// Sizes of one class in the table layouts of the kernels.
//
// AVX-512: 256 slots to symbol per quantiser, then 64-byte tables of frequency,
// first slot and, in mode DQ, level. AVX2: the six tables of binTables, 16
// bytes each; in mode DQ each is followed by its exclusive or with that of
// quantiser 1.
const (
	strideScalar512 = 256 + 2*64
	strideDQ512     = 2*256 + 3*64
	strideScalar256 = 6 * 16
	strideDQ256     = 2 * 6 * 16
)

//go:noescape
func rowsScalarAVX512(a *kernelArgs)

//go:noescape
func rowsScalarEvenAVX512(a *kernelArgs)

//go:noescape
func rowsDQAVX512(a *kernelArgs)

//go:noescape
func rowsDQEvenAVX512(a *kernelArgs)

//go:noescape
func rowsScalarAVX2(a *kernelArgs)

//go:noescape
func rowsDQAVX2(a *kernelArgs)

// rows decodes n rows of panel p of chunk c with the active tier and the given
// tables, m.vec or m.lifted.
func (m *Matrix) rows(v *vectorTables, c *chunk, p, n int, act []int8, bias int32, dots []int32, levels []uint8, s *Scratch) {
	switch tier := cpu.Active(); {
	case tier == cpu.AVX512 && m.side.Mode == Scalar:
		kernel := rowsScalarAVX512
		if v.even {
			kernel = rowsScalarEvenAVX512
		}
		m.vector(kernel, v.avx512, strideScalar512, c, p, n, act, bias, dots, levels, s)
	case tier == cpu.AVX512:
		kernel := rowsDQAVX512
		if v.even {
			kernel = rowsDQEvenAVX512
		}
		m.vector(kernel, v.avx512, strideDQ512, c, p, n, act, bias, dots, levels, s)
	case tier == cpu.AVX2 && m.side.Mode == Scalar:
		m.vector(rowsScalarAVX2, v.avx2, strideScalar256, c, p, n, act, bias, dots, levels, s)
	case tier == cpu.AVX2:
		m.vector(rowsDQAVX2, v.avx2, strideDQ256, c, p, n, act, bias, dots, levels, s)
	default:
		m.rowsGeneric(c, p, n, act, bias, dots, levels, s)
	}
}

// vectorTables holds the tables of every class for each tier of the machine,
// not only the active one: tests change tiers between calls.
type vectorTables struct {
	avx2, avx512 []byte
	even         bool // all frequencies are: avx512 then has an entry for two slots
}

func (v *vectorTables) fill(s *Side) {
	v.even = s.even()
	for _, tier := range cpu.Tiers() {
		switch tier {
		case cpu.AVX2:
			v.avx2 = tables256(s)
		case cpu.AVX512:
			v.avx512 = tables512(s, v.even)
		}
	}
}

// tables256 lays out the tables of every class for the AVX2 kernels.
func tables256(s *Side) []byte {
	var buf []byte
	nq := s.quantisers()
	for i := 0; i < len(s.Tables); i += nq {
		var t [2]binTables
		for q := range nq {
			t[q] = s.bins(i + q)
		}
		first, other := t[0].all(), t[1].all()
		for k := range first {
			buf = append(buf, first[k][:]...)
			if nq == 2 {
				for j, v := range first[k] {
					buf = append(buf, v^other[k][j])
				}
			}
		}
	}
	return buf
}

// tables512 lays out the tables of every class for the AVX-512 kernels. If even,
// a table has an entry for two slots, in the first half of its place.
func tables512(s *Side, even bool) []byte {
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
				continue // validate has refused such a table
			}
			for slot, v := range sym {
				if even {
					slot /= 2
				}
				t[q*probOne+slot] = v | uint8(q)<<4
			}
			for v := range Alphabet {
				// In scalar mode the 16 entries repeat in each 128-bit lane, for VPSHUFB.
				for rep := q * Alphabet; rep < Lanes; rep += Alphabet * (1 + 3*(nq-1)) {
					small[rep+v], small[Lanes+rep+v] = f.Freq[v], start[v]
				}
				if s.Mode == DQ {
					small[2*Lanes+q*Alphabet+v] = s.level(uint8(v), q)
				}
			}
		}
	}
	return buf
}
