package kern

import (
	"fmt"
	"math"
	"testing"

	"github.com/lamina-llm/lamina/internal/cpu"
	"github.com/lamina-llm/lamina/internal/cpu/cputest"
)

func TestMatMulF64(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T, _ cpu.Tier) {
		for _, rows := range []int{0, 1, 2, 3, 4, 5, 63, 64, 67} {
			for _, cols := range []int{0, 1, 3, 4, 5, 8, 9, 17, 255, 256, 263, 512} {
				for _, n := range []int{0, 1, 3, 4, 5, 9, 66} {
					for _, gap := range []int{0, 3} {
						t.Run(fmt.Sprintf("rows=%d/cols=%d/n=%d/gap=%d", rows, cols, n, gap), func(t *testing.T) {
							testMatMulF64(t, rows, cols, n, gap)
						})
					}
				}
			}
		}
	})
}

// testMatMulF64 compares with sums of small integers, which are exact, then
// checks that dividing a call changes nothing.
func testMatMulF64(t *testing.T, rows, cols, n, gap int) {
	r := rng(rows + cols)
	fill := func(count, width int, scale float64) []float64 {
		v := cputest.Guarded[float64](t, max(0, (count-1)*(width+gap)+width)*min(count, 1), true)
		for i := range v {
			v[i] = float64(r.IntN(33)-16) * scale
		}
		return v
	}
	for _, scale := range []float64{1, 1 / math.Pi} {
		w, x, dst := fill(rows, cols, scale), fill(n, cols, scale), fill(n, rows, 1)
		before := append([]float64(nil), dst...)
		MatMulF64(dst, rows+gap, w, cols+gap, x, cols+gap, rows, cols, n)
		for i := range dst {
			tok, row := i/(rows+gap), i%(rows+gap)
			if row >= rows {
				if dst[i] != before[i] {
					t.Fatalf("element %d between the rows was changed", i)
				}
				continue
			}
			if cols == 0 {
				continue
			}
			wr, xt := w[row*(cols+gap):][:cols], x[tok*(cols+gap):][:cols]
			want := before[i]
			for k := range wr {
				want += wr[k] * xt[k]
			}
			if d := math.Abs(dst[i] - want); scale == 1 && d != 0 || d > 1e-11 {
				t.Fatalf("row %d, token %d: %v, want %v", row, tok, dst[i], want)
			}
			alone := []float64{before[i]}
			if MatMulF64(alone, 1, wr, cols, xt, cols, 1, cols, 1); alone[0] != dst[i] {
				t.Fatalf("row %d, token %d: %v in the batch, %v alone", row, tok, dst[i], alone[0])
			}
		}
	}
}

// BenchmarkMatMulF64 takes small matrices, and a few rows of large ones.
func BenchmarkMatMulF64(b *testing.B) {
	for _, size := range [][3]int{{512, 512, 512}, {4096, 1024, 64}} {
		cols, rows, n := size[0], size[1], size[2]
		b.Run(fmt.Sprintf("%dx%dx%d", cols, rows, n), func(b *testing.B) {
			w, x, dst := make([]float64, rows*cols), make([]float64, n*cols), make([]float64, n*rows)
			for b.Loop() {
				MatMulF64(dst, rows, w, cols, x, cols, rows, cols, n)
			}
			b.ReportMetric(2*float64(rows*cols*n)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFlop/s")
		})
	}
}

// TestRotate compares with the rotations one after another, by the book.
func TestRotate(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T, _ cpu.Tier) {
		for _, n := range []int{0, 1, 2, 3, 17} {
			for _, top := range []int{n, n + 2} {
				r := rng(n)
				z := cputest.Guarded[float64](t, (top+1)*RotateLanes, true)
				for i := range z {
					z[i] = r.NormFloat64()
				}
				cs := cputest.Guarded[float64](t, 2*n, true)
				want := append([]float64(nil), z...)
				for k := range n {
					s, c := math.Sincos(r.Float64() * 7)
					cs[2*k], cs[2*k+1] = c, s
					i := top - 1 - k
					for lane := range RotateLanes {
						lo, hi := &want[i*RotateLanes+lane], &want[(i+1)*RotateLanes+lane]
						*lo, *hi = c**lo-s**hi, s**lo+c**hi
					}
				}
				Rotate(z, cs, top)
				for i := range z {
					if math.Abs(z[i]-want[i]) > 1e-14 {
						t.Fatalf("n %d, top %d: element %d is %v, want %v", n, top, i, z[i], want[i])
					}
				}
			}
		}
	})
}
