package kern

import (
	"fmt"
	"testing"

	"github.com/lamina-llm/lamina/internal/cpu"
	"github.com/lamina-llm/lamina/internal/cpu/cputest"
)

// TestSums compares with the element-wise kernels, one after another.
func TestSums(t *testing.T) {
	for _, rows := range []int{1, 7, 8, 9, 16, 31, 32, 64} {
		for _, n := range []int{1, 2, 5} {
			for flags := range 4 {
				t.Run(fmt.Sprintf("rows=%d/n=%d/flags=%d", rows, n, flags), func(t *testing.T) {
					r := rng(rows*8 + n)
					const ld = 3
					ldy := rows + 2*(rows&1)
					s := &Sums{
						D: cputest.Guarded[int32](t, n*rows, true), Rows: rows, N: n, Zero: 37, Ld: ld, First: flags&1 != 0,
						Sum: cputest.Guarded[int32](t, (n-1)*ld+1, true), Scale: normals(t, r, (n-1)*ld+1, true),
					}
					for i := range s.D {
						s.D[i] = int32(r.Uint32()) >> (2 + r.IntN(30))
					}
					for i := range s.Sum {
						s.Sum[i] = int32(r.IntN(60000) - 30000)
					}
					if flags&2 != 0 {
						s.Row = normals(t, r, rows, true)
					}
					in := odd(t, r, (n-1)*ldy+rows, true)
					want := clone(in)
					for k := range n {
						y := want[k*ldy : k*ldy+rows]
						if s.First {
							clear(y)
						}
						accumulateCenteredGeneric(y, s.D[k*rows:(k+1)*rows], s.Zero*s.Sum[k*ld], s.Scale[k*ld])
						if s.Row != nil {
							mulGeneric(y, y, s.Row)
						}
					}
					cputest.ForEachTier(t, func(t *testing.T, _ cpu.Tier) {
						y := cputest.Guarded[float32](t, len(in), true)
						copy(y, in)
						s.AddTo(y, ldy)
						wantSame(t, "results", y, want)
					})
				})
			}
		}
	}
}

// TestMatMulTo compares with the product and the sums one after the other.
func TestMatMulTo(t *testing.T) {
	for _, rows := range []int{7, 32, 39, 64} {
		for _, cols := range []int{64, 256, 576} {
			for _, n := range []int{1, 9, 10, 16, 21} {
				for flags := range 4 {
					t.Run(fmt.Sprintf("rows=%d/cols=%d/n=%d/flags=%d", rows, cols, n, flags), func(t *testing.T) {
						r := rng(rows*8 + n)
						const ld = 3
						ldx, ldy := cols+16*(n&1), rows+2*(rows&1)
						w, x := panel(t, r, rows*cols, (n-1)*ldx+cols, flags == 0, true)
						s := &Sums{
							D: cputest.Guarded[int32](t, n*rows, true), Rows: rows, N: n, Zero: 37, Ld: ld, First: flags&1 != 0,
							Sum: cputest.Guarded[int32](t, (n-1)*ld+1, true), Scale: normals(t, r, (n-1)*ld+1, true),
						}
						for i := range s.Sum {
							s.Sum[i] = int32(r.IntN(60000) - 30000)
						}
						if flags&2 != 0 {
							s.Row = normals(t, r, rows, true)
						}
						in := odd(t, r, (n-1)*ldy+rows, true)
						cputest.ForEachTier(t, func(t *testing.T, _ cpu.Tier) {
							y, want := cputest.Guarded[float32](t, len(in), true), clone(in)
							copy(y, in)
							s.MatMulTo(y, ldy, w, x, cols, ldx)
							MatMulU8S8(s.D, w, x, rows, cols, n, ldx)
							s.AddTo(want, ldy)
							wantSame(t, "results", y, want)
						})
					})
				}
			}
		}
	}
}

// TestSumPanels compares with adding panel after panel.
func TestSumPanels(t *testing.T) {
	for _, rows := range []int{1, 7, 8, 9, 16, 24, 31, 64} {
		for _, panels := range []int{1, 2, 3, 32} {
			t.Run(fmt.Sprintf("rows=%d/panels=%d", rows, panels), func(t *testing.T) {
				r := rng(rows*64 + panels)
				stride := rows + 3*(rows&1)
				d, center := cputest.Guarded[int32](t, (panels-1)*stride+rows, true), cputest.Guarded[int32](t, panels, true)
				for i := range d {
					d[i] = int32(r.Uint32()) >> (2 + r.IntN(30))
				}
				for i := range center {
					center[i] = int32(r.IntN(1<<20) - 1<<19)
				}
				scale, row := normals(t, r, panels, true), normals(t, r, rows, true)
				want := make([]float32, rows)
				for p := range panels {
					accumulateCenteredGeneric(want, d[p*stride:][:rows], center[p], scale[p])
				}
				mulGeneric(want, want, row)
				cputest.ForEachTier(t, func(t *testing.T, _ cpu.Tier) {
					y := cputest.Guarded[float32](t, rows, true)
					for i := range y {
						y[i] = -1
					}
					SumPanels(y, d, stride, center, scale, row)
					wantSame(t, "sums", y, want)
				})
			})
		}
	}
}

// BenchmarkSums adds one panel of 64 rows for 128 tokens.
func BenchmarkSums(b *testing.B) {
	const rows, n = 64, 128
	s := &Sums{D: make([]int32, rows*n), Rows: rows, N: n, Zero: 3, Sum: make([]int32, n), Scale: make([]float32, n), Ld: 1}
	y := make([]float32, rows*n)
	cputest.BenchEachTier(b, func(b *testing.B, _ cpu.Tier) {
		b.SetBytes(rows * n * 12)
		for b.Loop() {
			s.AddTo(y, rows)
		}
	})
}
