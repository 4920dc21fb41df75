package kern

import (
	"fmt"
	"math/bits"
	"testing"

	"github.com/lamina-llm/lamina/internal/cpu"
	"github.com/lamina-llm/lamina/internal/cpu/cputest"
)

// TestHadamard compares with the definition, and every tier bit for bit with
// the portable kernels.
func TestHadamard(t *testing.T) {
	want := map[string][]float32{} // of the first tier
	cputest.ForEachTier(t, func(t *testing.T, _ cpu.Tier) {
		for block := 1; block <= 1024; block *= 2 {
			for _, runs := range []int{1, 3} {
				for _, atEnd := range []bool{true, false} {
					n := block * runs
					x := normals(t, rng(n), n, atEnd)
					in := append([]float32(nil), x...)
					Hadamard(x, block)
					for i := range x {
						sum, mag := 0.0, 0.0
						for j, v := range in[i/block*block:][:block] {
							if bits.OnesCount(uint(i%block&j))%2 == 1 {
								v = -v
							}
							sum, mag = sum+float64(v), mag+max(float64(v), -float64(v))
						}
						wantClose(t, fmt.Sprintf("element %d of %d", i, block), x[i], sum, mag, block)
					}
					key := fmt.Sprint(block, runs)
					if want[key] == nil {
						want[key] = append([]float32(nil), x...)
					}
					wantSame(t, "block "+key, x, want[key])
				}
			}
		}
	})
}

func BenchmarkHadamard(b *testing.B) {
	for _, n := range []int{512, 4096} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			x := make([]float32, n)
			b.SetBytes(int64(4 * n))
			for b.Loop() {
				Hadamard(x, n)
			}
		})
	}
}
