package kern

import (
	"math"
	"testing"

	"github.com/lamina-llm/lamina/internal/cpu"
	"github.com/lamina-llm/lamina/internal/cpu/cputest"
)

// ulps returns the distance of got from want in units of the last place of a
// float32 near want.
func ulps(got float32, want float64) float64 {
	_, e := math.Frexp(want)
	return math.Abs(float64(got)-want) / math.Ldexp(1, e-24)
}

func TestExpInto(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T, _ cpu.Tier) {
		const batch = 1 << 12
		x, y := cputest.Guarded[float32](t, batch, true), cputest.Guarded[float32](t, batch, true)
		worst, at := 0.0, float32(0)
		check := func() {
			var sum, mag float64
			got := ExpInto(y, x, 0)
			for i, v := range x {
				want := math.Exp(float64(v))
				sum += float64(y[i])
				mag += math.Abs(float64(y[i]))
				switch {
				case v < expMin:
					if y[i] != 0 {
						t.Fatalf("exp(%v) = %v, want 0", v, y[i])
					}
				case v > expMax:
					if !math.IsInf(float64(y[i]), 1) {
						t.Fatalf("exp(%v) = %v, want +Inf", v, y[i])
					}
				default:
					if u := ulps(y[i], want); u > worst || u != u {
						worst, at = u, v
					}
				}
			}
			if !math.IsInf(sum, 0) {
				wantClose(t, "sum", got, sum, mag, batch)
			}
		}
		// Every 4093rd float32 that is not a NaN, from both sides of zero.
		next := uint32(0)
		for next < 0x7f800000 {
			for i := range x {
				x[i] = math.Float32frombits(min(next, 0x7f800000) | uint32(i&1)<<31)
				next += 4093
			}
			check()
		}
		// The edges of the range and of the reduction.
		for _, edge := range []float32{expMin, expMax, 0, math.Ln2 / 2, -math.Ln2 / 2, 60.5 * math.Ln2} {
			b := math.Float32bits(edge)
			for i := range x {
				x[i] = math.Float32frombits(b + uint32(i) - min(b, batch/2))
			}
			check()
		}
		t.Logf("largest error %.3f ulp, at %v", worst, at)
		if worst > 2 {
			t.Errorf("error of %v ulp at %x", worst, at)
		}
	})
}

func TestExpIntoLengths(t *testing.T) {
	forEachLength(t, func(t *testing.T, n int, atEnd bool) {
		r := rng(n)
		x := normals(t, r, n, atEnd)
		dst := cputest.Guarded[float32](t, n, atEnd)
		sum := ExpInto(dst, x, 0.75)
		var want float64
		for i := range x {
			want += float64(dst[i])
			var one [1]float32
			if ExpInto(one[:], x[i:i+1], 0.75); one[0] != dst[i] {
				t.Fatalf("element %d depends on its position: %x, alone %x", i, dst[i], one[0])
			}
			if u := ulps(dst[i], math.Exp(float64(x[i]-0.75))); u > 2 {
				t.Fatalf("exp(%v - 0.75) = %v is %v ulp off", x[i], dst[i], u)
			}
		}
		wantClose(t, "sum", sum, want, want, n)
		if again := ExpInto(x, x, 0.75); again != sum {
			t.Errorf("in place: sum %x, want %x", again, sum)
		}
		wantSame(t, "in place", x, dst)
	})
	cputest.ForEachTier(t, func(t *testing.T, _ cpu.Tier) {
		x := []float32{float32(math.NaN()), 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
		if s := ExpInto(x, x, 0); s == s || x[0] == x[0] || x[1] != x[1] {
			t.Errorf("a NaN does not pass through: sum %v, %v", s, x)
		}
	})
}

func TestSoftmax(t *testing.T) {
	inf := float32(math.Inf(1))
	forEachLength(t, func(t *testing.T, n int, atEnd bool) {
		r := rng(n)
		x := normals(t, r, n, atEnd)
		for i := range x {
			x[i] *= 20
			if r.IntN(5) == 0 {
				x[i] = -inf
			}
		}
		in := clone(x)
		_, top := MaxIndex(x)
		var sum float64
		for _, v := range in {
			sum += math.Exp(float64(v) - float64(top))
		}
		Softmax(x)
		for i, v := range in {
			switch want := math.Exp(float64(v)-float64(top)) / sum; {
			case math.IsInf(float64(top), -1) || top != top:
				if x[i] != 0 {
					t.Fatalf("all masked: element %d is %v", i, x[i])
				}
			default:
				// The exponent carries half an ulp of v-top besides the sum's error.
				tol := want*(0x1p-22+float64(n)*0x1p-24+math.Abs(float64(v-top))*0x1p-23) + 0x1p-126
				if v == -inf {
					tol = 0
				}
				if d := math.Abs(float64(x[i]) - want); d > tol {
					t.Fatalf("element %d: got %v, want %v", i, x[i], want)
				}
			}
		}
	})
	cputest.ForEachTier(t, func(t *testing.T, _ cpu.Tier) {
		for _, bad := range []float32{inf, float32(math.NaN())} {
			x := make([]float32, 37)
			x[5] = bad
			Softmax(x)
			for i, v := range x {
				if v == v {
					t.Fatalf("%v in the input: element %d is %v", bad, i, v)
				}
			}
		}
	})
}

func TestSwiGLU(t *testing.T) {
	check := func(t *testing.T, dst, gate, up []float32) {
		t.Helper()
		for i, g := range gate {
			z := float64(g)
			want := z / (1 + math.Exp(-z)) * float64(up[i])
			if d := math.Abs(float64(dst[i]) - want); !(d <= math.Abs(want)*0x1p-21+0x1p-121*math.Abs(float64(up[i]))) {
				t.Fatalf("silu(%v)*%v = %v, want %v", g, up[i], dst[i], want)
			}
		}
	}
	forEachLength(t, func(t *testing.T, n int, atEnd bool) {
		r := rng(n)
		gate, up, dst := normals(t, r, n, atEnd), normals(t, r, n, atEnd), cputest.Guarded[float32](t, n, atEnd)
		for i := range gate {
			gate[i] *= 8
		}
		SwiGLU(dst, gate, up)
		check(t, dst, gate, up)
		in := clone(gate)
		SwiGLU(gate, gate, up)
		wantSame(t, "over gate", gate, dst)
		SwiGLU(up, in, up)
		wantSame(t, "over up", up, dst)
	})
	cputest.ForEachTier(t, func(t *testing.T, _ cpu.Tier) {
		gate := []float32{0, -0x1p-149, 87, 88, 89, -86, -87, -88, -89, -1000, 1e30, -1e30, math.MaxFloat32, -math.MaxFloat32}
		up := make([]float32, len(gate))
		for i := range up {
			up[i] = 1
		}
		dst := make([]float32, len(gate))
		SwiGLU(dst, gate, up)
		check(t, dst, gate, up)
		gate[3] = float32(math.NaN())
		if SwiGLU(dst, gate, up); dst[3] == dst[3] || dst[2] != 87 {
			t.Errorf("a NaN does not stay where it is: %v", dst)
		}
	})
}
