package planes

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/tile"
)

// Codec is the codec id of tensors in this form.
const Codec = "vvc1"

// ErrCorrupt marks side information or a picture that breaks the format.
var ErrCorrupt = errors.New("planes: corrupt data")

// Limits of the format.
const (
	MaxRows = rans.MaxRows
	MaxCols = 1 << 16
	// MaxCells bounds a band: rows, rounded up to 16, times columns, rounded up
	// to 64.
	MaxCells = 1 << 20
	// MaxOutside is the part of a matrix, as 1/MaxOutside, whose samples may lie
	// outside the window.
	MaxOutside = 16
	// MaxPlanes is the largest Side.Planes: 16 << MaxPlanes levels.
	MaxPlanes = 3

	maxFrac = 6
	maxBits = 8
)

// Zero is the sample that stands for weight 0.
const Zero = 128

// Side is the side information of a matrix: all that a decoder needs beside
// the pictures. It is the first span of a tensor of codec "vvc1". The weight of
// sample s in row i and column j is Row[i] * Col[j] * (s - Zero).
type Side struct {
	// Planes says how samples are kept in memory: in 4 + Planes bits, 0 to
	// MaxPlanes, those within 8 << Planes of Zero; the rest is Outside.
	Planes  uint8
	Band    int // rows of a picture, a multiple of 16 or all rows; the last may be shorter
	Outside int // samples that the window leaves out, in all pictures
	Row     rans.Scales
	Col     rans.Scales
}

const sideHeader = 28

func corrupt(format string, a ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrCorrupt}, a...)...)
}

func checkShape(l tile.Layout) error {
	if l.Rows < 1 || l.Rows > MaxRows || l.Cols < 1 || l.Cols > MaxCols {
		return corrupt("shape %d x %d, want at most %d x %d", l.Rows, l.Cols, MaxRows, MaxCols)
	}
	return nil
}

// validate checks s against the shape of its matrix.
func (s *Side) validate(l tile.Layout) error {
	switch {
	case s.Planes > MaxPlanes:
		return corrupt("window of %d planes", s.Planes)
	case s.Band < 1 || s.Band > MaxCells || pad(s.Band, 16)*l.Padded() > MaxCells:
		return corrupt("pictures of %d rows and %d columns", s.Band, l.Cols)
	case s.Band < l.Rows && s.Band%16 != 0:
		return corrupt("pictures of %d rows, want a multiple of 16", s.Band)
	case s.Outside < 0 || int64(s.Outside)*MaxOutside > int64(l.Rows)*int64(l.Cols):
		return corrupt("%d samples outside the window, of %d x %d", s.Outside, l.Rows, l.Cols)
	}
	for i, sc := range []*rans.Scales{&s.Row, &s.Col} {
		want := []int{l.Rows, l.Cols}[i]
		switch {
		case !(sc.Base > 0) || math.IsInf(float64(sc.Base), 0):
			return corrupt("base scale %v", sc.Base)
		case sc.Frac > maxFrac || sc.Bits > maxBits:
			return corrupt("scale codes of %d bits, %d fractional", sc.Bits, sc.Frac)
		case sc.Bits > 0 && len(sc.Code) != want:
			return corrupt("%d scale codes, want %d", len(sc.Code), want)
		}
	}
	return nil
}

// AppendTo appends the coded form of s, for a matrix of layout l, to dst.
func (s *Side) AppendTo(dst []byte, l tile.Layout) ([]byte, error) {
	if err := checkShape(l); err != nil {
		return nil, err
	}
	if err := s.validate(l); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	dst = append(dst, s.Planes, 0, 0, 0)
	dst = le.AppendUint32(dst, uint32(s.Band))
	dst = le.AppendUint32(dst, uint32(s.Outside))
	for _, sc := range []*rans.Scales{&s.Row, &s.Col} {
		dst = le.AppendUint32(dst, math.Float32bits(sc.Base))
		dst = append(dst, sc.Frac, sc.Bits, 0, 0)
	}
	for _, sc := range []*rans.Scales{&s.Row, &s.Col} {
		if sc.Bits > 0 {
			dst = rans.AppendBits(dst, sc.Code, sc.Bits)
		}
	}
	return dst, nil
}

// ParseSide reads side information for a matrix of layout l. It allocates in
// proportion to the rows and columns, which l bounds.
func ParseSide(data []byte, l tile.Layout) (*Side, error) {
	if err := checkShape(l); err != nil {
		return nil, err
	}
	if len(data) < sideHeader {
		return nil, corrupt("side information of %d bytes", len(data))
	}
	le := binary.LittleEndian
	band, outside := le.Uint32(data[4:]), le.Uint32(data[8:])
	if data[1]|data[2]|data[3]|data[18]|data[19]|data[26]|data[27] != 0 || band > math.MaxInt32 || outside > math.MaxInt32 {
		return nil, corrupt("side information: unknown flags")
	}
	s := &Side{Planes: data[0], Band: int(band), Outside: int(outside)}
	rest := data[sideHeader:]
	for i, sc := range []*rans.Scales{&s.Row, &s.Col} {
		at := data[12+8*i:]
		*sc = rans.Scales{Base: math.Float32frombits(le.Uint32(at)), Frac: at[4], Bits: at[5]}
		if sc.Bits > maxBits {
			return nil, corrupt("scale codes of %d bits", sc.Bits)
		}
		if sc.Bits == 0 {
			continue
		}
		var err error
		if sc.Code, rest, err = rans.ReadBits(rest, []int{l.Rows, l.Cols}[i], sc.Bits); err != nil {
			return nil, corrupt("scales of %s: %v", []string{"rows", "columns"}[i], err)
		}
	}
	if len(rest) != 0 {
		return nil, corrupt("side information: %d bytes too many", len(rest))
	}
	return s, s.validate(l)
}

// pad rounds n up to a multiple of m.
func pad(n, m int) int { return (n + m - 1) / m * m }
