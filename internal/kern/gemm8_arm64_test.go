//go:build !purego

package kern

import (
	"fmt"
	"testing"
)

// TestMulKernels runs the int8 kernels that processors with FEAT_DotProd pass by.
func TestMulKernels(t *testing.T) {
	for _, extreme := range []bool{false, true} {
		for _, rows := range []int{4, 8, 36} {
			t.Run(fmt.Sprintf("rows=%d/extreme=%v", rows, extreme), func(t *testing.T) {
				const cols, n, ldx = 192, 4, 208
				w, x := panel(t, rng(rows), rows*cols, (n-1)*ldx+cols, extreme, true)
				dst := guarded[int32](t, rows*n, true)
				tileMul(&dst[0], &w[0], &x[0], rows, cols, rows, ldx)
				wantProducts(t, dst, w, x, rows, cols, n, ldx)
				dotsMul(dst[:rows-1], w, x[:cols])
				wantProducts(t, dst, w, x, rows-1, cols, 1, ldx)
			})
		}
	}
}
