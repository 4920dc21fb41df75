package vvc

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// gaussianPlane returns samples of independent Gaussian noise around the middle of the range.
func gaussianPlane(w, h, bitDepth int, sigma float64, seed uint64) []uint16 {
	rng := rand.New(rand.NewPCG(seed, 1))
	p := make([]uint16, w*h)
	mid := float64(int(1) << (bitDepth - 1))
	for i := range p {
		p[i] = uint16(min(max(math.Round(mid+sigma*rng.NormFloat64()), 0), 2*mid-1))
	}
	return p
}

// checkStream encodes and decodes pictures. The decoder checks the encoder's reconstruction by its picture hashes; the
// statistics must say the same.
func checkStream(t rapid.TB, pictures [][]uint16, o EncodeOptions) []byte {
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
		t.Fatalf("%dx%d, %d bits, QP %d, %d slices: %v", o.Width, o.Height, o.BitDepth, o.QP, o.Slices, err)
	}
	want := EncodeStats{Pictures: n, Samples: n * o.Width * o.Height, Bytes: len(stream), SquaredError: sse}
	if n != len(pictures) || stats != want {
		t.Errorf("%d of %d pictures, statistics %+v instead of %+v", n, len(pictures), stats, want)
	}
	return stream
}

func TestEncodeDecode(t *testing.T) {
	for _, c := range []struct{ w, h, depth, pictures, slices int }{
		{8, 8, 8, 1, 1}, {4, 5, 8, 2, 0}, {32, 32, 10, 1, 1}, {200, 136, 8, 2, 2}, {131, 397, 10, 1, 3}, {64, 700, 8, 1, 4}, {136, 520, 8, 1, 2},
	} {
		for _, qp := range []int{-12, 0, 10, 22, 30, 37, 45, 51, 63} {
			if qp < -6*(c.depth-8) {
				continue
			}
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

// drawPlane makes samples of different kinds: noise of any strength, two values in random places, gradients, constants,
// noise whose strength changes from column to column, rows that are alike.
func drawPlane(t *rapid.T, w, h, bitDepth int) []uint16 {
	seed := rapid.Uint64().Draw(t, "seed")
	limit := uint16(1)<<bitDepth - 1
	switch rapid.IntRange(0, 5).Draw(t, "kind") {
	case 0:
		return gaussianPlane(w, h, bitDepth, rapid.Float64Range(0, float64(limit)).Draw(t, "sigma"), seed)
	case 1:
		p := make([]uint16, w*h)
		rng := rand.New(rand.NewPCG(seed, 2))
		rare := rapid.Float64Range(0, 1).Draw(t, "share")
		for i := range p {
			if rng.Float64() < rare {
				p[i] = limit
			}
		}
		return p
	case 2:
		p := make([]uint16, w*h)
		a, b := rapid.IntRange(0, 9).Draw(t, "a"), rapid.IntRange(0, 9).Draw(t, "b")
		for i := range p {
			p[i] = uint16(a*(i%w)+b*(i/w)) & limit
		}
		return p
	case 3:
		weak := gaussianPlane(w, h, bitDepth, float64(limit)/50, seed)
		strong := gaussianPlane(w, h, bitDepth, float64(limit)/4, seed+1)
		every := rapid.IntRange(1, 40).Draw(t, "every")
		for i := range weak {
			if i%w%every < 3 {
				weak[i] = strong[i]
			}
		}
		return weak
	case 4:
		p := gaussianPlane(w, h, bitDepth, float64(limit)/99, seed)
		row := gaussianPlane(w, 1, bitDepth, float64(limit)/4, seed+1)
		for i := range p {
			p[i] = min(p[i]/2+row[i%w]/2, limit)
		}
		return p
	}
	p := make([]uint16, w*h)
	v := rapid.Uint16Range(0, limit).Draw(t, "value")
	for i := range p {
		p[i] = v
	}
	return p
}

// concurrently runs all tasks at the same time.
func concurrently(n int, task func(int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { task(i) })
	}
	wg.Wait()
}

// TestEncodeProperty encodes pictures of any shape and content: the decoder agrees, and concurrency changes nothing.
func TestEncodeProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := EncodeOptions{
			Width:    rapid.IntRange(4, 200).Draw(t, "width"),
			Height:   rapid.IntRange(4, 280).Draw(t, "height"),
			BitDepth: rapid.SampledFrom([]int{8, 10}).Draw(t, "depth"),
			Slices:   rapid.IntRange(0, 4).Draw(t, "slices"),
		}
		o.QP = rapid.IntRange(-6*(o.BitDepth-8), 63).Draw(t, "qp")
		var pictures [][]uint16
		for range rapid.IntRange(1, 2).Draw(t, "pictures") {
			pictures = append(pictures, drawPlane(t, o.Width, o.Height, o.BitDepth))
		}
		want := checkStream(t, pictures, o)
		o.Run = concurrently
		if got, _, err := Encode(pictures, o); err != nil || !bytes.Equal(got, want) {
			t.Errorf("concurrent encoding: %v, %d bytes instead of %d", err, len(got), len(want))
		}
	})
}

// FuzzEncode takes options and samples from arbitrary bytes. Bad options are refused, the others decode to what the
// encoder reconstructed.
func FuzzEncode(f *testing.F) {
	f.Add(uint16(40), uint16(24), 8, 30, 1, []byte("noise"))
	f.Add(uint16(130), uint16(260), 10, -12, 3, []byte{0, 255, 3})
	f.Add(uint16(3), uint16(0), 9, 64, -1, []byte{})
	f.Fuzz(func(t *testing.T, w, h uint16, depth, qp, slices int, data []byte) {
		o := EncodeOptions{Width: int(w % 150), Height: int(h % 280), BitDepth: depth, QP: qp, Slices: slices}
		picture := make([]uint16, o.Width*o.Height)
		for i := range picture {
			if len(data) > 0 && depth >= 8 && depth <= 16 {
				picture[i] = uint16(data[i%len(data)])<<8>>(16-depth) + uint16(i/len(data)&1)
			}
		}
		if _, _, err := Encode([][]uint16{picture}, o); err != nil {
			if !errors.Is(err, ErrEncode) {
				t.Fatal(err)
			}
			return
		}
		checkStream(t, [][]uint16{picture}, o)
	})
}

func TestEncodeRefuses(t *testing.T) {
	good := EncodeOptions{Width: 8, Height: 16, BitDepth: 8, QP: 30}
	plane := make([]uint16, 8*16)
	if _, _, err := Encode([][]uint16{plane}, good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*EncodeOptions) [][]uint16{
		"width":        func(o *EncodeOptions) [][]uint16 { o.Width = 3; return [][]uint16{make([]uint16, 3*16)} },
		"height":       func(o *EncodeOptions) [][]uint16 { o.Height = 1<<16 + 1; return [][]uint16{plane} },
		"area":         func(o *EncodeOptions) [][]uint16 { o.Width, o.Height = 1<<14, 1<<14; return [][]uint16{plane} },
		"depth":        func(o *EncodeOptions) [][]uint16 { o.BitDepth = 9; return [][]uint16{plane} },
		"QP":           func(o *EncodeOptions) [][]uint16 { o.QP = -1; return [][]uint16{plane} },
		"large QP":     func(o *EncodeOptions) [][]uint16 { o.QP = 64; return [][]uint16{plane} },
		"slices":       func(o *EncodeOptions) [][]uint16 { o.Slices = -1; return [][]uint16{plane} },
		"no pictures":  func(*EncodeOptions) [][]uint16 { return nil },
		"short":        func(*EncodeOptions) [][]uint16 { return [][]uint16{plane, plane[1:]} },
		"sample range": func(*EncodeOptions) [][]uint16 { p := make([]uint16, 8*16); p[77] = 256; return [][]uint16{p} },
	} {
		o := good
		if _, _, err := Encode(change(&o), o); !errors.Is(err, ErrEncode) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// TestEncodeRateDistortion measures Gaussian noise against the rate-distortion bound, which nothing can beat.
func TestEncodeRateDistortion(t *testing.T) {
	const side = 512
	plane := gaussianPlane(side, side, 10, 100, 3)
	variance := 100.0*100 + 1.0/12
	for _, c := range []struct {
		qp           int
		limit, below float64
	}{
		{24, 0.31, 3.6}, {27, 0.28, 3.1}, {30, 0.235, 2.6}, {33, 0.21, 2.1}, {34, 0.20, 1.9}, {63, 0.02, 0.02},
	} {
		_, stats, err := Encode([][]uint16{plane}, EncodeOptions{Width: side, Height: side, BitDepth: 10, QP: c.qp})
		if err != nil {
			t.Fatal(err)
		}
		bits := 8 * float64(stats.Bytes) / side / side
		nmse := float64(stats.SquaredError) / side / side / variance
		gap := bits + math.Log2(nmse)/2
		t.Logf("QP %d: %.4f bit, NMSE %.4f, %.4f bit above the bound", c.qp, bits, nmse, gap)
		if gap < -0.005 || gap > c.limit || bits > c.below {
			t.Errorf("QP %d: %.4f bit at %.4f above the bound, want at most %.2f and %.3f", c.qp, bits, gap, c.below, c.limit)
		}
	}
}

// TestChooseLevel compares with the limits of tables A.1 to A.3.
func TestChooseLevel(t *testing.T) {
	for _, c := range []struct{ w, h, slices, size, want int }{
		{64, 64, 1, 100, 16},
		{1024, 1024, 1, 200000, 64},
		{1024, 1024, 8, 500000, 86},           // more than 1/4 of the raw size: more samples a second
		{8192, 128, 1, 1000, 80},              // wider than level 4.1 permits
		{1024, 1024, 100, 1000, 80},           // more slices than level 4.1 permits
		{8192, 8192, 1, 40 << 20, 255},        // a larger buffer than any level has
		{1 << 16, 8, 1, 1000, levelUnlimited}, // wider than any level permits
		{4096, 2176, 1, 3 << 20, 102},         // more than level 5 has for its compression
		{16384, 4096, 1, 8 << 20, 105},        // area
		{64, 64, 600, 100, 96}, {64, 64, 601, 100, 105},
	} {
		s := &streamShape{width: c.w, height: c.h, slices: c.slices}
		if got := s.chooseLevel(c.size); got != c.want {
			t.Errorf("%dx%d, %d slices, %d bytes: level %d, want %d", c.w, c.h, c.slices, c.size, got, c.want)
		}
	}
}
