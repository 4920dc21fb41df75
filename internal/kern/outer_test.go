package kern

import (
	"fmt"
	"math"
	"testing"

	"github.com/lamina-llm/lamina/internal/cpu"
	"github.com/lamina-llm/lamina/internal/cpu/cputest"
)

// TestOuterF32 compares with sums in float64, for a matrix and its transpose.
func TestOuterF32(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T, _ cpu.Tier) {
		for _, k := range []int{0, 1, 2, 3, 17, 256} {
			for _, turned := range []bool{false, true} {
				for _, add := range []bool{false, true} {
					for _, atEnd := range []bool{true, false} {
						t.Run(fmt.Sprintf("k=%d/turned=%v/add=%v/end=%v", k, turned, add, atEnd), func(t *testing.T) {
							testOuterF32(t, k, turned, add, atEnd)
						})
					}
				}
			}
		}
	})
}

func testOuterF32(t *testing.T, k int, turned, add, atEnd bool) {
	const ldd = OuterCols + 3
	r := rng(k)
	sa, ka := k, 1
	if turned {
		sa, ka = 1, OuterRows
	}
	a, b := normals(t, r, OuterRows*k, atEnd), normals(t, r, k*OuterCols, atEnd)
	dst := normals(t, r, (OuterRows-1)*ldd+OuterCols, atEnd)
	before := append([]float32(nil), dst...)
	OuterF32(dst, ldd, a, sa, ka, b, k, add)
	for at, got := range dst {
		i, j := at/ldd, at%ldd
		if j >= OuterCols {
			if got != before[at] {
				t.Fatalf("element %d between the rows was changed", at)
			}
			continue
		}
		want, mag := 0.0, 1e-30
		if add {
			want = float64(before[at])
			mag += math.Abs(want)
		}
		for p := range k {
			x := float64(a[i*sa+p*ka]) * float64(b[p*OuterCols+j])
			want += x
			mag += math.Abs(x)
		}
		wantClose(t, fmt.Sprintf("row %d, column %d", i, j), got, want, mag, k+1)
	}
}

func BenchmarkOuterF32(b *testing.B) {
	const k = 256
	cputest.BenchEachTier(b, func(b *testing.B, _ cpu.Tier) {
		x, y, dst := make([]float32, OuterRows*k), make([]float32, k*OuterCols), make([]float32, OuterRows*OuterCols)
		for b.Loop() {
			OuterF32(dst, OuterCols, x, k, 1, y, k, true)
		}
		b.ReportMetric(2*OuterRows*OuterCols*k*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFlop/s")
	})
}
