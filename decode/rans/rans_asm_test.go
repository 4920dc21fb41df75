//go:build !purego && (amd64 || arm64)

package rans

import (
	"math/rand/v2"
	"testing"

	"github.com/lamina-llm/lamina/internal/cpu"
	"github.com/lamina-llm/lamina/internal/cpu/cputest"
)

// TestVectorRuns: what the other tests compare with the reference really is the
// vector kernel, whatever the tier was when the matrix was made.
func TestVectorRuns(t *testing.T) {
	for _, mode := range []Mode{Scalar, DQ} {
		for _, made := range cpu.Tiers() {
			restore := cpu.Force(made)
			s := newSample(t, rand.New(rand.NewPCG(50, 51)), &Side{Mode: mode, Band: 20, Depth: 1}, 20, 256, 2, 1)
			restore()
			cputest.ForEachTier(t, func(t *testing.T, tier cpu.Tier) {
				var scratch Scratch
				dst := [][]int32{make([]int32, 32)}
				if err := s.m.Dots(0, make([]int8, 256), []int32{0}, dst, &scratch); err != nil {
					t.Fatal(err)
				}
				if ran := scratch.args.groups == 4; ran != (tier != cpu.Generic) {
					t.Errorf("mode %v: vector kernel ran: %v", mode, ran)
				}
			})
		}
	}
}
