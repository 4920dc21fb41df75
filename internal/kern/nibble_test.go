package kern

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/lamina-llm/lamina/internal/cpu"
	"github.com/lamina-llm/lamina/internal/cpu/cputest"
)

// trellis is the 8-state machine of H.266.
var trellis = [8][2]uint8{{0, 2}, {7, 5}, {1, 3}, {6, 4}, {2, 0}, {5, 7}, {3, 1}, {4, 6}}

// nibbleKinds are plain and dependent weights with every number of planes.
func nibbleKinds() map[string]*Nibbles {
	kinds := map[string]*Nibbles{}
	for planes := range 4 {
		var plain, pair [2][16]uint8
		for k := range 16 {
			plain[0][k], plain[1][k] = uint8(k), uint8(k)
			pair[0][k], pair[1][k] = uint8(2*k+1), uint8(2*k)
		}
		kinds[fmt.Sprintf("plain/planes=%d", planes)] = NewNibbles(plain, nil, planes, 4, 0)
		if planes < 3 {
			kinds[fmt.Sprintf("dependent/planes=%d", planes)] = NewNibbles(pair, &trellis, planes, 5, []int{48, 32, 0}[planes])
		}
	}
	return kinds
}

// reachable returns rows of random levels that the trellis can reach from the
// given states, which it moves on.
func reachable(r *rand.Rand, t *Nibbles, state []uint8, rows int, bias uint8) []byte {
	level := make([]byte, rows*len(state))
	for i := range level {
		s := &state[i%len(state)]
		k := r.IntN(16)
		level[i] = t.level[int(*s&1)*16+k] - bias + uint8(r.IntN(1<<t.planes))<<t.shift
		if t.step != [16]uint8{} {
			*s = trellis[*s][k&1]
		}
	}
	return level
}

// TestTrellisIsLinear also shows that another trellis keeps the split form.
func TestTrellisIsLinear(t *testing.T) {
	if !linear(&trellis) {
		t.Error("the trellis of H.266 is")
	}
	other := trellis
	other[3][0], other[3][1] = other[3][1], other[3][0]
	if linear(&other) {
		t.Error("another one is not")
	}
}

// TestNibbles packs two blocks of weights one after the other and gets levels
// and products back from both, between guard pages.
func TestNibbles(t *testing.T) {
	forEachForm(t, func(t *testing.T) { testNibbles(t) })
}

// forEachForm runs f in every form that some tier packs.
func forEachForm(t *testing.T, f func(t *testing.T)) {
	seen := map[bool]bool{}
	cputest.ForEachTier(t, func(t *testing.T, _ cpu.Tier) {
		if !seen[pairs()] {
			seen[pairs()] = true
			f(t)
		}
	})
}

func testNibbles(t *testing.T) {
	for name, nib := range nibbleKinds() {
		bias, pack := nib.bias, nib.Packer()
		for _, rows := range []int{1, 2, 7, 8, 9, 16, 31, 64, 67, 131} {
			for groups := 1; groups <= 4; groups++ {
				t.Run(fmt.Sprintf("%s/rows=%d/groups=%d", name, rows, groups), func(t *testing.T) {
					r := rng(rows*10 + groups)
					width := groups * 64
					states, packing := make([]uint8, width), make([]uint8, width)
					for range 2 {
						level := reachable(r, nib, states, rows, bias)
						w := cputest.Guarded[byte](t, nib.BlockBytes(rows, groups), rows%2 == 0)
						pack.Pack(w, level, packing, rows, groups)
						wantEqual(t, "states", packing, states)
						for i := range level {
							level[i] += bias
						}
						x := cputest.Guarded[int8](t, width, rows%2 == 0)
						for i := range x {
							x[i] = int8(r.IntN(255) - 127)
						}
						want := make([]int32, rows)
						for i, v := range level {
							want[i/width] += int32(v) * int32(x[i%width])
						}
						cputest.ForEachTier(t, func(t *testing.T, _ cpu.Tier) {
							for _, atEnd := range []bool{false, true} {
								got, dots := cputest.Guarded[byte](t, len(level), atEnd), cputest.Guarded[int32](t, rows, atEnd)
								ExpandNibbles(got, w, rows, groups, nib)
								wantEqual(t, "level", got, level)
								DotsNibbles(dots, w, x, rows, groups, nib)
								wantEqual(t, "product", dots, want)
							}
						})
					}
				})
			}
		}
	}
}

// BenchmarkDotsNibbles multiplies more weights than the caches hold.
func BenchmarkDotsNibbles(b *testing.B) {
	const rows, groups, blocks = 64, 3, 8192
	x := make([]int8, groups*64)
	for i := range x {
		x[i] = int8(i*37%255 - 127)
	}
	dst := make([]int32, rows)
	for _, planes := range []int{0, 1, 2} {
		b.Run(fmt.Sprintf("planes=%d", planes), func(b *testing.B) {
			cputest.BenchEachTier(b, func(b *testing.B, _ cpu.Tier) {
				nib := nibbleKinds()[fmt.Sprintf("dependent/planes=%d", planes)]
				size := nib.BlockBytes(rows, groups)
				w := make([]byte, size*blocks)
				r := rng(planes)
				for i := range w {
					w[i] = byte(r.Uint32())
				}
				b.SetBytes(int64(size))
				i := 0
				for b.Loop() {
					DotsNibbles(dst, w[i%blocks*size:], x, rows, groups, nib)
					i++
				}
				b.ReportMetric(rows*groups*64*float64(b.N)/b.Elapsed().Seconds()/1e9, "Gweights/s")
			})
		})
	}
}

// BenchmarkPack packs one block.
func BenchmarkPack(b *testing.B) {
	const rows, groups = 64, 3
	nib := nibbleKinds()["dependent/planes=1"]
	level := reachable(rng(1), nib, make([]uint8, groups*64), rows, nib.bias)
	w, pack := make([]byte, nib.BlockBytes(rows, groups)), nib.Packer()
	b.SetBytes(int64(len(level)))
	for b.Loop() {
		pack.Pack(w, level, make([]uint8, groups*64), rows, groups)
	}
}
