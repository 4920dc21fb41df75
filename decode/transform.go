package decode

import (
	"fmt"
	"math"
	"math/bits"

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/kern"
)

// TransformCodec is the codec id of a tensor that a [Transform] describes.
const TransformCodec = "transform1"

// maxBlockBits bounds the block of a transform.
const maxBlockBits = 16

// Transform is an orthogonal transform T of input vectors: signs, then a
// Walsh-Hadamard transform of every block of elements, scaled so that lengths
// stay. A tensor of codec "transform1" holds W T^-1 as "rans1" codes a matrix, and
// products are (W T^-1) (T x). Its description is the tensor's first span
// (docs/FORMAT.md). It is immutable.
type Transform struct {
	block int
	scale []float32 // per element, its sign over the root of block
}

// NewTransform returns the transform of vectors of cols elements with the
// largest block that divides cols. negative tells which elements change their
// sign first; nil is none.
func NewTransform(cols int, negative func(j int) bool) *Transform {
	return newTransform(cols, min(bits.TrailingZeros(uint(cols)), maxBlockBits), negative)
}

func newTransform(cols, blockBits int, negative func(j int) bool) *Transform {
	t := &Transform{block: 1 << blockBits, scale: make([]float32, cols)}
	s := float32(1 / math.Sqrt(float64(t.block)))
	for j := range t.scale {
		t.scale[j] = s
		if negative != nil && negative(j) {
			t.scale[j] = -s
		}
	}
	return t
}

const transformHeader = 4

// ParseTransform reads the description of a transform of cols elements. Errors
// wrap rans.ErrCorrupt.
func ParseTransform(cols int, data []byte) (*Transform, error) {
	bad := func(format string, a ...any) (*Transform, error) {
		return nil, fmt.Errorf("%w: description of the transform: "+format, append([]any{rans.ErrCorrupt}, a...)...)
	}
	if cols < 1 || cols > rans.MaxCols || len(data) != transformHeader+(cols+7)/8 {
		return bad("%d bytes for %d columns", len(data), cols)
	}
	if data[0] != 1 {
		return bad("kind %d is unknown to this version of lamina", data[0])
	}
	if data[2]|data[3] != 0 {
		return bad("reserved bytes are not zero")
	}
	if data[1] > maxBlockBits || cols%(1<<data[1]) != 0 {
		return bad("blocks of 2^%d in %d columns", data[1], cols)
	}
	signs := data[transformHeader:]
	if cols%8 != 0 && signs[len(signs)-1]>>(cols%8) != 0 {
		return bad("bits after the last sign are not zero")
	}
	return newTransform(cols, int(data[1]), func(j int) bool { return signs[j/8]>>(j%8)&1 != 0 }), nil
}

// AppendTo appends the description of t to dst.
func (t *Transform) AppendTo(dst []byte) []byte {
	dst = append(dst, 1, byte(bits.TrailingZeros(uint(t.block))), 0, 0)
	at := len(dst)
	dst = append(dst, make([]byte, (len(t.scale)+7)/8)...)
	for j, s := range t.scale {
		if s < 0 {
			dst[at+j/8] |= 1 << (j % 8)
		}
	}
	return dst
}

// Block returns the elements that are transformed together, a power of two.
func (t *Transform) Block() int { return t.block }

// Apply computes dst = T x; both have the elements that t is for. dst may be x.
func (t *Transform) Apply(dst, x []float32) {
	dst = dst[:len(t.scale)]
	kern.MulInto(dst, x, t.scale)
	kern.Hadamard(dst, t.block)
}

// ApplyBlock transforms one block of a vector in place: x holds the elements
// from i*Block on.
func (t *Transform) ApplyBlock(x []float32, i int) {
	x = x[:t.block]
	kern.MulInto(x, x, t.scale[i*t.block:])
	kern.Hadamard(x, t.block)
}

// Undo computes x = T^-1 x, which is also the transpose of T.
func (t *Transform) Undo(x []float32) {
	x = x[:len(t.scale)]
	kern.Hadamard(x, t.block)
	kern.MulInto(x, x, t.scale)
}

// NewTransformed is NewMatrix for a tensor of codec "transform1", which begins
// with the description of its transform.
func NewTransformed(rows, cols int, description, side []byte) (*Matrix, error) {
	t, err := ParseTransform(cols, description)
	if err != nil {
		return nil, err
	}
	m, err := NewMatrix(rows, cols, side)
	if err == nil {
		m.transform = t
	}
	return m, err
}

// undo turns decoded rows, cols elements each, back into rows of W.
func (m *Matrix) undo(rows []float32, n int) {
	if m.transform == nil {
		return
	}
	for t := range n {
		m.transform.Undo(rows[t*m.layout.Cols : (t+1)*m.layout.Cols])
	}
}
