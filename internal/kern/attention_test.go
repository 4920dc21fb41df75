package kern

import (
	"fmt"
	"math"
	"testing"

	"github.com/lamina-llm/lamina/internal/cpu"
	"github.com/lamina-llm/lamina/internal/cpu/cputest"
)

// words returns n int16 in guarded memory, extremes among them.
func words(t testing.TB, seed, n int, atEnd bool) []int16 {
	r, x := rng(seed), cputest.Guarded[int16](t, n, atEnd)
	for i := range x {
		x[i] = int16(r.Uint32())
		switch r.IntN(8) {
		case 0:
			x[i] = math.MaxInt16
		case 1:
			x[i] = -math.MaxInt16
		}
	}
	return x
}

// TestMatMulI16 compares with the definition, modulo 2^32, also where rows and
// strips lie apart.
func TestMatMulI16(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T, _ cpu.Tier) {
		for _, rows := range []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 11} {
			for _, strips := range []int{0, 1, 2, 3, 4, 5, 7, 8} {
				for _, cols := range []int{0, 2, 6, 64} {
					t.Run(fmt.Sprintf("rows=%d/strips=%d/cols=%d", rows, strips, cols), func(t *testing.T) {
						testMatMulI16(t, rows, strips, cols, rows%3*2, cols%3*8)
					})
				}
			}
		}
	})
}

func testMatMulI16(t *testing.T, rows, strips, cols, gap, apart int) {
	lda, ldd, lds := cols+gap, strips*StripLanes+gap, cols*StripLanes+apart
	span := func(n, width, ld int) int { return max(0, (n-1)*ld+width) * min(n, 1) }
	for _, atEnd := range []bool{true, false} {
		a, panel := words(t, rows, span(rows, cols, lda), atEnd), words(t, cols, span(strips, cols*StripLanes, lds), atEnd)
		dst := cputest.Guarded[int32](t, span(rows, strips*StripLanes, ldd), atEnd)
		for i := range dst {
			dst[i] = int32(-7 - i)
		}
		MatMulI16(dst, ldd, a, lda, panel, lds, rows, strips, cols, atEnd)
		for i, got := range dst {
			r, c := i/ldd, i%ldd
			want := int32(-7 - i)
			if c < strips*StripLanes {
				if !atEnd { // what was there does not count
					want = 0
				}
				for k := range cols {
					want += int32(a[r*lda+k]) * int32(panel[c/StripLanes*lds+k/2*32+c%StripLanes*2+k%2])
				}
			}
			if got != want {
				t.Fatalf("row %d, lane %d: %d, want %d", r, c, got, want)
			}
		}
	}
}

// TestPut compares both panels with their definitions.
func TestPut(t *testing.T) {
	for _, size := range []int{2, 16, 24, 64} {
		const tokens = 32
		k, strips := words(t, size, tokens*size, true), (size-1)/StripLanes+1
		keys, values := cputest.Guarded[int16](t, tokens*size, true), cputest.Guarded[int16](t, strips*tokens*StripLanes, true)
		for j := range tokens {
			PutKey(keys, j, k[j*size:(j+1)*size])
			PutValue(values, tokens*StripLanes, j, k[j*size:(j+1)*size])
		}
		for j := range tokens {
			for i := range size {
				want := k[j*size+i]
				if got := keys[j/16*16*size+i/2*32+j%16*2+i%2]; got != want {
					t.Fatalf("size %d: key %d, element %d is %d, want %d", size, j, i, got, want)
				}
				if got := values[i/16*tokens*16+j/2*32+i%16*2+j%2]; got != want {
					t.Fatalf("size %d: value %d, element %d is %d, want %d", size, j, i, got, want)
				}
			}
		}
	}
}

func TestWiden(t *testing.T) {
	forEachLength(t, func(t *testing.T, n int, atEnd bool) {
		x, r := cputest.Guarded[int8](t, n, atEnd), rng(n)
		want := make([]int16, n)
		for i := range x {
			x[i] = int8(r.Uint32())
			want[i] = int16(x[i])
		}
		dst, again := cputest.Guarded[int16](t, n, atEnd), cputest.Guarded[int16](t, n, atEnd)
		Widen(dst, x)
		wantEqual(t, "int8", dst, want)
		Widen(again, want)
		wantEqual(t, "int16", again, want)
	})
}

func TestQuantizeI16(t *testing.T) {
	forEachLength(t, func(t *testing.T, n int, atEnd bool) {
		r := rng(n)
		for _, unit := range []float32{1, 0x1p-99, 0x1p-70, 0x1p+90, 0x1p+120, 0} {
			x, dst := normals(t, r, n, atEnd), cputest.Guarded[int16](t, n, atEnd)
			var m float32
			for i := range x {
				x[i] *= unit
				m = max(m, x[i], -x[i])
			}
			scale := QuantizeI16(dst, x)
			wantScale, inv := float32(0), float32(0)
			if m >= minAbsMax {
				wantScale, inv = m/32767, 32767/m
			}
			if scale != wantScale {
				t.Fatalf("scale %x, want %x", scale, wantScale)
			}
			for i, v := range x {
				if want := math.RoundToEven(float64(v * inv)); float64(dst[i]) != want {
					t.Fatalf("element %d: %v became %d, want %v", i, v, dst[i], want)
				}
			}
			// The other scale is as much larger as the norm asks for, not more.
			scale = QuantizeDotI16(dst, x)
			var square, norm float64
			for i, v := range x {
				square += float64(dst[i]) * float64(dst[i])
				norm += float64(v) * float64(v)
				if d := math.Abs(float64(v) - float64(dst[i])*float64(scale)); d > 0.502*float64(scale)+minAbsMax {
					t.Fatalf("element %d: %v became %d times %v", i, v, dst[i], scale)
				}
			}
			if want := max(float64(wantScale), math.Sqrt(norm)/maxDotNorm); m >= minAbsMax && math.Abs(float64(scale)/want-1) > 1e-4 {
				t.Fatalf("unit %v: scale %v, want %v", unit, scale, want)
			}
			if square > math.MaxInt32 {
				t.Fatalf("the square is %v", square)
			}
		}
	})
	cputest.ForEachTier(t, func(t *testing.T, _ cpu.Tier) {
		x := make([]float32, 256)
		for i := range x {
			x[i] = 1 - 2*float32(i&1)
		}
		dst := make([]int16, len(x))
		QuantizeDotI16(dst, x)
		var square int64
		for _, v := range dst {
			square += int64(v) * int64(v)
		}
		if square > math.MaxInt32 || square < math.MaxInt32*9/10 {
			t.Errorf("equal magnitudes: square %d", square)
		}
		for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(-1))} {
			x[17] = bad
			if s := QuantizeDotI16(dst, x); s == s {
				t.Errorf("%v: scale %v, want NaN", bad, s)
			}
			wantEqual(t, "not finite", dst, make([]int16, len(x)))
		}
	})
}

// TestSoften compares with the softmax in float64, and checks that neither what
// lies behind the scores nor the length of the weights changes anything.
func TestSoften(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T, _ cpu.Tier) {
		for _, n := range []int{1, 2, 7, 8, 9, 15, 16, 17, 23, 24, 25, 31, 32, 33, 100, 128, 250, 256} {
			for _, atEnd := range []bool{true, false} {
				t.Run(fmt.Sprintf("n=%d/end=%v", n, atEnd), func(t *testing.T) { testSoften(t, n, atEnd) })
			}
		}
	})
}

func testSoften(t *testing.T, n int, atEnd bool) {
	r, padded := rng(n), (n+15)&^15
	s, x := cputest.Guarded[int32](t, padded, atEnd), cputest.Guarded[float32](t, padded, atEnd)
	keyScale, valueScale := cputest.Guarded[float32](t, n, atEnd), cputest.Guarded[float32](t, n, atEnd)
	p, long := cputest.Guarded[int16](t, padded, atEnd), make([]int16, padded+32)
	for i := range s {
		s[i] = int32(r.Uint32()) >> r.IntN(20)
	}
	for i := range keyScale {
		keyScale[i], valueScale[i] = r.Float32(), r.Float32()
	}
	const q = 0x1p-28
	top, sum, unit := SoftenI16(p, x, s, keyScale, valueScale, n, q)

	wantTop, wantSum, total := math.Inf(-1), 0.0, 0.0
	score := func(j int) float64 { return float64(s[j]) * q * float64(keyScale[j]) }
	for j := range n {
		wantTop = max(wantTop, score(j))
	}
	for j := range n {
		e := math.Exp(score(j) - wantTop)
		wantSum += e
		total += e * float64(valueScale[j])
	}
	if math.Abs(float64(top)-wantTop) > 1e-5 || math.Abs(float64(sum)/wantSum-1) > 1e-5 || math.Abs(float64(unit)*32767/total-1) > 1e-5 {
		t.Fatalf("top %v, sum %v, unit %v, want %v, %v, %v", top, sum, unit, wantTop, wantSum, total/32767)
	}
	for j := range p {
		want := 0.0
		if j < n {
			want = math.Exp(score(j)-wantTop) * float64(valueScale[j]) / total * 32767
		}
		if d := math.Abs(float64(p[j]) - want); d > 0.51+1e-5*want {
			t.Fatalf("weight %d is %d, want %v", j, p[j], want)
		}
	}

	for i := n; i < padded; i++ {
		s[i] = math.MaxInt32
	}
	for i := range long {
		long[i] = 5
	}
	top2, sum2, unit2 := SoftenI16(long, x, s, keyScale, valueScale, n, q)
	if top2 != top || sum2 != sum || unit2 != unit {
		t.Fatalf("what lies behind the scores changes top, sum and unit")
	}
	wantEqual(t, "weights", long, append(clone(p), make([]int16, 32)...))

	// No value counts, then one score that is not a number.
	if _, _, unit := SoftenI16(p, x, s, keyScale, make([]float32, n), n, q); unit != 0 {
		t.Fatalf("unit %v of no weight", unit)
	}
	wantEqual(t, "no weights", p, make([]int16, padded))
	keyScale[n/2] = float32(math.NaN())
	if _, sum, unit := SoftenI16(p, x, s, keyScale, valueScale, n, q); sum == sum || unit == unit {
		t.Fatalf("sum %v, unit %v, want NaN", sum, unit)
	}
}

func TestMergeI32(t *testing.T) {
	forEachLength(t, func(t *testing.T, n int, atEnd bool) {
		r := rng(n)
		in, y, d := odd(t, r, n, atEnd), cputest.Guarded[float32](t, n, atEnd), cputest.Guarded[int32](t, n, atEnd)
		want := make([]float32, n)
		const own, unit, other = 0.3, 0x1.23456p-20, 0.7
		for i := range d {
			d[i] = int32(r.Uint32()) >> r.IntN(30)
			kept := float32(float64(in[i]) * float64(float32(own)))
			more := float32(float64(float32(d[i])) * unit)
			want[i] = float32(float64(kept) + float64(float32(float64(more)*float64(float32(other)))))
		}
		copy(y, in)
		MergeI32(y, d, own, unit, other)
		wantSame(t, "MergeI32", y, want)
	})
}
