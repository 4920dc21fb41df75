package kern

import (
	"fmt"
	"testing"

	"github.com/lamina-llm/lamina/internal/cpu"
	"github.com/lamina-llm/lamina/internal/cpu/cputest"
)

type attentionShape struct{ size, n, stride int }

func attentionShapes() []attentionShape {
	var s []attentionShape
	for _, size := range []int{1, 2, 7, 8, 15, 16, 17, 24, 31, 32, 48, 63, 64, 65, 80, 96, 112, 128, 200, 256} {
		for _, n := range []int{0, 1, 2, 3, 4, 5, 7, 8, 9, 33} {
			s = append(s, attentionShape{size, n, size + n%3*size})
		}
	}
	return append(s, attentionShape{64, 6, 0}, attentionShape{64, 70, 65}, attentionShape{16, 9, 8})
}

func (s attentionShape) rows() int {
	if s.n == 0 {
		return 0
	}
	return (s.n-1)*s.stride + s.size
}

func forEachShape(t *testing.T, f func(t *testing.T, s attentionShape, atEnd bool)) {
	cputest.ForEachTier(t, func(t *testing.T, _ cpu.Tier) {
		for _, s := range attentionShapes() {
			for _, atEnd := range []bool{true, false} {
				t.Run(fmt.Sprintf("%+v/end=%v", s, atEnd), func(t *testing.T) { f(t, s, atEnd) })
			}
		}
	})
}

func TestScoresF16(t *testing.T) {
	forEachShape(t, func(t *testing.T, s attentionShape, atEnd bool) {
		r := rng(s.size)
		q, k := normals(t, r, s.size, atEnd), halves(t, r, s.rows(), atEnd)
		dst := normals(t, r, s.n, atEnd)
		ScoresF16(dst, q, k, s.stride)
		row := make([]float32, s.size)
		for j := range dst {
			for i := range row {
				row[i] = float32(half(k[j*s.stride+i]))
			}
			want, mag := dot64(q, row)
			wantClose(t, fmt.Sprintf("key %d", j), dst[j], want, mag, s.size)
			var alone [1]float32
			if ScoresF16(alone[:], q, k[j*s.stride:], s.stride); alone[0] != dst[j] {
				t.Fatalf("key %d: %x among others, %x alone", j, dst[j], alone[0])
			}
		}
	})
}

func TestWeightedSumF16(t *testing.T) {
	forEachShape(t, func(t *testing.T, s attentionShape, atEnd bool) {
		r := rng(s.size)
		y, p, v := normals(t, r, s.size, atEnd), normals(t, r, s.n, atEnd), halves(t, r, s.rows(), atEnd)
		in, split := clone(y), clone(y)
		WeightedSumF16(y, p, v, s.stride)
		for i := range y {
			want, mag := float64(in[i]), 1.0
			for j := range p {
				w := float64(p[j]) * half(v[j*s.stride+i])
				want, mag = want+w, mag+max(w, -w)
			}
			wantClose(t, fmt.Sprintf("element %d", i), y[i], want, mag, s.n+1)
		}
		cut := s.n / 3
		WeightedSumF16(split, p[:cut], v, s.stride)
		if cut < s.n {
			WeightedSumF16(split, p[cut:], v[cut*s.stride:], s.stride)
		}
		wantSame(t, "in two calls", split, y)
	})
}

func TestGroupedAttention(t *testing.T) {
	forEachShape(t, func(t *testing.T, s attentionShape, atEnd bool) {
		r := rng(s.size)
		k := halves(t, r, s.rows(), atEnd)
		for _, nq := range []int{1, 2, 3, 4, 5, 7, 8} {
			q, y := normals(t, r, nq*s.size, atEnd), normals(t, r, nq*s.size, atEnd)
			dst, want := guarded[float32](t, nq*s.n, atEnd), make([]float32, nq*s.n)
			wantY := clone(y)
			ScoresF16x(dst, q, k, nq, s.n, s.stride)
			WeightedSumF16x(y, dst, k, nq, s.n, s.stride)
			for h := range nq {
				ScoresF16(want[h*s.n:(h+1)*s.n], q[h*s.size:(h+1)*s.size], k, s.stride)
				WeightedSumF16(wantY[h*s.size:(h+1)*s.size], want[h*s.n:(h+1)*s.n], k, s.stride)
			}
			wantSame(t, fmt.Sprintf("scores of %d queries", nq), dst, want)
			wantSame(t, fmt.Sprintf("weighted sums of %d queries", nq), y, wantY)
		}
	})
}

// TestInt8Attention stores the same whole numbers as int8 and as binary16, where
// they are exact: the kernels must agree bit for bit.
func TestInt8Attention(t *testing.T) {
	forEachShape(t, func(t *testing.T, s attentionShape, atEnd bool) {
		r := rng(s.size)
		k, wide := guarded[int8](t, s.rows(), atEnd), make([]uint16, s.rows())
		for i := range k {
			k[i] = int8(r.IntN(255) - 127)
			wide[i] = narrow(float32(k[i]))
		}
		for _, nq := range []int{1, 2, 3, 4, 5, 7, 8} {
			q, y := normals(t, r, nq*s.size, atEnd), normals(t, r, nq*s.size, atEnd)
			dst, want, wantY := guarded[float32](t, nq*s.n, atEnd), make([]float32, nq*s.n), clone(y)
			ScoresI8x(dst, q, k, nq, s.n, s.stride)
			ScoresF16x(want, q, wide, nq, s.n, s.stride)
			wantSame(t, fmt.Sprintf("scores of %d queries", nq), dst, want)
			WeightedSumI8x(y, dst, k, nq, s.n, s.stride)
			WeightedSumF16x(wantY, want, wide, nq, s.n, s.stride)
			wantSame(t, fmt.Sprintf("weighted sums of %d queries", nq), y, wantY)
		}
	})
}
