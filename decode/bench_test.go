package decode_test

import (
	"fmt"
	"testing"

	"github.com/lamina-llm/lamina/decode"
	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/cpu"
	"github.com/lamina-llm/lamina/internal/cpu/cputest"
	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/runtime/sched"
)

// BenchmarkApply multiplies the matrices of SmolLM2-135M on one worker and on two.
// Every call takes the next of enough copies that the caches do not hold them.
func BenchmarkApply(b *testing.B) {
	for _, c := range []struct{ rows, cols, band int }{
		{960, 576, 960}, {576, 576, 576}, {3072, 576, 1536}, {576, 1536, 576},
	} {
		m := encode(b, c.rows, c.cols, c.band, 1, rans.DQ, 1, false)
		copies := int(100<<20/m.UnpackedBytes()) + 1
		slabs := make([][]byte, copies)
		for i := range slabs {
			slabs[i] = make([]byte, m.UnpackedBytes())
		}
		for _, workers := range []int{1, 2} {
			pool := sched.New(workers)
			ws := workspace(m, 512, pool)
			unpack := func() []model.Linear { // in the form of the tier
				ops := make([]model.Linear, copies)
				for i := range ops {
					u, err := decode.Unpack(m, ws, slabs[i])
					if err != nil {
						b.Fatal(err)
					}
					ops[i] = u
				}
				return ops
			}
			for _, n := range []int{1, 2, 4, 8, 32, 512} {
				x, y := make([]float32, n*c.cols), make([]float32, n*c.rows)
				for i := range x {
					x[i] = float32(i*31%101 - 50)
				}
				for _, name := range []string{"coded", "unpacked"} {
					b.Run(fmt.Sprintf("shape=%dx%d/workers=%d/op=%s/n=%d", c.rows, c.cols, workers, name, n), func(b *testing.B) {
						cputest.BenchEachTier(b, func(b *testing.B, _ cpu.Tier) {
							ops := []model.Linear{decode.NewCoded(m, ws)}
							if name == "unpacked" {
								ops = unpack()
							}
							i := 0
							for b.Loop() {
								if err := ops[i%len(ops)].Apply(y, x, n); err != nil {
									b.Fatal(err)
								}
								i++
							}
							b.ReportMetric(float64(c.rows*c.cols)*float64(n*b.N)/b.Elapsed().Seconds()/1e9, "Gmac/s")
						})
					})
				}
			}
			pool.Close()
		}
	}
}
