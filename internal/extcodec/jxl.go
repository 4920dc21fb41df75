package extcodec

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// jxl is JPEG XL by its own tools, picture by picture.
func jxl(encoder, decoder string) Codec {
	return Codec{Name: "JPEG XL", Profile: "pictures", Program: "cjxl", Settings: []float64{2.6, 1.6, 1}, Knob: "distance",
		code: func(ctx context.Context, dir string, f *Frames, setting float64) (*Result, error) {
			r := &Result{}
			n := f.Width * f.Height
			for i := range f.Count() {
				head := fmt.Appendf(nil, "P5\n%d %d\n255\n", f.Width, f.Height)
				if err := os.WriteFile(filepath.Join(dir, "in.pgm"), append(head, f.Samples[i*n:(i+1)*n]...), 0o600); err != nil {
					return nil, err
				}
				took, err := run(ctx, dir, encoder, "in.pgm", "out.jxl", "-d", strconv.FormatFloat(setting, 'g', -1, 64), "-e", "5", "--quiet")
				if err != nil {
					return nil, err
				}
				r.Encode += took
				bytes, err := size(dir, "out.jxl")
				if err != nil {
					return nil, err
				}
				r.Bytes += bytes
				if took, err = run(ctx, dir, decoder, "out.jxl", "out.pgm", "--quiet"); err != nil {
					return nil, err
				}
				r.Decode += took
				samples, err := readPGM(filepath.Join(dir, "out.pgm"), f.Width, f.Height)
				if err != nil {
					return nil, err
				}
				r.Samples = append(r.Samples, samples...)
			}
			return r, nil
		}}
}

// readPGM reads a binary greymap of one size and 8 bits.
func readPGM(path string, w, h int) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var magic string
	var gotW, gotH, top int
	if _, err := fmt.Sscan(string(data[:min(len(data), 64)]), &magic, &gotW, &gotH, &top); err != nil {
		return nil, fmt.Errorf("decoded picture has no header: %w", err)
	}
	if magic != "P5" || gotW != w || gotH != h || top != 255 || len(data) < w*h {
		return nil, fmt.Errorf("decoded picture is %q, %d x %d up to %d", magic, gotW, gotH, top)
	}
	return data[len(data)-w*h:], nil
}
