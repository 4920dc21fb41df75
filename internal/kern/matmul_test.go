package kern

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/lamina-llm/lamina/internal/cpu"
	"github.com/lamina-llm/lamina/internal/cpu/cputest"
)

func TestMatMulF32(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T, _ cpu.Tier) {
		for _, rows := range []int{0, 1, 3, 4, 5, 8, 13} {
			for _, cols := range []int{0, 1, 7, 8, 9, 16, 17, 33, 64, 100} {
				for _, n := range []int{0, 1, 2, 3, 4, 5, 6, 9} {
					for _, atEnd := range []bool{true, false} {
						t.Run(fmt.Sprintf("rows=%d/cols=%d/n=%d/end=%v", rows, cols, n, atEnd), func(t *testing.T) {
							testMatMulF32(t, rows, cols, n, atEnd)
						})
					}
				}
			}
		}
	})
}

func testMatMulF32(t *testing.T, rows, cols, n int, atEnd bool) {
	r := rng(cols)
	w, x := normals(t, r, rows*cols, atEnd), normals(t, r, n*cols, atEnd)
	dst := cputest.Guarded[float32](t, n*rows, atEnd)
	MatMulF32(dst, w, x, rows, cols, n)
	for tok := range n {
		for row := range rows {
			wr, xt := w[row*cols:(row+1)*cols], x[tok*cols:(tok+1)*cols]
			want, mag := dot64(wr, xt)
			got := dst[tok*rows+row]
			wantClose(t, fmt.Sprintf("row %d, token %d", row, tok), got, want, mag, cols)
			var alone [1]float32
			if MatMulF32(alone[:], wr, xt, 1, cols, 1); alone[0] != got {
				t.Fatalf("row %d, token %d: %x in the batch, %x alone", row, tok, got, alone[0])
			}
		}
	}
}

// panel fills guarded operands of an int8 product: random, or the extremes that
// overflow a 16-bit sum of pairs if anything does.
func panel(t testing.TB, r *rand.Rand, nw, nx int, extreme, atEnd bool) ([]byte, []int8) {
	w, x := cputest.Guarded[byte](t, nw, atEnd), cputest.Guarded[int8](t, nx, atEnd)
	for i := range w {
		w[i] = byte(r.IntN(128))
		if extreme {
			w[i] = 127
		}
	}
	sign := int8(-128)
	if r.IntN(2) == 0 {
		sign = 127
	}
	for i := range x {
		x[i] = int8(r.IntN(256) - 128)
		if extreme {
			x[i] = sign
		}
	}
	return w, x
}

func wantProducts(t *testing.T, dst []int32, w []byte, x []int8, rows, cols, n, ldx int) {
	t.Helper()
	for tok := range n {
		for row := range rows {
			var want int64
			for i := range cols {
				want += int64(w[row*cols+i]) * int64(x[tok*ldx+i])
			}
			if got := dst[tok*rows+row]; int64(got) != want {
				t.Fatalf("row %d, token %d: got %d, want %d", row, tok, got, want)
			}
		}
	}
}

func TestDotsU8S8(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T, _ cpu.Tier) {
		for _, cols := range []int{0, 64, 128, 192, 256, 320, 512, 576} {
			for _, rows := range []int{0, 1, 2, 3, 4, 5, 7, 8, 9, 16, 33} {
				for _, extreme := range []bool{false, true} {
					t.Run(fmt.Sprintf("rows=%d/cols=%d/extreme=%v", rows, cols, extreme), func(t *testing.T) {
						for _, atEnd := range []bool{true, false} {
							w, x := panel(t, rng(rows), rows*cols, cols, extreme, atEnd)
							dst := cputest.Guarded[int32](t, rows, atEnd)
							DotsU8S8(dst, w, x, rows, cols)
							wantProducts(t, dst, w, x, rows, cols, 1, cols)
						}
					})
				}
			}
		}
	})
}

func TestMatMulU8S8(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T, _ cpu.Tier) {
		for _, cols := range []int{0, 64, 192, 512, 576, 1088} {
			for _, rows := range []int{0, 1, 5, 16, 31, 32, 33, 70} {
				for _, n := range []int{0, 1, 2, 3, 4, 7, 9, 10, 11, 12, 13, 17, 31} {
					t.Run(fmt.Sprintf("rows=%d/cols=%d/n=%d", rows, cols, n), func(t *testing.T) {
						atEnd, ldx := (rows+n)%2 == 0, cols+n%2*16
						nx := max(0, (n-1)*ldx+cols)
						w, x := panel(t, rng(rows), rows*cols, nx, cols == 576, atEnd)
						dst := cputest.Guarded[int32](t, rows*n, atEnd)
						for i := range dst {
							dst[i] = -1
						}
						MatMulU8S8(dst, w, x, rows, cols, n, ldx)
						wantProducts(t, dst, w, x, rows, cols, n, ldx)
					})
				}
			}
		}
	})
}
