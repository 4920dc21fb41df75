package decode_test

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/lamina-llm/lamina/decode"
	"github.com/lamina-llm/lamina/decode/planes"
	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/tile"
	"github.com/lamina-llm/lamina/model"
)

// sideOf returns side information of pictures of 48 rows, with scales of some
// variety.
func sideOf(window, rows, cols int) *planes.Side {
	side := &planes.Side{Planes: uint8(window), Band: 48,
		Row: rans.Scales{Base: 0.01, Frac: 4, Bits: 5, Code: make([]uint8, rows)},
		Col: rans.Scales{Base: 0.5, Frac: 5, Bits: 6, Code: make([]uint8, cols)}}
	for i := range side.Row.Code {
		side.Row.Code[i] = uint8(i * 7 % 32)
	}
	for i := range side.Col.Code {
		side.Col.Code[i] = uint8(i * 5 % 64)
	}
	return side
}

// pictures returns the matrix of decode/planes/testdata: three pictures of an
// independent encoder. window is how many planes are kept, outside how many
// samples are announced to lie outside.
func pictures(t *testing.T, window, outside int) *decode.Matrix {
	t.Helper()
	const rows, cols = 112, 300
	side := sideOf(window, rows, cols)
	side.Outside = outside
	blob, err := side.AppendTo(nil, tile.Layout{Rows: rows, Cols: cols})
	if err != nil {
		t.Fatal(err)
	}
	m, err := decode.NewPlanes(rows, cols, blob)
	if err != nil {
		t.Fatal(err)
	}
	var streams [][]byte
	for i := range m.Chunks() {
		data, err := os.ReadFile(fmt.Sprintf("planes/testdata/band%d.266", i))
		if err != nil {
			t.Fatal(err)
		}
		streams = append(streams, data)
	}
	if err := m.Attach(streams); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestPictures multiplies with pictures as they are decoded and with the same
// unpacked, in full width and in a window, on every tier and pool: all equal
// bit for bit, and what float64 arithmetic with the samples gives.
func TestPictures(t *testing.T) {
	m := pictures(t, 3, 183)
	rows, cols := m.Dims()
	w := make([]float32, rows*cols)
	var s planes.Scratch
	for b := range m.Chunks() {
		pic, err := m.Planes().Decode(b, &s)
		if err != nil {
			t.Fatal(err)
		}
		r0, _ := m.Planes().Band(b)
		for k, v := range pic.Samples {
			r, j := r0+k/cols, k%cols
			side := m.Planes().Side()
			w[r*cols+j] = float32(int(v)-planes.Zero) * side.Col.Value(j) * side.Row.Value(r)
		}
	}
	full := make([]float32, rows*cols)
	ids := make([]int32, rows)
	for i := range ids {
		ids[i] = int32(i)
	}
	if err := decode.NewCoded(m, workspace(m, 1, scatter{})).Rows(full, ids); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(full, w) {
		t.Error("rows differ from the samples")
	}
	testVectors(t, m, w, 5)
	if m = pictures(t, 3, 2100); m.UnpackedBytes() > int64(7.5/8*float64(rows*384))+4*2100+64 {
		t.Errorf("unpacked to %d bytes", m.UnpackedBytes())
	}
}

// TestPicturesWindow shows that a window that leaves out what it announces gives
// the same products, and that one more is an error.
func TestPicturesWindow(t *testing.T) {
	m := pictures(t, 3, 183)
	rows, cols := m.Dims()
	x := make([]float32, cols)
	for i := range x {
		x[i] = float32(math.Sin(float64(i)))
	}
	apply := func(m *decode.Matrix) ([]float32, error) {
		op, err := decode.Unpack(m, workspace(m, 1, scatter{}), make([]byte, m.UnpackedBytes()))
		if err != nil {
			return nil, err
		}
		y := make([]float32, rows)
		return y, op.Apply(y, x, 1)
	}
	want, err := apply(m)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := apply(pictures(t, 3, 2000)); err != nil || !slices.Equal(got, want) {
		t.Errorf("more announced than there are: %v", err)
	}
	for _, outside := range []int{0, 182} {
		m := pictures(t, 3, outside)
		if _, err := apply(m); !errors.Is(err, planes.ErrCorrupt) {
			t.Errorf("%d samples announced to be outside, of 183: %v", outside, err)
		}
		y := make([]float32, rows)
		if err := decode.NewCoded(m, workspace(m, 1, model.Serial{})).Apply(y, x, 1); outside == 0 && !errors.Is(err, planes.ErrCorrupt) {
			t.Errorf("decoding on use: %v", err)
		}
	}
	if _, err := apply(pictures(t, 2, 2100)); !errors.Is(err, planes.ErrCorrupt) {
		t.Errorf("a window that is too narrow: %v", err)
	}
}
