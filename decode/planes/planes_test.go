package planes_test

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"reflect"
	"runtime"
	"testing"

	"github.com/lamina-llm/lamina/decode/planes"
	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/tile"
)

const testRows, testCols, testBand = 112, 300, 48

// streams are pictures of a matrix of testRows x testCols made by an
// independent encoder (testdata/README.md).
func streams(t testing.TB) (s [][]byte) {
	t.Helper()
	for i := range 3 {
		data, err := os.ReadFile(fmt.Sprintf("testdata/band%d.266", i))
		if err != nil {
			t.Fatal(err)
		}
		s = append(s, data)
	}
	return s
}

func side() *planes.Side {
	s := &planes.Side{Planes: 3, Band: testBand, Outside: 183,
		Row: rans.Scales{Base: 0.5, Frac: 2, Bits: 3, Code: make([]uint8, testRows)}, Col: rans.Scales{Base: 2}}
	for i := range s.Row.Code {
		s.Row.Code[i] = uint8(i % 8)
	}
	return s
}

func newMatrix(t testing.TB, s *planes.Side) *planes.Matrix {
	t.Helper()
	blob, err := s.AppendTo(nil, tile.Layout{Rows: testRows, Cols: testCols})
	if err != nil {
		t.Fatal(err)
	}
	m, err := planes.NewMatrix(testRows, testCols, blob)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestDecode compares the samples with those of an independent decoder, and
// levels with samples.
func TestDecode(t *testing.T) {
	m := newMatrix(t, side())
	if err := m.Attach(streams(t)); err != nil {
		t.Fatal(err)
	}
	var s planes.Scratch
	sum, outside := md5.New(), 0
	for b := range m.Bands() {
		pic, err := m.Decode(b, &s)
		if err != nil {
			t.Fatal(err)
		}
		sum.Write(pic.Samples)
		outside += planes.CountOutside(pic.Samples, planes.MaxPlanes)
		samples := bytes.Clone(pic.Samples)
		var levels [][]uint8
		for p := range m.Layout().Panels() {
			c0, c1 := m.Layout().Columns(p)
			levels = append(levels, make([]uint8, (c1-c0)*testBand))
		}
		rest := map[[3]int]int32{}
		if err := m.Levels(b, levels, func(p, row, col int, d int32) { rest[[3]int{p, row, col}] = d }, &s); err != nil {
			t.Fatal(err)
		}
		for p := range m.Layout().Panels() {
			c0, c1 := m.Layout().Columns(p)
			for k, v := range levels[p][:(c1-c0)*pic.Rows] {
				row, col := k/(c1-c0), k%(c1-c0)
				want := planes.Zero
				if c0+col < testCols {
					want = int(samples[row*testCols+c0+col])
				}
				if got := int(v) - planes.ZeroLevel + int(rest[[3]int{p, row, col}]) + planes.Zero; got != want || v > 127 {
					t.Fatalf("band %d panel %d row %d column %d: level %d, sample %d, want %d", b, p, row, col, v, got, want)
				}
			}
		}
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != "c0115fd815a98d8fc4acd0eb21e5e3bb" || outside != 183 {
		t.Errorf("MD5 %s, %d samples outside the window", got, outside)
	}
}

// TestHostile shows what happens to pictures that are not what the side
// information says.
func TestHostile(t *testing.T) {
	good := streams(t)
	levels := [][]uint8{make([]uint8, 1<<16), make([]uint8, 1<<16)}
	add := func(int, int, int, int32) {}
	try := func(name string, s *planes.Side, band int, stream []byte) {
		t.Helper()
		m := newMatrix(t, s)
		if err := m.AttachChunk(band, stream); err != nil {
			t.Fatal(err)
		}
		if err := m.Levels(band, levels, add, new(planes.Scratch)); !errors.Is(err, planes.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	narrow := side()
	narrow.Band = 64
	try("a smaller size", narrow, 0, good[0])
	narrow.Band = 32
	try("a larger size", narrow, 0, good[0])
	try("two pictures", side(), 0, append(bytes.Clone(good[0]), good[1]...))
	try("no picture", side(), 0, []byte{})
	try("cut", side(), 0, good[0][:len(good[0])/2])
	bad := bytes.Clone(good[0])
	bad[len(bad)/2] ^= 0x10
	try("a flipped bit", side(), 0, bad)
	few := side()
	few.Outside = 10
	try("more samples outside the window than announced", few, 0, good[0])
	m := newMatrix(t, side())
	if err := m.Attach(good[:2]); !errors.Is(err, planes.ErrCorrupt) {
		t.Errorf("two pictures of three: %v", err)
	}
	if _, err := m.Decode(0, new(planes.Scratch)); err == nil {
		t.Error("a picture that was not attached decodes")
	}
}

// TestScratchBounded shows that a scratch stays within what is leased for it.
func TestScratchBounded(t *testing.T) {
	m := newMatrix(t, side())
	if err := m.Attach(streams(t)); err != nil {
		t.Fatal(err)
	}
	heap := func() int64 {
		var s runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&s)
		return int64(s.HeapAlloc)
	}
	before := heap()
	var s planes.Scratch
	if _, err := m.Decode(0, &s); err != nil {
		t.Fatal(err)
	}
	w, h := m.PictureSize()
	took, most := heap()-before, int64(w*h)*planes.BytesPerSample+planes.FixedBytes
	t.Logf("%d bytes for %d samples, at most %d", took, w*h, most)
	if took > most {
		t.Errorf("scratch of %d bytes, at most %d", took, most)
	}
	runtime.KeepAlive(&s)
}

func TestSide(t *testing.T) {
	l := tile.Layout{Rows: testRows, Cols: testCols}
	for name, edit := range map[string]func(*planes.Side){
		"planes":     func(s *planes.Side) { s.Planes = 4 },
		"no band":    func(s *planes.Side) { s.Band = 0 },
		"band":       func(s *planes.Side) { s.Band = 40 },
		"huge band":  func(s *planes.Side) { s.Band = 1 << 16 },
		"outside":    func(s *planes.Side) { s.Outside = testRows*testCols/16 + 1 },
		"base":       func(s *planes.Side) { s.Row.Base = 0 },
		"NaN":        func(s *planes.Side) { s.Col.Base = float32(math.NaN()) },
		"codes":      func(s *planes.Side) { s.Row.Code = s.Row.Code[1:] },
		"fractional": func(s *planes.Side) { s.Col.Frac = 7 },
	} {
		s := side()
		edit(s)
		if _, err := s.AppendTo(nil, l); !errors.Is(err, planes.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	blob, err := side().AppendTo(nil, l)
	if err != nil {
		t.Fatal(err)
	}
	for n := range blob {
		if _, err := planes.ParseSide(blob[:n], l); !errors.Is(err, planes.ErrCorrupt) {
			t.Fatalf("%d of %d bytes: %v", n, len(blob), err)
		}
	}
	if _, err := planes.ParseSide(append(blob, 0), l); !errors.Is(err, planes.ErrCorrupt) {
		t.Error("a byte too many is accepted")
	}
	if _, err := planes.ParseSide(blob, tile.Layout{Rows: testRows, Cols: planes.MaxCols + 1}); !errors.Is(err, planes.ErrCorrupt) {
		t.Error("too many columns are accepted")
	}
}

// FuzzSide shows that side information that is read is written the same.
func FuzzSide(f *testing.F) {
	blob, err := side().AppendTo(nil, tile.Layout{Rows: testRows, Cols: testCols})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(blob, testRows, testCols)
	f.Add(blob[:28], 1, 1)
	f.Fuzz(func(t *testing.T, data []byte, rows, cols int) {
		if rows > 1<<16 || cols > 1<<17 {
			return
		}
		l := tile.Layout{Rows: rows, Cols: cols}
		s, err := planes.ParseSide(data, l)
		if err != nil {
			if !errors.Is(err, planes.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		again, err := s.AppendTo(nil, l)
		if err != nil || !bytes.Equal(again, data) {
			t.Errorf("%x was read as %+v and written as %x, %v", data, s, again, err)
		}
		m, err := planes.NewMatrix(rows, cols, data)
		if err != nil || !reflect.DeepEqual(m.Side(), s) {
			t.Errorf("%v", err)
		}
	})
}
