package source

import (
	"fmt"
	"math"
	"strings"

	"github.com/lamina-llm/lamina/internal/kern"
)

// Rounding names a format of GGUF to whose values weights are rounded, as a
// yardstick for other codes: nothing is stored.
type Rounding string

// The roundings. Blocks are 32 neighbouring weights of a row that share a scale
// in half precision; the arithmetic is that of ggml's reference quantisers.
const (
	RoundQ4_0 Rounding = "q4_0" // 16 levels a block, 4.5 bits a weight
	RoundQ8_0 Rounding = "q8_0" // 255 levels a block, 8.5 bits a weight
)

// roundBlock is the number of weights that share a scale.
const roundBlock = 32

// Bits returns what one weight takes, its share of the scale included.
func (r Rounding) Bits() float64 {
	if r == RoundQ4_0 {
		return 4.5
	}
	return 8.5
}

// Rounded returns a reader like [Source.ReadRows] whose rows of matrices,
// embedding and head included, are rounded to r; vectors stay what they are.
// It fails if a matrix does not divide into blocks, or r is unknown.
func (s *Source) Rounded(r Rounding) (func(name string, row0, rows int, dst []float32) error, error) {
	var round func([]float32)
	switch r {
	case RoundQ4_0:
		round = roundQ4
	case RoundQ8_0:
		round = roundQ8
	default:
		return nil, fmt.Errorf("source: rounding %q: want %s or %s", r, RoundQ4_0, RoundQ8_0)
	}
	for _, t := range s.tensors {
		if !vector(t) && t.Cols%roundBlock != 0 {
			return nil, fmt.Errorf("source: %s: tensor %q has rows of %d, which %s cannot store: it takes multiples of %d", s.name, t.Name, t.Cols, r, roundBlock)
		}
	}
	return func(name string, row0, rows int, dst []float32) error {
		if err := s.ReadRows(name, row0, rows, dst); err != nil {
			return err
		}
		if t, ok := s.Tensor(name); ok && !vector(t) {
			round(dst)
		}
		return nil
	}, nil
}

// vector tells norms from matrices.
func vector(t Tensor) bool { return strings.HasSuffix(t.Name, "norm.weight") }

// roundQ4 rounds blocks to Q4_0: the weight of the largest magnitude becomes
// level -8, so that the other sign ends at 7.
func roundQ4(v []float32) {
	for ; len(v) >= roundBlock; v = v[roundBlock:] {
		b := v[:roundBlock]
		var most, largest float32
		for _, x := range b {
			if a := abs(x); a > most {
				most, largest = a, x
			}
		}
		d := largest / -8
		scale, inv := throughHalf(d), reciprocal(d)
		for i, x := range b {
			level := int(float32(x*inv) + 8.5) // towards zero, of what is positive
			b[i] = scale * float32(min(level, 15)-8)
		}
	}
}

// roundQ8 rounds blocks to Q8_0: levels -127 to 127.
func roundQ8(v []float32) {
	for ; len(v) >= roundBlock; v = v[roundBlock:] {
		b := v[:roundBlock]
		var most float32
		for _, x := range b {
			most = max(most, abs(x))
		}
		d := most / 127
		scale, inv := throughHalf(d), reciprocal(d)
		for i, x := range b {
			b[i] = scale * float32(math.Round(float64(x*inv))) // halves away from zero
		}
	}
}

func abs(x float32) float32 { return math.Float32frombits(math.Float32bits(x) &^ (1 << 31)) }

// reciprocal is 1/d, or 0 for a block of zeros.
func reciprocal(d float32) float32 {
	if d == 0 {
		return 0
	}
	return 1 / d
}

// throughHalf returns what is left of x in half precision.
func throughHalf(x float32) float32 {
	in, half := [1]float32{x}, [1]uint16{}
	kern.F32ToF16(half[:], in[:])
	kern.F16ToF32(in[:], half[:])
	return in[0]
}
