package half

import (
	"math"
	"testing"
)

// TestFloat32 compares all numbers with their definition.
func TestFloat32(t *testing.T) {
	for i := range 1 << 16 {
		h := uint16(i)
		exp, man := int(h>>10&31), float64(h&0x3ff)
		var want float64
		switch {
		case exp == 31 && man != 0:
			want = math.NaN()
		case exp == 31:
			want = math.Inf(1)
		case exp == 0:
			want = math.Ldexp(man, -24)
		default:
			want = math.Ldexp(1024+man, exp-25)
		}
		got := Float32(h)
		if math.Signbit(float64(got)) != (h>>15 == 1) {
			t.Fatalf("%#04x: sign of %v", h, got)
		}
		if a := math.Abs(float64(got)); a != want && !(math.IsNaN(a) && math.IsNaN(want)) {
			t.Fatalf("%#04x: %v, want %v", h, a, want)
		}
	}
}
