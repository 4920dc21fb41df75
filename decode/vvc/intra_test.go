package vvc

import (
	"math/rand/v2"
	"testing"
)

// refSamples holds random reference samples p[x][y] of a block by position, as the standard writes them.
type refSamples struct {
	line      int
	top, left []int32 // as in predictor
}

func (r *refSamples) at(x, y int) int {
	if y == -1-r.line {
		return int(r.top[x+1+r.line])
	}
	return int(r.left[y+1+r.line])
}

// definitionAngular predicts sample by sample as clause 8.4.5.2.13 is written.
func definitionAngular(r *refSamples, w, h, mode int, luma, cubic bool, maxVal int) []int {
	table := map[int]int{0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 7: 10, 8: 12, 9: 14, 10: 16, 11: 18, 12: 20, 13: 23, 14: 26, 15: 29,
		16: 32, 17: 35, 18: 39, 19: 45, 20: 51, 21: 57, 22: 64, 23: 73, 24: 86, 25: 102, 26: 128, 27: 171, 28: 256, 29: 341, 30: 512, 31: 1024}
	vertical := mode >= 34
	k := 18 - mode
	if mode < 0 {
		k = 16 - mode // modes 0 and 1 are not angular
	}
	if vertical {
		k = mode - 50
	}
	angle := table[abs(k)]
	if k < 0 {
		angle = -angle
	}
	main := func(x int) int { return r.at(x, -1-r.line) }
	side := func(y int) int { return r.at(-1-r.line, y) }
	n, m := w, h
	if !vertical {
		main, side = side, main
		n, m = h, w
	}
	ref := func(x int) int { // ref[x] with x = 0 at the corner
		if x >= 0 || angle >= 0 {
			// beyond the reference the last sample repeats
			return main(min(x-1-r.line, 2*n-1))
		}
		inv := (512*32 + abs(angle)/2) / abs(angle)
		return side(-1 - r.line + min((-x*inv+256)>>9, m))
	}
	out := make([]int, w*h)
	for v := range m {
		idx := ((v + 1 + r.line) * angle) >> 5
		frac := ((v + 1 + r.line) * angle) & 31
		for u := range n {
			at := func(i int) int { return ref(u + idx + i + r.line) }
			var s int
			switch {
			case angle&31 == 0: // slopes of whole samples are not interpolated
				s = at(1)
			case !luma:
				s = ((32-frac)*at(1) + frac*at(2) + 16) >> 5
			default:
				f := [4]int{16 - frac/2, 32 - frac/2, 16 + frac/2, frac / 2}
				if cubic {
					for i, c := range cubicFilter[frac] {
						f[i] = int(c)
					}
				}
				s = (f[0]*at(0) + f[1]*at(1) + f[2]*at(2) + f[3]*at(3) + 32) >> 6
				s = min(max(s, 0), maxVal)
			}
			if vertical {
				out[v*w+u] = s
			} else {
				out[u*w+v] = s
			}
		}
	}
	return out
}

func randomRef(rng *rand.Rand, w, h, line, bits int) *refSamples {
	r := &refSamples{line: line, top: make([]int32, 2*w+1+line), left: make([]int32, 2*h+1+line)}
	for i := range r.top {
		r.top[i] = rng.Int32N(1 << bits)
	}
	for i := range r.left {
		r.left[i] = rng.Int32N(1 << bits)
	}
	r.left[0] = r.top[0]
	return r
}

// TestAngular compares every direction, size and reference line with the definition, without edge blending.
func TestAngular(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	var buf refBuffer
	for _, w := range []int{4, 8, 16, 32, 64} {
		for _, h := range []int{4, 8, 16, 32, 64} {
			for mode := 2; mode <= modeLast; mode++ {
				line := rng.IntN(3)
				kind := rng.IntN(3)
				r := randomRef(rng, w, h, line, 10)
				dst := make([]uint16, w*h)
				p := predictor{dst: dst, stride: w, w: w, h: h, top: r.top, left: r.left, line: line, maxVal: 1023}
				p.angular(wideMode(w, h, mode), kind > 0, kind == 1, false, &buf)
				want := definitionAngular(r, w, h, wideAngle(w, h, mode), kind > 0, kind == 1, 1023)
				for i, v := range want {
					if int(dst[i]) != v {
						t.Fatalf("%dx%d mode %d line %d kind %d: sample (%d, %d) is %d, want %d", w, h, mode, line, kind, i%w, i/w, dst[i], v)
					}
				}
			}
		}
	}
}

// TestFlat checks that every kind of prediction from equal references is that value.
func TestFlat(t *testing.T) {
	const value = 700
	var buf refBuffer
	for _, w := range []int{4, 8, 16, 32, 64} {
		for _, h := range []int{4, 8, 16, 32, 64} {
			top, left := make([]int32, 2*w+1), make([]int32, 2*h+1)
			fill(top, value)
			fill(left, value)
			dst := make([]uint16, w*h)
			p := predictor{dst: dst, stride: w, w: w, h: h, top: top, left: left, maxVal: 1023}
			check := func(what string, mode int) {
				t.Helper()
				for i, v := range dst {
					if v != value {
						t.Fatalf("%dx%d %s %d: sample %d is %d", w, h, what, mode, i, v)
					}
				}
				clear(dst)
			}
			p.planar()
			p.blendEdges()
			check("planar", 0)
			p.dc()
			p.blendEdges()
			check("dc", 0)
			for mode := 2; mode <= modeLast; mode++ {
				p.angular(wideMode(w, h, mode), mode&1 == 0, mode&2 == 0, true, &buf)
				check("angular", mode)
			}
		}
	}
}

// TestMatrixDefinition checks matrix prediction against its definition for the smallest class, where nothing is resampled but
// the boundary: 16 outputs from four averages.
func TestMatrixDefinition(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	var work [64 * 64]int32
	for mode := range 16 {
		for _, transposed := range []bool{false, true} {
			r := randomRef(rng, 4, 4, 0, 10)
			dst := make([]uint16, 16)
			p := predictor{dst: dst, stride: 4, w: 4, h: 4, top: r.top, left: r.left, maxVal: 1023}
			p.matrix(mode, transposed, 10, &work)
			avg := func(a, b int32) int { return int(a+b+1) >> 1 }
			in := [4]int{avg(r.top[1], r.top[2]), avg(r.top[3], r.top[4]), avg(r.left[1], r.left[2]), avg(r.left[3], r.left[4])}
			if transposed {
				in = [4]int{in[2], in[3], in[0], in[1]}
			}
			x := [4]int{512 - in[0], in[1] - in[0], in[2] - in[0], in[3] - in[0]}
			for i := range 16 {
				sum := 32
				for k := range 4 {
					sum += (int(mipWeights0[mode][4*i+k]) - 32) * x[k]
				}
				want := min(max(sum>>6+in[0], 0), 1023)
				at := i
				if transposed {
					at = i%4*4 + i/4
				}
				if int(dst[at]) != want {
					t.Fatalf("mode %d transposed %v: sample %d is %d, want %d", mode, transposed, at, dst[at], want)
				}
			}
		}
	}
}
