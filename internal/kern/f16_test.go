package kern

import (
	"math"
	"testing"

	"github.com/lamina-llm/lamina/internal/cpu"
	"github.com/lamina-llm/lamina/internal/cpu/cputest"
)

// half is the value of a finite binary16 by the definition in IEEE 754.
func half(h uint16) float64 {
	e, m := int(h>>10&31), float64(h&0x3ff)
	v := math.Ldexp(m, -24)
	if e > 0 {
		v = math.Ldexp(1024+m, e-25)
	}
	if h>>15 == 1 {
		v = -v
	}
	return v
}

func TestF16ToF32AllValues(t *testing.T) {
	src := make([]uint16, 1<<16)
	for i := range src {
		src[i] = uint16(i)
	}
	cputest.ForEachTier(t, func(t *testing.T, _ cpu.Tier) {
		dst := make([]float32, len(src))
		F16ToF32(dst, src)
		for i, f := range dst {
			h := uint16(i)
			bits := math.Float32bits(f)
			switch {
			case h&0x7fff == 0x7c00:
				if !math.IsInf(float64(f), 1-int(h>>14&2)) {
					t.Fatalf("%#04x: got %v", h, f)
				}
			case h&0x7c00 == 0x7c00:
				if want := uint32(h&0x8000)<<16 | 0x7fc00000 | uint32(h&0x3ff)<<13; bits != want {
					t.Fatalf("%#04x: got NaN %#x, want %#x", h, bits, want)
				}
			default:
				if float64(f) != half(h) || bits>>31 != uint32(h>>15) {
					t.Fatalf("%#04x: got %v, want %v", h, f, half(h))
				}
			}
		}
	})
}

// TestF32ToF16Rounding looks at every binary16 and at the halfway point above
// it, each with its two float32 neighbours: all places where rounding turns.
func TestF32ToF16Rounding(t *testing.T) {
	var src []float32
	var want []uint16
	for _, sign := range []uint16{0, 0x8000} {
		for h := range uint16(0x7c00) {
			lo := half(h)
			hi := half(h + 1)
			if h == 0x7bff {
				hi = 0x1p16
			}
			mid := float32((lo + hi) / 2) // exact: one bit more than a binary16
			even := h + h&1
			for _, c := range []struct {
				v    float32
				want uint16
			}{
				{float32(lo), h},
				{math.Nextafter32(float32(lo), 1e9), h},
				{math.Nextafter32(mid, 0), h},
				{mid, even},
				{math.Nextafter32(mid, 1e9), h + 1},
				{math.Nextafter32(float32(hi), 0), h + 1},
			} {
				src = append(src, float32(math.Copysign(float64(c.v), 0.5-float64(sign))))
				want = append(want, c.want|sign)
			}
		}
	}
	for _, c := range [][2]uint32{
		{0x7f800000, 0x7c00}, {0xff800000, 0xfc00}, {0x7f7fffff, 0x7c00}, {0x7f800001, 0x7e00},
		{0x7fffffff, 0x7fff}, {0xffc02000, 0xfe01}, {0x7fa00000, 0x7f00}, {0x00000001, 0}, {0x80000001, 0x8000},
	} {
		src = append(src, math.Float32frombits(c[0]))
		want = append(want, uint16(c[1]))
	}
	cputest.ForEachTier(t, func(t *testing.T, _ cpu.Tier) {
		got := make([]uint16, len(src))
		F32ToF16(got, src)
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("%x (%#x): got %#04x, want %#04x", src[i], math.Float32bits(src[i]), got[i], want[i])
			}
		}
	})
}

func TestF16Lengths(t *testing.T) {
	forEachLength(t, func(t *testing.T, n int, atEnd bool) {
		r := rng(n)
		x, h := odd(t, r, n, atEnd), cputest.Guarded[uint16](t, n, atEnd)
		F32ToF16(h, x)
		back := cputest.Guarded[float32](t, n, atEnd)
		F16ToF32(back, h)
		for i := range x {
			if want := narrow(x[i]); h[i] != want {
				t.Fatalf("element %d: narrowed %v to %#04x, want %#04x", i, x[i], h[i], want)
			}
			if want := widen(h[i]); math.Float32bits(back[i]) != math.Float32bits(want) {
				t.Fatalf("element %d: widened %#04x to %v, want %v", i, h[i], back[i], want)
			}
		}
	})
}
