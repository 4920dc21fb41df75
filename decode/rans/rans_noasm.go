//go:build purego || !(amd64 || arm64)

package rans

type kernelArgs struct{ cursor }

type vectorTables struct{}

func (*vectorTables) fill(*Side) {}

// rows decodes n rows of panel p of chunk c.
func (m *Matrix) rows(_ *vectorTables, c *chunk, p, n int, act []int8, bias int32, dots []int32, levels []uint8, s *Scratch) {
	m.rowsGeneric(c, p, n, act, bias, dots, levels, s)
}
