package decode_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lamina-llm/lamina/decode"
	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/cpu"
	"github.com/lamina-llm/lamina/internal/cpu/cputest"
	"github.com/lamina-llm/lamina/model"
)

// TestPieces cuts matrices at every border of bands and compares the products and
// rows of the slices with those of the whole, bit for bit: slices whose chunks
// come late and go soon, coded and unpacked, on every tier and pool.
func TestPieces(t *testing.T) {
	for _, c := range []struct {
		rows, cols, band, depth int
		mode                    rans.Mode
		planes                  int
		ordered, transformed    bool
	}{
		{70, 64, 32, 1, rans.DQ, 0, true, false}, {400, 700, 64, 3, rans.DQ, 1, true, false}, {1500, 128, 128, 1, rans.Scalar, 0, false, false},
		{2100, 64, 1040, 1, rans.DQ, 1, false, false}, {80, 320, 16, 2, rans.Scalar, 1, true, false}, {33, 576, 48, 1, rans.DQ, 0, true, false},
		{100, 384, 48, 2, rans.DQ, 1, true, true},
	} {
		t.Run(fmt.Sprintf("%dx%d", c.rows, c.cols), func(t *testing.T) {
			open := decode.NewMatrix
			if c.transformed {
				open = func(rows, cols int, side []byte) (*decode.Matrix, error) {
					return decode.NewTransformed(rows, cols, decode.NewTransform(cols, odd).AppendTo(nil), side)
				}
			}
			m, chunks := encodeFor(t, c.rows, c.cols, c.band, c.depth, c.mode, c.planes, c.ordered, open)
			cputest.ForEachTier(t, func(t *testing.T, tier cpu.Tier) {
				for n := 1; n <= m.Bands(); n++ {
					testPieces(t, m, chunks, n)
				}
			})
		})
	}
}

// testPieces compares m with n slices of it.
func testPieces(t *testing.T, m *decode.Matrix, chunks [][]byte, n int) {
	t.Helper()
	rows, cols := m.Dims()
	r := rand.New(rand.NewPCG(5, uint64(n)))
	for _, vectors := range []int{0, 1, 5} {
		x := make([]float32, vectors*cols)
		for i := range x {
			x[i] = float32(r.NormFloat64())
		}
		for _, pool := range []decode.Pool{model.Serial{}, scatter{}} {
			ws := workspace(m, 5, pool)
			want, got := make([]float32, vectors*rows), make([]float32, vectors*rows)
			if err := decode.NewCoded(m, ws).Apply(want, x, vectors); err != nil {
				t.Fatal(err)
			}
			held := 0
			p := decode.NewPieces(m, ws, n, func(k int) (decode.Operator, func(), error) {
				b0, b1 := k*m.Bands()/n, (k+1)*m.Bands()/n
				s := m.Slice(b0, b1)
				own := chunks[b0*m.Blocks() : b1*m.Blocks()]
				if err := s.Attach(own); err != nil {
					t.Fatal(err)
				}
				if held++; held != 1 {
					t.Errorf("%d slices at once", held)
				}
				if k%3 == 1 {
					op, err := decode.Unpack(s, ws, make([]byte, s.UnpackedBytes()))
					return op, func() { held-- }, err
				}
				return decode.NewCoded(s, ws), func() { held-- }, nil
			})
			if err := p.Apply(got, x, vectors); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, want) || held != 0 {
				t.Fatalf("%d slices, %d vectors, %T: results differ from those of the whole, or %d slices are held", n, vectors, pool, held)
			}
		}
	}
}

// TestPiecesFail shows that the error of a slice is that of the product, and that
// nothing stays held.
func TestPiecesFail(t *testing.T) {
	m, chunks := encodeFor(t, 96, 64, 32, 1, rans.DQ, 0, false, decode.NewMatrix)
	ws := workspace(m, 1, model.Serial{})
	gone := errors.New("gone")
	y, x := make([]float32, 96), make([]float32, 64)
	for _, at := range []int{0, 2} {
		released := 0
		p := decode.NewPieces(m, ws, 3, func(k int) (decode.Operator, func(), error) {
			if k == at {
				return nil, nil, gone
			}
			s := m.Slice(k, k+1)
			return decode.NewCoded(s, ws), func() { released++ }, s.Attach(chunks[k*m.Blocks() : (k+1)*m.Blocks()])
		})
		if err := p.Apply(y, x, 1); !errors.Is(err, gone) || released != at {
			t.Errorf("slice %d: %v, %d released", at, err, released)
		}
	}
	// A chunk whose bytes are another's: the product of its slice fails.
	p := decode.NewPieces(m, ws, 1, func(int) (decode.Operator, func(), error) {
		s := m.Slice(0, 3)
		bad := slices.Clone(chunks)
		bad[2] = slices.Clone(bad[2])
		for i := len(bad[2]) / 2; i < len(bad[2]); i++ {
			bad[2][i] ^= 0x5a
		}
		released := false
		t.Cleanup(func() {
			if !released {
				t.Error("the slice of a failed product is held")
			}
		})
		return decode.NewCoded(s, ws), func() { released = true }, s.Attach(bad)
	})
	if err := p.Apply(y, x, 1); !errors.Is(err, rans.ErrCorrupt) {
		t.Errorf("a damaged chunk: %v", err)
	}
}
