package vvc

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

func gaussianPlane(w, h, bitDepth int, sigma float64, seed uint64) []uint16 {
	rng := rand.New(rand.NewPCG(seed, 1))
	p := make([]uint16, w*h)
	mid := float64(int(1) << (bitDepth - 1))
	for i := range p {
		p[i] = uint16(min(max(math.Round(mid+sigma*rng.NormFloat64()), 0), 2*mid-1))
	}
	return p
}

// checkStream decodes a stream and compares the error that the encoder reported.
func checkStream(t testing.TB, pictures [][]uint16, o EncodeOptions) EncodeStats {
	t.Helper()
	stream, stats, err := Encode(pictures, o)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	sse := uint64(0)
	err = Decode(stream, Options{}, func(f *Frame) error {
		if f.Width != o.Width || f.Height != o.Height || f.BitDepth != o.BitDepth || !f.HashChecked || f.Planes[1] != nil {
			t.Errorf("frame %d: %dx%d of %d bits, hash checked: %v", n, f.Width, f.Height, f.BitDepth, f.HashChecked)
		}
		for y := range o.Height {
			for x, v := range pictures[n][y*o.Width : (y+1)*o.Width] {
				d := int(v) - int(f.Planes[0][y*f.Stride[0]+x])
				sse += uint64(d * d)
			}
		}
		n++
		return nil
	})
	if err != nil {
		t.Fatalf("%+v: %v", o, err)
	}
	if n != len(pictures) || sse != stats.SquaredError || stats.Bytes != len(stream) {
		t.Errorf("%d pictures, squared error %d, %d bytes; stats %+v", n, sse, len(stream), stats)
	}
	return stats
}

func TestEncodeDecode(t *testing.T) {
	for _, c := range []struct{ w, h, depth, pictures, slices int }{
		{8, 8, 8, 1, 1}, {4, 5, 8, 2, 0}, {32, 32, 10, 1, 1}, {200, 136, 8, 2, 2}, {131, 397, 10, 1, 3}, {64, 700, 8, 1, 4},
	} {
		for _, qp := range []int{0, 10, 22, 30, 37, 45, 51, 63} {
			t.Run(fmt.Sprintf("%dx%d/%d/%d", c.w, c.h, c.depth, qp), func(t *testing.T) {
				var pictures [][]uint16
				for i := range c.pictures {
					pictures = append(pictures, gaussianPlane(c.w, c.h, c.depth, 25, uint64(i)))
				}
				checkStream(t, pictures, EncodeOptions{Width: c.w, Height: c.h, BitDepth: c.depth, QP: qp, Slices: c.slices})
			})
		}
	}
}
