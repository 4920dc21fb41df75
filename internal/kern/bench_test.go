package kern

import (
	"fmt"
	"testing"

	"github.com/lamina-llm/lamina/internal/cpu"
	"github.com/lamina-llm/lamina/internal/cpu/cputest"
)

// bench runs f on every tier for every n; bytes is what one element moves.
func bench(b *testing.B, bytes int, ns []int, f func(n int)) {
	cputest.BenchEachTier(b, func(b *testing.B, _ cpu.Tier) {
		for _, n := range ns {
			b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
				b.SetBytes(int64(n * bytes))
				for b.Loop() {
					f(n)
				}
			})
		}
	})
}

func BenchmarkMatMulU8S8(b *testing.B) {
	const rows, cols = 1024, 512
	for _, n := range []int{1, 4, 8, 16, 64, 256} {
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			w, x := panel(b, rng(1), rows*cols, n*cols, false, true)
			dst := make([]int32, rows*n)
			cputest.BenchEachTier(b, func(b *testing.B, _ cpu.Tier) {
				b.SetBytes(rows * cols)
				for b.Loop() {
					MatMulU8S8(dst, w, x, rows, cols, n, cols)
				}
				b.ReportMetric(float64(rows*cols*n)*float64(b.N)/b.Elapsed().Seconds()/1e9, "Gmac/s")
			})
		})
	}
}
