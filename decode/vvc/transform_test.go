package vvc

import (
	"math"
	"math/rand/v2"
	"testing"
)

// basis returns the matrix of a transform, row k being the response to coefficient k.
func basis(kind transformKind, n int) [][]int32 {
	m := make([][]int32, n)
	for k := range m {
		in := make([]int32, n)
		in[k] = 1
		m[k] = make([]int32, n)
		new(transformWork).transform(m[k], in, 1, kind, k)
	}
	return m
}

// ideal returns entry i of basis function k by definition, scaled like the integer matrices: 64*sqrt(n) times an
// orthonormal basis.
func ideal(kind transformKind, n, k, i int) float64 {
	scale := 64 * math.Sqrt(float64(n))
	switch kind {
	case dctII:
		c := math.Sqrt(2 / float64(n))
		if k == 0 {
			c = math.Sqrt(1 / float64(n))
		}
		return scale * c * math.Cos(math.Pi*float64(k*(2*i+1))/float64(2*n))
	case dstVII:
		return scale * 2 / math.Sqrt(float64(2*n+1)) * math.Sin(math.Pi*float64((2*k+1)*(i+1))/float64(2*n+1))
	}
	return scale * 2 / math.Sqrt(float64(2*n+1)) * math.Cos(math.Pi*float64((2*k+1)*(2*i+1))/float64(4*n+2))
}

var transformSizes = map[transformKind][]int{dctII: {2, 4, 8, 16, 32, 64}, dstVII: {4, 8, 16, 32}, dctVIII: {4, 8, 16, 32}}

// TestTransformDefinition compares the integer matrices with the real ones. The standard tuned entries for
// orthogonality, which moves them by up to 2 (75 for 76.9), and two basis functions may not correlate by more than 1%.
func TestTransformDefinition(t *testing.T) {
	for kind, sizes := range transformSizes {
		for _, n := range sizes {
			m := basis(kind, n)
			for k := range n {
				for i := range n {
					if want := ideal(kind, n, k, i); math.Abs(float64(m[k][i])-want) > 2 {
						t.Fatalf("kind %d, %d points: entry (%d, %d) is %d, want %.2f", kind, n, k, i, m[k][i], want)
					}
				}
				for j := range k + 1 {
					dot := 0.0
					for i := range n {
						dot += float64(m[k][i]) * float64(m[j][i])
					}
					dot /= 64 * 64 * float64(n)
					if j == k && math.Abs(dot-1) > 0.01 || j < k && math.Abs(dot) > 0.01 {
						t.Fatalf("kind %d, %d points: product of functions %d and %d is %.4f", kind, n, k, j, dot)
					}
				}
			}
		}
	}
}

// TestTransformLinear checks the fast transforms against the sum of basis functions, for every position of the last
// coefficient.
func TestTransformLinear(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var work transformWork
	for kind, sizes := range transformSizes {
		for _, n := range sizes {
			m := basis(kind, n)
			for last := range n {
				in, out := make([]int32, n), make([]int32, n)
				for k := range last + 1 {
					in[k] = rng.Int32N(1<<16) - 1<<15
				}
				for k := last + 1; k < n; k++ {
					in[k] = 12345 // must not be read
				}
				work.transform(out, in, 1, kind, last)
				for i := range n {
					want := int32(0)
					for k := range last + 1 {
						want += in[k] * m[k][i]
					}
					if out[i] != want {
						t.Fatalf("kind %d, %d points, last %d: output %d is %d, want %d", kind, n, last, i, out[i], want)
					}
				}
			}
		}
	}
}

// TestInverseTransform checks two-dimensional transforms with their rounding against matrix products.
func TestInverseTransform(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	d := newSliceDecoder()
	clip := func(v int32) int32 { return min(max(v, coefMin), coefMax) }
	for _, size := range [][2]int{{4, 4}, {8, 4}, {16, 16}, {32, 8}, {64, 64}, {64, 16}, {2, 16}, {1, 16}, {16, 1}} {
		w, h := size[0], size[1]
		for _, kind := range []transformKind{dctII, dstVII, dctVIII} {
			if kind != dctII && (min(w, h) < 4 || max(w, h) > 32) {
				continue
			}
			for _, extent := range []int{1, 2, 8, 32} {
				d.bitDepth = 8 + rng.IntN(3)
				shift := 20 - d.bitDepth
				block := make([]int32, w*h)
				maxX, maxY := min(w, extent)-1, min(h, extent)-1
				for y := range maxY + 1 {
					for x := range maxX + 1 {
						block[y*w+x] = rng.Int32N(1<<14) - 1<<13
					}
				}
				in := append([]int32(nil), block...)
				d.inverseTransform(block, w, h, kind, kind, maxX, maxY)
				mid := make([]int32, w*h)
				copy(mid, in)
				if h > 1 && w > 1 {
					m := basis(kind, h)
					for x := range w {
						for y := range h {
							sum := int32(64)
							for k := range h {
								sum += in[k*w+x] * m[k][y]
							}
							mid[y*w+x] = clip(sum >> 7)
						}
					}
				}
				n := w
				if w == 1 {
					n = h
				}
				if w == 1 || h == 1 {
					shift++
				}
				m := basis(kind, n)
				for line := 0; line < w*h; line += n {
					for x := range n {
						sum := int32(1) << (shift - 1)
						for k := range n {
							sum += mid[line+k] * m[k][x]
						}
						if want := clip(sum >> shift); block[line+x] != want {
							t.Fatalf("kind %d, %dx%d, extent %d: sample %d is %d, want %d", kind, w, h, extent, line+x, block[line+x], want)
						}
					}
				}
			}
		}
	}
}

// TestLfnstKernels checks that the secondary transform kernels are near orthonormal (scaled by 128).
func TestLfnstKernels(t *testing.T) {
	check := func(name string, rows int, at func(i, k int) int8) {
		for a := range 16 {
			for b := range a + 1 {
				dot := 0.0
				for i := range rows {
					dot += float64(at(i, a)) * float64(at(i, b))
				}
				dot /= 128 * 128
				if a == b && math.Abs(dot-1) > 0.03 || a != b && math.Abs(dot) > 0.03 {
					t.Errorf("%s: product of inputs %d and %d is %.3f", name, a, b, dot)
				}
			}
		}
	}
	for set := range 4 {
		for idx := range 2 {
			check("8x8", 48, func(i, k int) int8 { return lfnst8x8[set][idx][i][k] })
			check("4x4", 16, func(i, k int) int8 { return lfnst4x4[set][idx][i][k] })
		}
	}
}
