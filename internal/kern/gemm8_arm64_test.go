//go:build !purego

package kern

import (
	"fmt"
	"testing"

	"github.com/lamina-llm/lamina/internal/cpu/cputest"
)

// TestMulKernels runs the int8 kernels that processors with FEAT_DotProd pass by.
func TestMulKernels(t *testing.T) {
	for _, extreme := range []bool{false, true} {
		for _, rows := range []int{4, 8, 36} {
			t.Run(fmt.Sprintf("rows=%d/extreme=%v", rows, extreme), func(t *testing.T) {
				const cols, n, ldx = 192, 4, 208
				w, x := panel(t, rng(rows), rows*cols, (n-1)*ldx+cols, extreme, true)
				dst := cputest.Guarded[int32](t, rows*n, true)
				tileMul(&dst[0], &w[0], &x[0], rows, cols, rows, ldx)
				wantProducts(t, dst, w, x, rows, cols, n, ldx)
				dotsMul(dst[:rows-1], w, x[:cols])
				wantProducts(t, dst, w, x, rows-1, cols, 1, ldx)
			})
		}
	}
}

// TestMulNibbles does so for weights in nibbles.
func TestMulNibbles(t *testing.T) {
	for name, nib := range nibbleKinds() {
		t.Run(name, func(t *testing.T) {
			const rows, groups = 13, 3
			r := rng(rows)
			w := cputest.Guarded[byte](t, nib.BlockBytes(rows, groups), true)
			for i := range w {
				w[i] = byte(r.Uint32())
			}
			x := cputest.Guarded[int8](t, groups*lanes, true)
			for i := range x {
				x[i] = int8(r.IntN(255) - 127)
			}
			got, want := cputest.Guarded[int32](t, rows, true), make([]int32, rows)
			dotsNibblesMul(&got[0], &w[0], &x[0], rows, groups, nib)
			dotsNibblesGeneric(want, w, x, groups, nib)
			wantEqual(t, "product", got, want)
		})
	}
}
