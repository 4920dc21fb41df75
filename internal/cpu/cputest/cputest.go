// Package cputest helps to test kernels: it runs one test body on every
// instruction-set tier, and gives operands between pages that fault.
package cputest

import (
	"testing"

	"github.com/lamina-llm/lamina/internal/cpu"
)

// ForEachTier runs f as a subtest per tier that this machine has, the pure-Go
// reference first. Tiers are process-wide, so f must not call t.Parallel.
func ForEachTier(t *testing.T, f func(t *testing.T, tier cpu.Tier)) {
	t.Helper()
	for _, tier := range cpu.Tiers() {
		t.Run("tier="+tier.String(), func(t *testing.T) {
			defer cpu.Force(tier)()
			f(t, tier)
		})
	}
}

// BenchEachTier is ForEachTier for benchmarks.
func BenchEachTier(b *testing.B, f func(b *testing.B, tier cpu.Tier)) {
	b.Helper()
	for _, tier := range cpu.Tiers() {
		b.Run("tier="+tier.String(), func(b *testing.B) {
			defer cpu.Force(tier)()
			f(b, tier)
		})
	}
}
