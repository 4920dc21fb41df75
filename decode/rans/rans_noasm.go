//go:build purego || !amd64

package rans

// rows decodes n rows of panel p of chunk i.
func (m *Matrix) rows(i, p, n int, act []int8, bias int32, dots []int32, levels []uint8, s *Scratch) error {
	m.rowsGeneric(i, p, n, act, bias, dots, levels, s)
	return nil
}

func vectorTables(*Side) []byte { return nil }
