package decode_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/lamina-llm/lamina/decode"
	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/model"
)

func odd(j int) bool { return j%3 == 1 }

// TestTransform checks that T is orthogonal, block by block, and that its
// description reads back.
func TestTransform(t *testing.T) {
	for _, c := range []struct{ cols, block int }{{1, 1}, {7, 1}, {12, 4}, {64, 64}, {576, 64}, {384, 128}, {1536, 512}} {
		x := decode.NewTransform(c.cols, odd)
		if x.Block() != c.block {
			t.Errorf("%d columns: blocks of %d, want %d", c.cols, x.Block(), c.block)
		}
		var image [][]float32 // of the unit vectors
		for j := range c.cols {
			e := make([]float32, c.cols)
			e[j] = 1
			x.Apply(e, e)
			part := make([]float32, c.block)
			for i, v := range e {
				if i/c.block != j/c.block && v != 0 {
					t.Fatalf("%d columns: element %d of the image of unit vector %d is %v", c.cols, i, j, v)
				}
			}
			part[j%c.block] = 1
			if x.ApplyBlock(part, j/c.block); !same(part, e[j/c.block*c.block:][:c.block]) {
				t.Fatalf("%d columns: ApplyBlock differs from Apply", c.cols)
			}
			image = append(image, e)
		}
		for i, a := range image {
			for j, b := range image[:i+1] {
				want, dot := 0.0, 0.0
				if i == j {
					want = 1
				}
				for k := range a {
					dot += float64(a[k]) * float64(b[k])
				}
				if math.Abs(dot-want) > 1e-5 {
					t.Fatalf("%d columns: images of unit vectors %d and %d have product %v", c.cols, i, j, dot)
				}
			}
			back := append([]float32(nil), a...)
			x.Undo(back)
			for k, v := range back {
				if d := float64(v); k == i && math.Abs(d-1) > 1e-5 || k != i && math.Abs(d) > 1e-5 {
					t.Fatalf("%d columns: unit vector %d comes back with element %d of %v", c.cols, i, k, v)
				}
			}
		}
		data := x.AppendTo(nil)
		back, err := decode.ParseTransform(c.cols, data)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(back.AppendTo(nil), data) {
			t.Errorf("%d columns: another transform was read", c.cols)
		}
		for _, name := range []string{"short", "kind", "block", "reserved", "sign"} {
			bad := bytes.Clone(data)
			switch name {
			case "short":
				bad = bad[:len(bad)-1]
			case "kind":
				bad[0]++
			case "block":
				bad[1]++ // twice the largest
			case "reserved":
				bad[3] = 1
			case "sign":
				if c.cols%8 == 0 {
					continue
				}
				bad[len(bad)-1] |= 0x80
			}
			if _, err := decode.ParseTransform(c.cols, bad); !errors.Is(err, rans.ErrCorrupt) {
				t.Errorf("%d columns, %s: %v", c.cols, name, err)
			}
		}
	}
}

func same(a, b []float32) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return len(a) == len(b)
}

// TestTransformed multiplies with a matrix whose inputs are transformed: rows
// are those of the coded one after T, products those with these rows.
func TestTransformed(t *testing.T) {
	for _, c := range []struct {
		rows, cols, band, depth int
		mode                    rans.Mode
		planes                  int
		ordered                 bool
	}{{70, 64, 32, 1, rans.DQ, 0, false}, {100, 384, 48, 2, rans.DQ, 1, true}, {33, 300, 48, 1, rans.Scalar, 2, true}} {
		t.Run(fmt.Sprintf("%dx%d", c.rows, c.cols), func(t *testing.T) {
			x := decode.NewTransform(c.cols, odd)
			plain, coded := code(t, c.rows, c.cols, c.band, c.depth, c.mode, c.planes, c.ordered)
			m, _ := encodeFor(t, c.rows, c.cols, c.band, c.depth, c.mode, c.planes, c.ordered, func(rows, cols int, side []byte) (*decode.Matrix, error) {
				return decode.NewTransformed(rows, cols, x.AppendTo(nil), side)
			})
			if m.ResidentBytes() < plain.ResidentBytes()+int64(4*c.cols) {
				t.Error("the transform's memory is not counted")
			}
			w, ids := make([]float32, c.rows*c.cols), make([]int32, c.rows)
			for i := range ids {
				ids[i] = int32(i)
			}
			if err := decode.NewCoded(m, workspace(m, 1, model.Serial{})).Rows(w, ids); err != nil {
				t.Fatal(err)
			}
			for i := range c.rows {
				row := append([]float32(nil), w[i*c.cols:(i+1)*c.cols]...)
				x.Apply(row, row)
				for j, v := range row {
					if want := coded[i*c.cols+j]; math.Abs(float64(v-want)) > 1e-5 {
						t.Fatalf("row %d column %d: %v after T, coded was %v", i, j, v, want)
					}
				}
			}
			testVectors(t, m, w, 5)
		})
	}
	if _, err := decode.NewTransformed(2, 64, []byte{2, 0, 0, 0}, nil); !errors.Is(err, rans.ErrCorrupt) {
		t.Error(err)
	}
}

func FuzzTransform(f *testing.F) {
	f.Add(12, decode.NewTransform(12, odd).AppendTo(nil))
	f.Fuzz(func(t *testing.T, cols int, data []byte) {
		x, err := decode.ParseTransform(cols, data)
		if err != nil {
			if !errors.Is(err, rans.ErrCorrupt) {
				t.Error(err)
			}
			return
		}
		if !bytes.Equal(x.AppendTo(nil), data) {
			t.Errorf("%x reads as %x", data, x.AppendTo(nil))
		}
		v := make([]float32, cols)
		v[cols/2] = float32(rand.Float64())
		x.Apply(v, v)
	})
}
