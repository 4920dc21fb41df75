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
