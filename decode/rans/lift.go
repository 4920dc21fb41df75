package rans

import "github.com/lamina-llm/lamina/internal/cpu"

// Without a lift the smallest level is 0, and an outlier below it cannot be put
// in its place. The parts of a walk therefore have all levels higher by a lift
// that brings weight 0 near the middle of what the kernels for products take.
// It is in the tables of the vector kernels and costs nothing there; the pure
// Go decoder, which computes levels, has none.

// symbolLift returns what is added to the tables' entry of a symbol: to the
// level, or with raw planes to the index, of which the level is a multiple.
func (s *Side) symbolLift() uint8 {
	if s.Mode != DQ {
		return 0 // the kernels take the symbol for the level
	}
	switch s.Planes {
	case 0:
		return 48
	case 1:
		return 7
	}
	return 0 // levels reach to maxLevel already
}

// levelLift returns how much higher the levels of a walk are for it.
func (s *Side) levelLift() int32 {
	n := int32(s.symbolLift())
	if s.Planes > 0 {
		n <<= s.Planes + 1
	}
	return n
}

// walkTables returns the tables for the parts of a walk on the active tier, and
// how much higher their levels are than those of other calls.
func (m *Matrix) walkTables() (*vectorTables, int32) {
	if cpu.Active() == cpu.Generic {
		return &m.vec, 0
	}
	return &m.lifted, m.side.levelLift()
}

// WalkZero returns the level that stands for weight 0 in the parts of Walk, on
// the active tier.
func (m *Matrix) WalkZero() int32 {
	_, lift := m.walkTables()
	return m.Zero() + lift
}
