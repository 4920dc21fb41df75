package vvc

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkDecode measures whole streams; MB/s counts decoded luma samples as bytes.
func BenchmarkDecode(b *testing.B) {
	for _, dir := range []string{"../../../shared/vvc", "testdata"} {
		if _, err := os.Stat(dir); err != nil {
			continue
		}
		for _, v := range loadVectors(b, dir) {
			stream, err := os.ReadFile(filepath.Join(dir, v.Name+".266"))
			if err != nil {
				b.Fatal(err)
			}
			samples := v.Width * v.Height * v.Frames
			bpp := float64(8*len(stream)) / float64(samples)
			b.Run(fmt.Sprintf("stream=%s/preset=%s/bpp=%.2f", v.Name, v.Preset, bpp), func(b *testing.B) {
				d := NewDecoder(Options{IgnoreHash: true})
				b.SetBytes(int64(samples))
				b.ReportAllocs()
				for b.Loop() {
					if err := d.Decode(stream, func(*Frame) error { return nil }); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		return
	}
}

// BenchmarkEncode measures Gaussian noise at rates from one to four bits a sample; MB/s counts luma samples as bytes.
func BenchmarkEncode(b *testing.B) {
	const side = 256
	plane := gaussianPlane(side, side, 8, 25, 1)
	for _, qp := range []int{20, 26, 32, 38} {
		b.Run(fmt.Sprintf("qp=%d", qp), func(b *testing.B) {
			b.SetBytes(side * side)
			var stats EncodeStats
			for b.Loop() {
				var err error
				_, stats, err = Encode([][]uint16{plane}, EncodeOptions{Width: side, Height: side, BitDepth: 8, QP: qp})
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(8*float64(stats.Bytes)/side/side, "bits/sample")
		})
	}
}
