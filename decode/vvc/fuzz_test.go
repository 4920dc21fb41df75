package vvc

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// FuzzDecode checks that hostile streams end with a classified error or decode within the limits, never with a panic.
// Hash errors are ignored, so that mutated slice data reaches all of reconstruction and the filters.
func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/*.266")
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	opts := Options{MaxPixels: 1 << 18, MaxFrames: 8, IgnoreHash: true}
	d := NewDecoder(opts)
	f.Fuzz(func(t *testing.T, data []byte) {
		frames := 0
		err := d.Decode(data, func(fr *Frame) error {
			frames++
			if fr.Width*fr.Height > opts.MaxPixels || fr.Width <= 0 || fr.Height <= 0 {
				t.Fatalf("frame of %dx%d", fr.Width, fr.Height)
			}
			for c := range fr.Planes {
				if w, h := fr.PlaneSize(c); w > 0 {
					_ = fr.Planes[c][(h-1)*fr.Stride[c]+w-1]
				}
			}
			return nil
		})
		if frames > opts.MaxFrames {
			t.Fatalf("%d frames", frames)
		}
		if err != nil && !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrUnsupported) && !errors.Is(err, ErrLimit) {
			t.Fatalf("unclassified error: %v", err)
		}
	})
}
