//go:build !purego

package rans

import "github.com/lamina-llm/lamina/internal/cpu"

// Sizes of one class in the table layouts of the kernels: the six tables of
// binTables; in mode DQ each is 32 bytes long, for both quantisers.
const (
	strideScalar = 6 * 16
	strideDQ     = 6 * 32
)

//go:noescape
func rowsScalarNEON(a *kernelArgs)

//go:noescape
func rowsDQNEON(a *kernelArgs)

// rows decodes n rows of panel p of chunk c with the active tier and the given
// tables, m.vec or m.lifted.
func (m *Matrix) rows(v *vectorTables, c *chunk, p, n int, act []int8, bias int32, dots []int32, levels []uint8, s *Scratch) {
	s.args.hasDot = cpu.HasDot()
	switch {
	case cpu.Active() != cpu.NEON:
		m.rowsGeneric(c, p, n, act, bias, dots, levels, s)
	case m.side.Mode == Scalar:
		m.vector(rowsScalarNEON, v.neon, strideScalar, c, p, n, act, bias, dots, levels, s)
	default:
		m.vector(rowsDQNEON, v.neon, strideDQ, c, p, n, act, bias, dots, levels, s)
	}
}

// vectorTables holds the tables of every class.
type vectorTables struct{ neon []byte }

func (v *vectorTables) fill(s *Side) {
	nq := s.quantisers()
	for i := 0; i < len(s.Tables); i += nq {
		var t [2]binTables
		for q := range nq {
			t[q] = s.bins(i + q)
		}
		for j := range t[1].base {
			t[1].base[j] += Alphabet // ranks that select from the second half
		}
		first, second := t[0].all(), t[1].all()
		for k := range first {
			v.neon = append(v.neon, first[k][:]...)
			if nq == 2 {
				v.neon = append(v.neon, second[k][:]...)
			}
		}
	}
}
