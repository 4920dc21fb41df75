//go:build !purego

package rans

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestWithoutDot: the kernels give the same products without SDOT.
func TestWithoutDot(t *testing.T) {
	r := rand.New(rand.NewPCG(52, 53))
	act := make([]int8, 256)
	for j := range act {
		act[j] = int8(r.IntN(256) - 128)
	}
	for _, mode := range []Mode{Scalar, DQ} {
		for planes := range mode.MaxPlanes() + 1 {
			s := newSample(t, r, &Side{Mode: mode, Planes: uint8(planes), Band: 40, Depth: 1}, 40, 256, 3, 1)
			want, got := make([]int32, 48), make([]int32, 48)
			var scratch Scratch
			c, err := s.m.begin(0, &scratch)
			if err != nil {
				t.Fatal(err)
			}
			s.m.rowsGeneric(c, 0, 40, act, 7, want, nil, &scratch)
			scratch = Scratch{}
			if _, err := s.m.begin(0, &scratch); err != nil {
				t.Fatal(err)
			}
			kernel, stride := rowsScalarNEON, strideScalar
			if mode == DQ {
				kernel, stride = rowsDQNEON, strideDQ
			}
			s.m.vector(kernel, s.m.vec.neon, stride, c, 0, 40, act, 7, got, nil, &scratch)
			if !slices.Equal(got[:40], want[:40]) {
				t.Errorf("mode %v planes %d: products differ", mode, planes)
			}
		}
	}
}
