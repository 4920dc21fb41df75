package decode

import (
	"encoding/binary"
	"fmt"

	"github.com/lamina-llm/lamina/decode/rans"
)

// FactoredCodec is the codec id of a tensor that [Factors] describes.
const FactoredCodec = "lowrank1"

// Limits of a factored matrix.
const (
	MaxParts  = 16 // parts that a matrix is made of
	MaxInputs = 16 // coded matrices that multiply its input
)

// Factors says how a matrix W is made of parts that stand one below another.
// Part i is dense (Q), a pair of factors (A B), or both (Q + A B). All that
// multiplies the input, the Q and the B, is stacked in one or several coded
// matrices, the inputs; each A is a coded matrix of its own. It is the first
// span of a tensor of codec "lowrank1" (docs/FORMAT.md).
type Factors struct {
	Rows, Cols int // of W
	Parts      []Part
}

// Part is one part of a factored matrix. Its rows of Q, then those of B, come
// after those of the parts before it in the same input.
type Part struct {
	Rows  int // of the part, at least 1
	Rank  int // columns of A and rows of B; 0 is no factors
	Dense int // input that holds Q; -1 is none
	Down  int // input that holds B; -1 if Rank is 0
}

const (
	factorsHeader = 4
	factorsPart   = 12
	noInput       = 255
)

// ParseFactors reads the description of a matrix of rows x cols. Errors wrap
// rans.ErrCorrupt.
func ParseFactors(rows, cols int, data []byte) (*Factors, error) {
	bad := func(format string, a ...any) (*Factors, error) {
		return nil, fmt.Errorf("%w: description of parts: "+format, append([]any{rans.ErrCorrupt}, a...)...)
	}
	if len(data) < factorsHeader || len(data) != factorsHeader+factorsPart*int(data[0]) {
		return bad("%d bytes", len(data))
	}
	if data[2]|data[3] != 0 {
		return bad("reserved bytes are not zero")
	}
	f := &Factors{Rows: rows, Cols: cols}
	for at := factorsHeader; at < len(data); at += factorsPart {
		b := data[at : at+factorsPart]
		n, rank := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
		if n > rans.MaxRows || rank > rans.MaxRows || b[10]|b[11] != 0 {
			return bad("part %d has %d rows, rank %d", len(f.Parts), n, rank)
		}
		p := Part{Rows: int(n), Rank: int(rank), Dense: int(b[8]), Down: int(b[9])}
		if p.Dense == noInput {
			p.Dense = -1
		}
		if p.Down == noInput {
			p.Down = -1
		}
		f.Parts = append(f.Parts, p)
	}
	if err := f.Validate(); err != nil {
		return nil, err
	}
	if got := len(f.Inputs()); got != int(data[1]) {
		return bad("%d inputs, the parts have %d", data[1], got)
	}
	return f, nil
}

// AppendTo appends the coded form of f, which must be valid, to dst.
func (f *Factors) AppendTo(dst []byte) ([]byte, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	dst = append(dst, byte(len(f.Parts)), byte(len(f.Inputs())), 0, 0)
	for _, p := range f.Parts {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(p.Rows))
		dst = binary.LittleEndian.AppendUint32(dst, uint32(p.Rank))
		dst = append(dst, byte(p.Dense), byte(p.Down), 0, 0) // -1 is 255
	}
	return dst, nil
}

// Validate reports the first thing that makes no sense. Errors wrap
// rans.ErrCorrupt.
func (f *Factors) Validate() error {
	bad := func(format string, a ...any) error {
		return fmt.Errorf("%w: description of parts: "+format, append([]any{rans.ErrCorrupt}, a...)...)
	}
	if f.Rows < 1 || f.Rows > rans.MaxRows || f.Cols < 1 || f.Cols > rans.MaxCols || len(f.Parts) < 1 || len(f.Parts) > MaxParts {
		return bad("%d parts of a matrix of %d x %d", len(f.Parts), f.Rows, f.Cols)
	}
	var used [MaxInputs]bool
	rows, last := 0, -1
	for i, p := range f.Parts {
		switch {
		case p.Rows < 1 || p.Rows > f.Rows-rows:
			return bad("part %d has %d rows, %d are left", i, p.Rows, f.Rows-rows)
		case p.Rank < 0 || p.Rank > min(p.Rows, f.Cols):
			return bad("part %d of %d x %d has rank %d", i, p.Rows, f.Cols, p.Rank)
		case (p.Rank > 0) != (p.Down >= 0) || p.Dense < 0 && p.Down < 0:
			return bad("part %d of rank %d has inputs %d and %d", i, p.Rank, p.Dense, p.Down)
		}
		rows += p.Rows
		for _, k := range [2]int{p.Dense, p.Down} {
			if k < -1 || k >= MaxInputs {
				return bad("part %d has input %d", i, k)
			}
			if k >= 0 {
				used[k], last = true, max(last, k)
			}
		}
	}
	if rows != f.Rows {
		return bad("parts of %d rows in all, want %d", rows, f.Rows)
	}
	for k := range last {
		if !used[k] {
			return bad("no part has input %d", k)
		}
	}
	return nil
}

// Inputs returns the rows of every input. f must be valid.
func (f *Factors) Inputs() []int {
	var rows []int
	add := func(k, n int) {
		for len(rows) <= k {
			rows = append(rows, 0)
		}
		if k >= 0 {
			rows[k] += n
		}
	}
	for _, p := range f.Parts {
		add(p.Dense, p.Rows)
		add(p.Down, p.Rank)
	}
	return rows
}

// Shapes returns rows and columns of all coded matrices in the order of the
// file: the inputs, then the A of every part that has one.
func (f *Factors) Shapes() (shapes [][2]int) {
	for _, n := range f.Inputs() {
		shapes = append(shapes, [2]int{n, f.Cols})
	}
	for _, p := range f.Parts {
		if p.Rank > 0 {
			shapes = append(shapes, [2]int{p.Rows, p.Rank})
		}
	}
	return shapes
}

// MultiplyAdds returns the multiplications of a product with one vector. The
// matrix multiplied out has Rows * Cols.
func (f *Factors) MultiplyAdds() (n int64) {
	for _, s := range f.Shapes() {
		n += int64(s[0]) * int64(s[1])
	}
	return n
}

// middle lays out what the inputs give. An input that is nothing but the Q of
// a part without factors is direct: its products are results.
func (f *Factors) middle() (direct []bool, at []int, width int) {
	rows := f.Inputs()
	direct, at = make([]bool, len(rows)), make([]int, len(rows))
	row := 0
	for _, p := range f.Parts {
		if p.Dense >= 0 && p.Rank == 0 && rows[p.Dense] == p.Rows {
			direct[p.Dense], at[p.Dense] = true, row
		}
		row += p.Rows
	}
	for k, n := range rows {
		if !direct[k] {
			at[k] = width
			width += n
		}
	}
	return direct, at, width
}
