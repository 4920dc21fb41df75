package vvc

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestEncodeAlike encodes planes whose rows, or columns, are the same but for some noise and a few of their own, which
// need not cost what independent ones do.
func TestEncodeAlike(t *testing.T) {
	const side, limit = 128, 1.35 // bits; dividing by variance alone takes 1.6
	r := rand.New(rand.NewPCG(5, 6))
	var line [side]float64
	for i := range line {
		line[i] = 60 * r.NormFloat64()
	}
	rows, columns := make([]uint16, side*side), make([]uint16, side*side)
	for y := range side {
		own := y%9 == 4
		for x := range side {
			v := 512 + line[x] + 3*r.NormFloat64()
			if own {
				v = 512 + 60*r.NormFloat64()
			}
			rows[y*side+x] = uint16(math.Round(v))
			columns[x*side+y] = rows[y*side+x]
		}
	}
	for name, plane := range map[string][]uint16{"rows": rows, "columns": columns} {
		stream := checkStream(t, [][]uint16{plane}, EncodeOptions{Width: side, Height: side, BitDepth: 10, QP: 24})
		bits := 8 * float64(len(stream)) / side / side
		t.Logf("%s: %.3f bit", name, bits)
		if bits > limit {
			t.Errorf("%s: %.3f bit, want at most %.2f", name, bits, limit)
		}
	}
}
