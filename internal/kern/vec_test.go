package kern

import (
	"math"
	"testing"

	"github.com/lamina-llm/lamina/internal/cpu"
	"github.com/lamina-llm/lamina/internal/cpu/cputest"
)

func TestDot(t *testing.T) {
	forEachLength(t, func(t *testing.T, n int, atEnd bool) {
		r := rng(n)
		a, b := normals(t, r, n, atEnd), normals(t, r, n, atEnd)
		want, mag := dot64(a, b)
		got := Dot(a, b)
		wantClose(t, "Dot", got, want, mag, n)

		shifted := append(make([]float32, 1, n+1), a...)[1:]
		if again := Dot(shifted, b); again != got {
			t.Errorf("alignment changes the sum: %x, %x", again, got)
		}
		// Every element counts, and once: a lone 1 picks out its partner.
		clear(a)
		for i := range a {
			a[i] = 1
			if got := Dot(a, b); got != b[i] {
				t.Fatalf("element %d: got %v, want %v", i, got, b[i])
			}
			a[i] = 0
		}
	})
}

// TestElementwise compares the exact kernels with the definition in their doc
// comments, written out here in float64: a product of two float32 is exact
// there, and so is the rounding of a sum or product to float32 (Figueroa, When
// is double rounding innocuous?, 1995).
func TestElementwise(t *testing.T) {
	f32 := func(v float64) float64 { return float64(float32(v)) }
	forEachLength(t, func(t *testing.T, n int, atEnd bool) {
		r := rng(n)
		x, y, z := odd(t, r, n, atEnd), odd(t, r, n, atEnd), odd(t, r, n, atEnd)
		want, lo, hi := make([]float32, n), make([]float32, n), make([]float32, n)
		const a = 1.7182817

		for i := range n {
			want[i] = float32(float64(y[i]) + f32(float64(float32(a))*float64(x[i])))
		}
		got := cputest.Guarded[float32](t, n, atEnd)
		copy(got, y)
		Axpy(got, a, x)
		wantSame(t, "Axpy", got, want)

		for i := range n {
			want[i] = float32(float64(y[i]) + float64(x[i]))
		}
		copy(got, y)
		Add(got, x)
		wantSame(t, "Add", got, want)

		for i := range n {
			want[i] = float32(float64(y[i]) * float64(x[i]))
		}
		MulInto(got, x, y)
		wantSame(t, "MulInto", got, want)
		copy(got, y)
		MulInto(got, got, x) // in place, as row scales are applied
		wantSame(t, "MulInto in place", got, want)

		for i := range n {
			want[i] = float32(f32(float64(x[i])*float64(float32(a))) * float64(y[i]))
		}
		scaledMul(got, x, y, a)
		wantSame(t, "scaledMul", got, want)
		for i := range n {
			want[i] = float32(float64(x[i]) * float64(float32(a)))
		}
		copy(got, x)
		Scale(got, a)
		wantSame(t, "Scale", got, want)

		head := cputest.Guarded[float32](t, 2*n, atEnd)
		copy(head, x)
		copy(head[n:], y)
		sin := normals(t, r, n, atEnd)
		for i := range n {
			p, q, c, s := float64(x[i]), float64(y[i]), float64(z[i]), float64(sin[i])
			lo[i] = float32(f32(p*c) - f32(q*s))
			hi[i] = float32(f32(q*c) + f32(p*s))
		}
		RoPE(head, z, sin)
		wantSame(t, "RoPE, first half", head[:n], lo)
		wantSame(t, "RoPE, second half", head[n:], hi)
	})
}

func TestRMSNorm(t *testing.T) {
	forEachLength(t, func(t *testing.T, n int, atEnd bool) {
		r := rng(n)
		x, w := normals(t, r, n, atEnd), normals(t, r, n, atEnd)
		sum, _ := dot64(x, x)
		want := make([]float64, n)
		for i := range x {
			want[i] = float64(x[i]) / math.Sqrt(sum/float64(n)+1e-5) * float64(w[i])
		}
		dst := cputest.Guarded[float32](t, n, atEnd)
		RMSNorm(dst, x, w, 1e-5)
		RMSNorm(x, x, w, 1e-5)
		wantSame(t, "in place", x, dst)
		for i := range dst {
			wantClose(t, "RMSNorm", dst[i], want[i], math.Abs(want[i]), n)
		}
	})
}

func TestMaxIndex(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	forEachLength(t, func(t *testing.T, n int, atEnd bool) {
		r := rng(n)
		x := cputest.Guarded[float32](t, n, atEnd)
		for i := range x {
			x[i] = float32(r.IntN(8)) - 20 // many ties
			if r.IntN(4) == 0 {
				x[i] = nan
			}
		}
		for range 8 {
			want := -1
			for i, v := range x {
				if v == v && (want < 0 || v > x[want]) {
					want = i
				}
			}
			got, v := MaxIndex(x)
			if got != want || want >= 0 && v != x[want] || want < 0 && v == v {
				t.Fatalf("got %d (%v), want %d", got, v, want)
			}
			if m := Max(x); want >= 0 && m != x[want] || want < 0 && m != -inf {
				t.Fatalf("Max is %v, want that of element %d", m, want)
			}
			if n > 0 {
				x[r.IntN(n)] = []float32{nan, 0, inf, -inf}[r.IntN(4)]
			}
		}
	})
	cputest.ForEachTier(t, func(t *testing.T, _ cpu.Tier) {
		x := make([]float32, 128256)
		for i := range x {
			x[i] = -inf
		}
		if i, v := MaxIndex(x); i != 0 || v != -inf {
			t.Errorf("all -Inf: got %d, %v", i, v)
		}
		for _, at := range []int{128255, 4097, 1024, 1023} {
			x[at] = 3
			if i, v := MaxIndex(x); i != at || v != 3 {
				t.Errorf("got %d, %v, want %d", i, v, at)
			}
		}
	})
}
