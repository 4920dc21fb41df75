package rans

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/lamina-llm/lamina/internal/tile"
)

// ErrCorrupt marks side information or a chunk that breaks the format.
var ErrCorrupt = errors.New("rans: corrupt data")

// Mode is the quantiser that a matrix was coded with.
type Mode uint8

const (
	// Scalar is uniform scalar quantisation: level k stands for k steps.
	Scalar Mode = iota
	// DQ is dependent quantisation: the 8-state parity machine of H.266 chooses
	// between two quantisers of twice the step for every weight of a column.
	DQ
)

// String returns "scalar" or "dq".
func (m Mode) String() string {
	if m == DQ {
		return "dq"
	}
	return "scalar"
}

// Limits of the format.
const (
	MaxRows    = 1 << 24
	MaxCols    = 1 << 20
	MaxClasses = 16 // probability classes of a matrix
	// MaxBandPanels bounds rows x panels of one chunk (rows rounded up to 16),
	// and so a decoded chunk to 1 MiB.
	MaxBandPanels = 1 << 12
	maxFrac       = 6
	maxBits       = 8
)

// MaxPlanes returns how many raw low bit planes a mode may have, so that
// levels stay in 0..127 and pairs of products fit 16 bits.
func (m Mode) MaxPlanes() int {
	if m == DQ {
		return 2
	}
	return 3
}

// Zero returns the unsigned level that stands for weight 0.
func (m Mode) Zero(planes int) int32 {
	z := int32(Alphabet/2) << planes
	switch {
	case m == Scalar:
		return z
	case planes == 0:
		return 2 * z
	}
	return 2*z + 1
}

// Scales holds positive scales, coded on a logarithmic grid:
// value i = Base * 2^(Codes[i] / 2^Frac), computed in float64, rounded to float32.
// With Bits = 0 every value is Base.
type Scales struct {
	Base float32 // > 0, finite
	Frac uint8   // 0..6: steps per octave are 2^Frac
	Bits uint8   // 0..8: bits per code
	Code []uint8 // one per row or column; nil if Bits is 0
}

// Value returns scale i.
func (s *Scales) Value(i int) float32 {
	if s.Bits == 0 {
		return s.Base
	}
	return float32(float64(s.Base) * math.Exp2(float64(s.Code[i])/float64(int(1)<<s.Frac)))
}

// Expand writes the values of all scales to dst.
func (s *Scales) Expand(dst []float32) {
	var lut [1 << maxBits]float32
	for c := range lut {
		lut[c] = float32(float64(s.Base) * math.Exp2(float64(c)/float64(int(1)<<s.Frac)))
	}
	for i := range dst {
		if s.Bits == 0 {
			dst[i] = s.Base
		} else {
			dst[i] = lut[s.Code[i]]
		}
	}
}

// Side is the side information of a coded matrix: all that a decoder needs
// beside the chunks. It is the first span of a tensor of codec "rans1".
type Side struct {
	Mode   Mode
	Planes uint8 // raw low bit planes
	Band   int   // rows of a chunk, a multiple of 16 or all rows; the last band may be shorter
	Depth  int   // panels of a chunk, coded one after another by the same states
	Row    Scales
	Col    Scales
	// Order[j] is the class of column j when columns are regrouped: coded
	// column order is a stable sort by class. Nil keeps the matrix's own order.
	Order []uint8
	// Tables holds one table per class in scalar mode, two (for the quantisers
	// 0 and 1) in mode DQ: class c has Tables[c*n : (c+1)*n].
	Tables []Table
	// RowClass[i] + GroupClass[g] is the class of row i in lane group g. Nil is all zero.
	RowClass   []uint8
	GroupClass []uint8

	lift uint8 // added to what the decoder's tables hold for a symbol
}

// quantisers returns the number of tables that a class has.
func (s *Side) quantisers() int {
	if s.Mode == DQ {
		return 2
	}
	return 1
}

// Classes returns the number of probability classes.
func (s *Side) Classes() int { return len(s.Tables) / s.quantisers() }

// even reports whether all frequencies are even, so that slots can be looked up
// two at a time.
func (s *Side) even() bool {
	for i := range s.Tables {
		for _, f := range s.Tables[i].Freq {
			if f%2 != 0 {
				return false
			}
		}
	}
	return true
}

const (
	flagOrder = 1 << iota
	flagRowClass
	flagGroupClass
	sideHeader = 24
	tableBytes = Alphabet + Alphabet/2 // frequencies, then the order in 4 bits each
)

// validate checks s against the shape of its matrix.
func (s *Side) validate(l tile.Layout) error {
	bad := func(format string, a ...any) error {
		return fmt.Errorf("%w: side information: "+format, append([]any{ErrCorrupt}, a...)...)
	}
	switch {
	case l.Rows < 1 || l.Rows > MaxRows || l.Cols < 1 || l.Cols > MaxCols:
		return bad("shape %d x %d", l.Rows, l.Cols)
	case s.Mode > DQ:
		return bad("mode %d", s.Mode)
	case int(s.Planes) > s.Mode.MaxPlanes():
		return bad("%d raw planes in mode %v", s.Planes, s.Mode)
	case s.Band < 1 || s.Depth < 1 || padBlock(s.Band)*s.Depth > MaxBandPanels:
		return bad("chunks of %d rows and %d panels", s.Band, s.Depth)
	case s.Band < l.Rows && s.Band%rowBlock != 0:
		return bad("bands of %d rows, want a multiple of %d", s.Band, rowBlock)
	case len(s.Tables) == 0 || len(s.Tables)%s.quantisers() != 0 || s.Classes() > MaxClasses:
		return bad("%d tables", len(s.Tables))
	}
	for i, sc := range []*Scales{&s.Row, &s.Col} {
		want := []int{l.Rows, l.Cols}[i]
		switch {
		case !(sc.Base > 0) || math.IsInf(float64(sc.Base), 0):
			return bad("base scale %v", sc.Base)
		case sc.Frac > maxFrac || sc.Bits > maxBits:
			return bad("scale codes of %d bits, %d fractional", sc.Bits, sc.Frac)
		case sc.Bits > 0 && len(sc.Code) != want:
			return bad("%d scale codes, want %d", len(sc.Code), want)
		}
	}
	top := 0
	for _, cls := range []struct {
		c []uint8
		n int
	}{{s.RowClass, l.Rows}, {s.GroupClass, l.Groups()}} {
		if cls.c == nil {
			continue
		}
		if len(cls.c) != cls.n {
			return bad("%d classes, want %d", len(cls.c), cls.n)
		}
		m := 0
		for _, c := range cls.c {
			m = max(m, int(c))
		}
		top += m
	}
	if top >= s.Classes() {
		return bad("class %d of %d", top, s.Classes())
	}
	if s.Order != nil && len(s.Order) != l.Cols {
		return bad("%d column classes, want %d", len(s.Order), l.Cols)
	}
	for i := range s.Tables {
		if err := s.Tables[i].Validate(); err != nil {
			return bad("table %d: %v", i, err)
		}
	}
	return nil
}

// AppendTo appends the coded form of s, for a matrix of layout l, to dst.
func (s *Side) AppendTo(dst []byte, l tile.Layout) ([]byte, error) {
	if err := s.validate(l); err != nil {
		return nil, err
	}
	flags := uint8(0)
	for f, c := range map[uint8][]uint8{flagOrder: s.Order, flagRowClass: s.RowClass, flagGroupClass: s.GroupClass} {
		if c != nil {
			flags |= f
		}
		for _, v := range c {
			if v >= MaxClasses {
				return nil, fmt.Errorf("rans: class %d, at most %d", v, MaxClasses-1)
			}
		}
	}
	le := binary.LittleEndian
	dst = append(dst, byte(s.Mode), s.Planes, byte(s.Classes()), flags)
	dst = le.AppendUint16(dst, uint16(s.Band))
	dst = le.AppendUint16(dst, uint16(s.Depth))
	for _, sc := range []*Scales{&s.Row, &s.Col} {
		dst = le.AppendUint32(dst, math.Float32bits(sc.Base))
		dst = append(dst, sc.Frac, sc.Bits, 0, 0)
	}
	for i := range s.Tables {
		dst = append(dst, s.Tables[i].Freq[:]...)
		dst = AppendBits(dst, s.Tables[i].Order[:], 4)
	}
	dst = AppendBits(dst, s.Row.Code, s.Row.Bits)
	dst = AppendBits(dst, s.Col.Code, s.Col.Bits)
	for _, c := range [][]uint8{s.Order, s.RowClass, s.GroupClass} {
		dst = AppendBits(dst, c, 4)
	}
	return dst, nil
}

// ParseSide reads side information for a matrix of layout l. It allocates in
// proportion to the rows and columns, which l bounds.
func ParseSide(data []byte, l tile.Layout) (*Side, error) {
	if len(data) < sideHeader {
		return nil, fmt.Errorf("%w: side information of %d bytes", ErrCorrupt, len(data))
	}
	le := binary.LittleEndian
	s := &Side{Mode: Mode(data[0]), Planes: data[1], Band: int(le.Uint16(data[4:])), Depth: int(le.Uint16(data[6:]))}
	classes, flags := int(data[2]), data[3]
	if flags >= flagGroupClass<<1 || data[14]|data[15]|data[22]|data[23] != 0 {
		return nil, fmt.Errorf("%w: side information: unknown flags", ErrCorrupt)
	}
	for i, sc := range []*Scales{&s.Row, &s.Col} {
		at := data[8+8*i:]
		*sc = Scales{Base: math.Float32frombits(le.Uint32(at)), Frac: at[4], Bits: at[5]}
	}
	if s.Mode > DQ || classes > MaxClasses || s.Row.Bits > maxBits || s.Col.Bits > maxBits ||
		l.Rows < 1 || l.Rows > MaxRows || l.Cols < 1 || l.Cols > MaxCols {
		return nil, fmt.Errorf("%w: side information: mode %d, %d classes, %d x %d", ErrCorrupt, s.Mode, classes, l.Rows, l.Cols)
	}
	rest := data[sideHeader:]
	if need := classes * s.quantisers() * tableBytes; len(rest) < need {
		return nil, fmt.Errorf("%w: side information ends inside its tables", ErrCorrupt)
	}
	s.Tables = make([]Table, classes*s.quantisers())
	for i := range s.Tables {
		t := &s.Tables[i]
		rest = rest[copy(t.Freq[:], rest):]
		for j := range t.Order {
			t.Order[j] = rest[j/2] >> (4 * (j % 2)) & 15
		}
		rest = rest[Alphabet/2:]
	}
	parts := []struct {
		dst  *[]uint8
		n    int
		bits uint8
		on   bool
	}{
		{&s.Row.Code, l.Rows, s.Row.Bits, s.Row.Bits > 0}, {&s.Col.Code, l.Cols, s.Col.Bits, s.Col.Bits > 0},
		{&s.Order, l.Cols, 4, flags&flagOrder != 0}, {&s.RowClass, l.Rows, 4, flags&flagRowClass != 0},
		{&s.GroupClass, l.Groups(), 4, flags&flagGroupClass != 0},
	}
	for _, p := range parts {
		if !p.on {
			continue
		}
		var err error
		if *p.dst, rest, err = ReadBits(rest, p.n, p.bits); err != nil {
			return nil, err
		}
	}
	if len(rest) != 0 {
		return nil, fmt.Errorf("%w: side information: %d bytes too many", ErrCorrupt, len(rest))
	}
	return s, s.validate(l)
}

// AppendBits appends codes of the given width in bits, 1 to 8, packed from the
// lowest bit of each byte up; zeros fill the last byte.
func AppendBits(dst []byte, codes []uint8, width uint8) []byte {
	var acc, have uint32
	for _, c := range codes {
		acc |= uint32(c) << have
		for have += uint32(width); have >= 8; have -= 8 {
			dst = append(dst, byte(acc))
			acc >>= 8
		}
	}
	if have > 0 {
		dst = append(dst, byte(acc))
	}
	return dst
}

// ReadBits unpacks n codes, as AppendBits packed them, and returns what follows
// them. Its errors wrap ErrCorrupt.
func ReadBits(src []byte, n int, width uint8) (codes []uint8, rest []byte, err error) {
	size := (n*int(width) + 7) / 8
	if len(src) < size {
		return nil, nil, fmt.Errorf("%w: side information ends inside its codes", ErrCorrupt)
	}
	codes = make([]uint8, n)
	var acc, have uint32
	at := 0
	for i := range codes {
		for ; have < uint32(width); have += 8 {
			acc |= uint32(src[at]) << have
			at++
		}
		codes[i] = uint8(acc & (1<<width - 1))
		acc >>= width
		have -= uint32(width)
	}
	if acc != 0 {
		return nil, nil, fmt.Errorf("%w: side information: padding is not zero", ErrCorrupt)
	}
	return codes, src[size:], nil
}
