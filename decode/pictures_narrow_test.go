package decode_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/lamina-llm/lamina/decode"
	"github.com/lamina-llm/lamina/decode/planes"
	"github.com/lamina-llm/lamina/decode/vvc"
	"github.com/lamina-llm/lamina/internal/tile"
	"github.com/lamina-llm/lamina/model"
)

// TestPicturesNarrow keeps pictures of little contrast in windows of 4, 5 and 6
// bits: the products equal those of pictures decoded on use bit for bit, and what
// float64 arithmetic with the samples gives. One sample more outside than announced is an error.
func TestPicturesNarrow(t *testing.T) {
	for window := range planes.MaxPlanes {
		t.Run(fmt.Sprint(4+window, " bits"), func(t *testing.T) {
			const rows, cols = 80, 200 // the last band is shorter
			side := sideOf(window, rows, cols)
			deviation := float64(int(8)<<window) / 2.3 // 2 % are outside
			streams, w := narrowPictures(t, side, rows, cols, deviation)
			if side.Outside < rows*cols/200 {
				t.Fatalf("%d samples outside the window", side.Outside)
			}
			attached := func() *decode.Matrix {
				blob, err := side.AppendTo(nil, tile.Layout{Rows: rows, Cols: cols})
				if err != nil {
					t.Fatal(err)
				}
				m, err := decode.NewPlanes(rows, cols, blob)
				if err != nil {
					t.Fatal(err)
				}
				if err := m.Attach(streams); err != nil {
					t.Fatal(err)
				}
				return m
			}
			m := attached()
			testVectors(t, m, w, 5)
			// Rows are padded to whole registers; 0.5 bits for the states of row blocks.
			if most := int64((4.5+float64(window))/8*rows*256) + 4*int64(side.Outside) + 64; m.UnpackedBytes() > most {
				t.Errorf("unpacked to %d bytes, want at most %d", m.UnpackedBytes(), most)
			}
			side.Outside--
			m = attached()
			if _, err := decode.Unpack(m, workspace(m, 1, model.Serial{}), make([]byte, m.UnpackedBytes())); !errors.Is(err, planes.ErrCorrupt) {
				t.Errorf("a sample more outside than announced: %v", err)
			}
		})
	}
}

// narrowPictures encodes Gaussian samples of the given deviation, counts what
// the window of side leaves out, and returns the pictures and the weights that they stand for.
func narrowPictures(t *testing.T, side *planes.Side, rows, cols int, deviation float64) (streams [][]byte, w []float32) {
	t.Helper()
	r := rand.New(rand.NewPCG(uint64(side.Planes), 8))
	width, height := planes.PictureSize(side.Band, cols)
	var s planes.Scratch
	for r0 := 0; r0 < rows; r0 += side.Band {
		raw := make([]uint16, width*height)
		for i := range raw {
			raw[i] = uint16(planes.Zero + math.Round(deviation*r.NormFloat64()))
		}
		stream, _, err := vvc.Encode([][]uint16{raw}, vvc.EncodeOptions{Width: width, Height: height, BitDepth: 8, QP: 8})
		if err != nil {
			t.Fatal(err)
		}
		streams = append(streams, stream)
		pic, err := s.Decode(stream, width, height, min(side.Band, rows-r0), cols)
		if err != nil {
			t.Fatal(err)
		}
		side.Outside += planes.CountOutside(pic.Samples, int(side.Planes))
		for k, v := range pic.Samples {
			w = append(w, float32(int(v)-planes.Zero)*side.Col.Value(k%cols)*side.Row.Value(r0+k/cols))
		}
	}
	return streams, w
}
