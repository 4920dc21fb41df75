package kern

import (
	"math"
	"testing"

	"github.com/lamina-llm/lamina/internal/cpu"
	"github.com/lamina-llm/lamina/internal/cpu/cputest"
)

func TestQuantizeI8(t *testing.T) {
	forEachLength(t, func(t *testing.T, n int, atEnd bool) {
		r := rng(n)
		for _, unit := range []float32{1, 0x1p-99, 0x1p+120, 0} {
			x, dst := normals(t, r, n, atEnd), cputest.Guarded[int8](t, n, atEnd)
			var m float32
			for i := range x {
				x[i] *= unit
				m = max(m, x[i], -x[i])
			}
			scale := QuantizeI8(dst, x)
			wantScale, inv := float32(0), float32(0)
			if m >= minAbsMax {
				wantScale, inv = m/127, 127/m
			}
			if scale != wantScale {
				t.Fatalf("scale %x, want %x", scale, wantScale)
			}
			for i, v := range x {
				if want := math.RoundToEven(float64(v * inv)); float64(dst[i]) != want {
					t.Fatalf("element %d: %v became %d, want %v", i, v, dst[i], want)
				}
			}
		}
	})
	cputest.ForEachTier(t, func(t *testing.T, _ cpu.Tier) {
		x := []float32{127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, -127, 126.5, -126.5, 0.49999997, -126.49999, 0, 3.5, 4.5, 5.5, 6.5}
		want := []int8{127, 0, 2, 2, 0, -2, -2, -127, 126, -126, 0, -126, 0, 4, 4, 6, 6}
		got := make([]int8, len(x))
		if s := QuantizeI8(got, x); s != 1 {
			t.Errorf("scale %v", s)
		}
		wantEqual(t, "ties", got, want)
		for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), math.Float32frombits(0xff800001)} {
			for at := range x {
				y := clone(x)
				y[at] = bad
				if s := QuantizeI8(got, y); s == s {
					t.Errorf("%v at %d: scale %v, want NaN", bad, at, s)
				}
				wantEqual(t, "not finite", got, make([]int8, len(x)))
			}
		}
	})
}

func TestAccumulate(t *testing.T) {
	forEachLength(t, func(t *testing.T, n int, atEnd bool) {
		r := rng(n)
		in, y, d := odd(t, r, n, atEnd), cputest.Guarded[float32](t, n, atEnd), cputest.Guarded[int32](t, n, atEnd)
		for i := range d {
			d[i] = int32(r.Uint32()) >> (1 + r.IntN(30))
		}
		want := make([]float32, n)
		const s = 0x1.23456p-9
		for _, zero := range []int32{0, 1, -1 << 30, 12345} {
			for i := range d {
				p := float32(float64(float32(d[i]-zero)) * s)
				want[i] = float32(float64(in[i]) + float64(p))
			}
			copy(y, in)
			accumulateCentered(y, d, zero, s)
			wantSame(t, "accumulateCentered", y, want)
		}
	})
}
