package kern

import (
	"fmt"
	"testing"

	"github.com/lamina-llm/lamina/internal/cpu"
	"github.com/lamina-llm/lamina/internal/cpu/cputest"
)

// bench runs f on every tier for every n; bytes is what an element of the main
// operands occupies.
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

// widths are those of a small and a large hidden state.
var widths = []int{576, 4096}

func floats(n int) []float32 {
	x := make([]float32, n)
	r := rng(n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

func BenchmarkDot(b *testing.B) {
	x, y := floats(4096), floats(4096)
	bench(b, 8, widths, func(n int) { Dot(x[:n], y) })
}

func BenchmarkAxpy(b *testing.B) {
	x, y := floats(4096), floats(4096)
	bench(b, 8, widths, func(n int) { Axpy(y[:n], 1e-9, x) })
}

func BenchmarkMulInto(b *testing.B) {
	x, y, z := floats(4096), floats(4096), floats(4096)
	bench(b, 12, widths, func(n int) { MulInto(z[:n], x, y) })
}

func BenchmarkRMSNorm(b *testing.B) {
	x, w, y := floats(4096), floats(4096), floats(4096)
	bench(b, 12, widths, func(n int) { RMSNorm(y, x[:n], w, 1e-5) })
}

func BenchmarkRoPE(b *testing.B) {
	x, c, s := floats(128), floats(64), floats(64)
	bench(b, 4, []int{64, 128}, func(n int) { RoPE(x[:n], c[:n/2], s) })
}

func BenchmarkSwiGLU(b *testing.B) {
	g, u, y := floats(4096), floats(4096), floats(4096)
	bench(b, 12, widths, func(n int) { SwiGLU(y[:n], g, u) })
}

func BenchmarkSoftmax(b *testing.B) {
	in, x := floats(4096), floats(4096)
	bench(b, 4, []int{256, 4095}, func(n int) {
		copy(x, in[:n])
		Softmax(x[:n])
	})
}

func BenchmarkMaxIndex(b *testing.B) {
	x := floats(49152)
	bench(b, 4, []int{49152}, func(n int) { MaxIndex(x[:n]) })
}

func BenchmarkF16ToF32(b *testing.B) {
	x, h := floats(4096), make([]uint16, 4096)
	F32ToF16(h, x)
	bench(b, 6, widths, func(n int) { F16ToF32(x[:n], h) })
}

func BenchmarkF32ToF16(b *testing.B) {
	x, h := floats(4096), make([]uint16, 4096)
	bench(b, 6, widths, func(n int) { F32ToF16(h[:n], x) })
}

func BenchmarkQuantizeI8(b *testing.B) {
	x, q := floats(4096), make([]int8, 4096)
	bench(b, 5, widths, func(n int) { QuantizeI8(q, x[:n]) })
}

func BenchmarkAccumulateCentered(b *testing.B) {
	y, d := floats(4096), make([]int32, 4096)
	bench(b, 12, widths, func(n int) { accumulateCentered(y[:n], d[:n], 0, 1e-9) })
}

// BenchmarkAttention runs the steps of attention for a block of 256 keys of 64
// elements: the products of queries or of their weights, the softmax.
func BenchmarkAttention(b *testing.B) {
	const size, n, ld = 64, 256, 256 * StripLanes
	k, s, x := words(b, 1, n*size, true), make([]int32, 64*n), make([]float32, n)
	keys, values, p := make([]int16, n*size), make([]int16, n*size), make([]int16, 64*n)
	scale := floats(n)
	run := func(name string, rows, macs int, f func()) {
		b.Run(fmt.Sprintf("op=%s/rows=%d", name, rows), func(b *testing.B) {
			cputest.BenchEachTier(b, func(b *testing.B, _ cpu.Tier) {
				for b.Loop() {
					f()
				}
				b.ReportMetric(float64(macs)*float64(b.N)/b.Elapsed().Seconds()/1e9, "Gmac/s")
			})
		})
	}
	for _, rows := range []int{1, 3, 4, 64} {
		run("scores", rows, rows*n*size, func() {
			MatMulI16(s, n, k, size, keys, size*StripLanes, rows, n/StripLanes, size, false)
		})
		run("sums", rows, rows*n*size, func() {
			MatMulI16(s, size, p, n, values, ld, rows, size/StripLanes, n, false)
		})
	}
	run("softmax", 1, 0, func() { SoftenI16(p[:n], x, s, scale, scale, n, 1e-9) })
	run("merge", 1, 0, func() { MergeI32(x[:size], s, 0.5, 1e-9, 0.5) })
}

func BenchmarkMatMulF32(b *testing.B) {
	const rows, cols = 576, 576
	w := floats(rows * cols)
	for _, n := range []int{1, 64} {
		x, dst := floats(n*cols), make([]float32, n*rows)
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			cputest.BenchEachTier(b, func(b *testing.B, _ cpu.Tier) {
				for b.Loop() {
					MatMulF32(dst, w, x, rows, cols, n)
				}
				b.ReportMetric(float64(rows*cols*n)*float64(b.N)/b.Elapsed().Seconds()/1e9, "Gmac/s")
			})
		})
	}
}

// BenchmarkMatMulU8S8 multiplies one panel, which fits the second-level cache,
// with n tokens.
func BenchmarkMatMulU8S8(b *testing.B) {
	const rows, cols = 1024, 512
	for _, n := range []int{1, 2, 4, 8, 12, 16, 32, 64, 256, 512} {
		w, x := panel(b, rng(1), rows*cols, n*cols, false, true)
		dst := make([]int32, rows*n)
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
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
