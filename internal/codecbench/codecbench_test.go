package codecbench

import (
	"context"
	"testing"

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/cpu"
	"github.com/lamina-llm/lamina/internal/cpu/cputest"
)

// TestRate holds what the codec reaches on a Gaussian matrix with everything
// counted, a little above the figures of docs/BENCHMARKS.md: columns are
// shorter here, so their states weigh more.
func TestRate(t *testing.T) {
	for _, c := range []struct {
		mode rans.Mode
		bits float64
		gap  float64
	}{{rans.DQ, 2, 0.14}, {rans.DQ, 3, 0.14}, {rans.Scalar, 2, 0.29}} {
		m, err := AtBits(context.Background(), c.mode, 1024, 512, c.bits, 2)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v", m.Rate)
		if r := m.Rate; r.Gap > c.gap || r.Bits < c.bits-0.05 || r.Bits > c.bits+0.05 {
			t.Errorf("%v at %.1f bits: %.3f bits, %.3f above the bound, want at most %.3f", c.mode, c.bits, r.Bits, r.Gap, c.gap)
		}
		cputest.ForEachTier(t, func(t *testing.T, tier cpu.Tier) {
			k, err := Speed(m, 1)
			if err != nil {
				t.Fatal(err)
			}
			if k.Tier != tier.String() || k.Rate <= 0 || k.Low > k.High {
				t.Errorf("%+v", k)
			}
		})
	}
}
