package gguf

import (
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func openGolden(t testing.TB) *File {
	t.Helper()
	f, err := Open("testdata/golden.gguf")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// The golden files come from the reference Python package; results are equal
// to the last bit.
func TestDequantise(t *testing.T) {
	f := openGolden(t)
	raw, err := os.ReadFile("testdata/golden.f32")
	if err != nil {
		t.Fatal(err)
	}
	decoders := 0
	for _, b := range blocks {
		if b.decode != nil {
			decoders++
		}
	}
	if len(f.Tensors()) != decoders {
		t.Fatalf("%d tensors for %d decoders", len(f.Tensors()), decoders)
	}
	for _, info := range f.Tensors() {
		if info.Rows() != 2 || info.Cols() != 256 || info.Name != "w."+info.Type.String() {
			t.Fatalf("%+v", info)
		}
		want := make([]float32, 512)
		decodeF32(want, raw)
		raw = raw[2048:]
		for row0 := range 3 {
			for rows := range 3 - row0 {
				got := make([]float32, rows*256)
				if err := f.ReadRows(info.Name, row0, rows, got); err != nil {
					t.Fatal(err)
				}
				for i, v := range got {
					if w := want[row0*256+i]; math.Float32bits(v) != math.Float32bits(w) {
						t.Fatalf("%s: rows %d+%d: element %d is %v, want %v", info.Name, row0, rows, i, v, w)
					}
				}
			}
		}
	}
	if len(raw) != 0 {
		t.Fatalf("%d bytes of expected values left over", len(raw))
	}
	dst := make([]float32, 256)
	for _, c := range []struct {
		name       string
		row0, rows int
		want       error
	}{
		{"none", 0, 1, ErrNotFound}, {"w.F32", 2, 1, ErrRange}, {"w.F32", -1, 1, ErrRange}, {"w.F32", 0, -1, ErrRange},
		{"w.F32", 1, math.MaxInt, ErrRange}, {"w.F32", 0, 2, ErrRange},
	} {
		if err := f.ReadRows(c.name, c.row0, c.rows, dst); !errors.Is(err, c.want) {
			t.Errorf("ReadRows(%s, %d, %d) = %v, want %v", c.name, c.row0, c.rows, err, c.want)
		}
	}
}

func TestMetadata(t *testing.T) {
	f := openGolden(t)
	for key, want := range map[string]int64{
		"t.u8": 200, "t.i8": -100, "t.u16": 60000, "t.i16": -30000, "t.u32": 4000000000, "t.i32": -2000000000, "t.i64": -1 << 60,
	} {
		if v, ok := f.Int(key); !ok || v != want {
			t.Errorf("Int(%s) = %d, %v", key, v, ok)
		}
	}
	for _, key := range []string{"t.u64", "t.f32", "t.bool", "t.str", "none"} {
		if v, ok := f.Int(key); ok {
			t.Errorf("Int(%s) = %d", key, v)
		}
	}
	for key, want := range map[string]float64{"t.f32": 1.5, "t.f64": 0.1, "t.i8": -100} {
		if v, ok := f.Float(key); !ok || v != want {
			t.Errorf("Float(%s) = %v, %v", key, v, ok)
		}
	}
	if v, ok := f.Bool("t.bool"); !ok || !v {
		t.Error("Bool")
	}
	if v, err := f.String("t.str"); err != nil || v != "  white space is content \n\u3000" {
		t.Errorf("String = %q, %v", v, err)
	}
	if v, err := f.Strings("t.strs"); err != nil || !slices.Equal(v, []string{"", " ", "\n", "\u3000", "a b", "\u65e5\u672c"}) {
		t.Errorf("Strings = %q, %v", v, err)
	}
	if v, err := f.Ints("t.i32s"); err != nil || !slices.Equal(v, []int64{1, -2, 3}) {
		t.Errorf("Ints = %v, %v", v, err)
	}
	if v, err := f.Floats("t.f32s"); err != nil || !slices.Equal(v, []float32{0.5, -0.25}) {
		t.Errorf("Floats = %v, %v", v, err)
	}
	if v, err := f.Strings("none"); v != nil || err != nil || f.Has("none") || !f.Has("t.u8") {
		t.Errorf("absent key: %v, %v", v, err)
	}
	_, e1 := f.String("t.u8")
	_, e2 := f.Strings("t.i32s")
	_, e3 := f.Ints("t.f32s")
	_, e4 := f.Floats("t.str")
	for i, err := range []error{e1, e2, e3, e4} {
		if !errors.Is(err, ErrFormat) {
			t.Errorf("wrong type %d: %v", i, err)
		}
	}
}

// header builds GGUF files field by field.
type header struct{ b []byte }

func newHeader(tensors, entries uint64) *header {
	return (&header{}).u32(0x46554747).u32(3).u64(tensors).u64(entries)
}

func (h *header) u32(v uint32) *header { h.b = binary.LittleEndian.AppendUint32(h.b, v); return h }
func (h *header) u64(v uint64) *header { h.b = binary.LittleEndian.AppendUint64(h.b, v); return h }
func (h *header) str(s string) *header { h.u64(uint64(len(s))); h.b = append(h.b, s...); return h }
func (h *header) tensor(name string, typ Type, off uint64, dims ...uint64) *header {
	h.str(name).u32(uint32(len(dims)))
	for _, d := range dims {
		h.u64(d)
	}
	return h.u32(uint32(typ)).u64(off)
}

// data pads the header and appends n bytes.
func (h *header) data(n int) []byte {
	for len(h.b)%32 != 0 {
		h.b = append(h.b, 0)
	}
	return append(h.b, make([]byte, n)...)
}

func openBytes(t testing.TB, b []byte) (*File, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "test.gguf")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err == nil {
		t.Cleanup(func() { f.Close() })
	}
	return f, err
}

func TestBadFiles(t *testing.T) {
	if _, err := openBytes(t, newHeader(1, 0).tensor("a", Q8_0, 0, 32, 2).data(68)); err != nil {
		t.Fatal(err)
	}
	const huge = 1_000_000_000
	for name, c := range map[string]struct {
		b    []byte
		want string
		is   error
	}{
		"empty":             {nil, "can follow", ErrFormat},
		"magic":             {make([]byte, 64), "magic", ErrFormat},
		"version 1":         {(&header{}).u32(0x46554747).u32(1).u64(0).u64(0).data(32), "version 1", ErrUnsupported},
		"big-endian":        {(&header{}).u32(0x46554747).u32(3 << 24).u64(0).u64(0).data(32), "big-endian", ErrUnsupported},
		"tensor count":      {newHeader(huge, 0).data(64), "tensors", ErrFormat},
		"key count":         {newHeader(0, math.MaxUint64).data(64), "keys", ErrFormat},
		"billion numbers":   {newHeader(0, 1).str("k").u32(9).u32(4).u64(huge).data(64), "array of 1000000000 elements", ErrFormat},
		"billion strings":   {newHeader(0, 1).str("k").u32(9).u32(8).u64(huge).data(64), "array of 1000000000 elements", ErrFormat},
		"million strings":   {newHeader(0, 1).str("k").u32(9).u32(8).u64(1e6).data(64), "can follow", ErrFormat},
		"million numbers":   {newHeader(0, 1).str("k").u32(9).u32(4).u64(1e6).data(64), "can follow", ErrFormat},
		"negative length":   {newHeader(0, 1).str("k").u32(9).u32(0).u64(math.MaxUint64).data(64), "elements", ErrFormat},
		"nested array":      {newHeader(0, 1).str("k").u32(9).u32(9).u64(1).u32(9).u64(1).data(64), "element type 9", ErrFormat},
		"array type":        {newHeader(0, 1).str("k").u32(9).u32(77).u64(1).data(64), "element type 77", ErrFormat},
		"value type":        {newHeader(0, 1).str("k").u32(13).data(64), "value type 13", ErrFormat},
		"long string":       {newHeader(0, 1).str("k").u32(8).u64(1 << 60).data(64), "string of", ErrFormat},
		"string past end":   {newHeader(0, 1).str("k").u32(8).u64(1 << 20).data(64), "can follow", ErrFormat},
		"long key":          {newHeader(0, 1).u64(math.MaxUint64).data(64), "name of", ErrFormat},
		"duplicate key":     {newHeader(0, 2).str("k").u32(4).u32(1).str("k").u32(4).u32(1).data(64), "two entries", ErrFormat},
		"alignment 0":       {newHeader(0, 1).str("general.alignment").u32(4).u32(0).data(64), "alignment", ErrFormat},
		"alignment 3":       {newHeader(0, 1).str("general.alignment").u32(4).u32(3).data(64), "alignment", ErrFormat},
		"alignment type":    {newHeader(0, 1).str("general.alignment").u32(8).str("32").data(64), "alignment", ErrFormat},
		"split":             {newHeader(0, 1).str("split.tensors.count").u32(4).u32(math.MaxInt32).data(64), "split", ErrUnsupported},
		"split count":       {newHeader(0, 1).str("split.count").u32(4).u32(2).data(64), "split", ErrUnsupported},
		"file type string":  {newHeader(0, 1).str("general.file_type").u32(8).str("x").data(64), "file_type", ErrFormat},
		"tensor dims":       {newHeader(1, 0).tensor("a", F32, 0, 1, 1, 1, 1, 1).data(64), "5 dimensions", ErrFormat},
		"tensor no dims":    {newHeader(1, 0).tensor("a", F32, 0).data(64), "0 dimensions", ErrFormat},
		"tensor zero":       {newHeader(1, 0).tensor("a", F32, 0, 0).data(64), "impossible", ErrFormat},
		"tensor overflow":   {newHeader(1, 0).tensor("a", F32, 0, 1<<62, 4).data(64), "overflow", ErrFormat},
		"tensor too long":   {newHeader(1, 0).tensor("a", F32, 0, 17).data(64), "", ErrFormat},
		"tensor offset":     {newHeader(1, 0).tensor("a", F32, 64, 1).data(64), "beyond the end", ErrFormat},
		"tensor far offset": {newHeader(1, 0).tensor("a", F32, math.MaxUint64, 1).data(64), "beyond the end", ErrFormat},
		"tensor block":      {newHeader(1, 0).tensor("a", Q8_0, 0, 16, 4).data(64), "no multiple of 32", ErrFormat},
		"tensor type":       {newHeader(1, 0).tensor("a", 999, 0, 4).data(64), "", ErrFormat},
		"tensor twice":      {newHeader(2, 0).tensor("a", F32, 0, 4).tensor("a", F32, 32, 4).data(64), "twice", ErrFormat},
		"tensors overlap":   {newHeader(2, 0).tensor("a", F32, 0, 4).tensor("b", F32, 8, 4).data(64), "overlap", ErrFormat},
		"no room for data":  {newHeader(1, 0).tensor("abcdefg", F32, 0, 1).b, "", ErrFormat},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := openBytes(t, c.b)
		runtime.ReadMemStats(&after)
		if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %v with %q", name, err, c.is, c.want)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 16<<20 {
			t.Errorf("%s: allocated %d bytes", name, n)
		}
	}
	if _, err := Open(filepath.Join(t.TempDir(), "m-00001-of-99999.gguf")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent file: %v", err)
	}
	path := filepath.Join(t.TempDir(), "m-00001-of-99999.gguf")
	if err := os.WriteFile(path, newHeader(0, 0).data(64), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); !errors.Is(err, ErrUnsupported) {
		t.Errorf("split name: %v", err)
	}
}

// A type without decoder can be listed, not read.
func TestUnknownType(t *testing.T) {
	f, err := openBytes(t, newHeader(1, 0).tensor("a", 16, 0, 256).data(66))
	if err != nil {
		t.Fatal(err)
	}
	err = f.ReadRows("a", 0, 1, make([]float32, 256))
	if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "IQ2_XXS") {
		t.Errorf("error %v", err)
	}
}

// Cut anywhere before the end of the last tensor, a file is refused.
func TestTruncated(t *testing.T) {
	whole, err := os.ReadFile("testdata/golden.gguf")
	if err != nil {
		t.Fatal(err)
	}
	tensors := openGolden(t).Tensors()
	last := tensors[len(tensors)-1]
	whole = whole[:last.off+2*blocks[last.Type].bytes] // without the padding after it
	path := filepath.Join(t.TempDir(), "cut.gguf")
	for n := 0; n < len(whole); n += 1 + n/256 {
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path); !errors.Is(err, ErrFormat) {
			t.Fatalf("first %d of %d bytes: error %v", n, len(whole), err)
		}
	}
	for _, cut := range []int{1, 600} {
		if err := os.WriteFile(path, whole[:len(whole)-cut], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "cut short") {
			t.Errorf("without its last %d bytes: error %v", cut, err)
		}
	}
}

// FuzzOpen checks that no file panics and that whatever is accepted can be
// read: every metadata key and every tensor's last row.
func FuzzOpen(f *testing.F) {
	golden, err := os.ReadFile("testdata/golden.gguf")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden)
	f.Add(newHeader(1, 1).str("k").u32(9).u32(8).u64(2).str("a").str(" b").tensor("t", Q4_K, 0, 256).data(144))
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := openBytes(t, b)
		if err != nil {
			return
		}
		for _, k := range g.Keys() {
			switch e := g.entries[k]; {
			case e.typ == tString:
				_, err = g.String(k)
			case e.typ == tArray && e.elem == tString:
				_, err = g.Strings(k)
			case e.typ == tArray && e.elem == tFloat32:
				_, err = g.Floats(k)
			default:
				g.Float(k)
				g.Bool(k)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, i := range g.Tensors() {
			if blocks[i.Type].decode == nil {
				continue
			}
			if err := g.ReadRows(i.Name, i.Rows()-1, 1, make([]float32, i.Cols())); err != nil {
				t.Fatalf("accepted, but: %v", err)
			}
		}
	})
}

func BenchmarkReadRows(b *testing.B) {
	f := openGolden(b)
	dst := make([]float32, 512)
	for _, i := range f.Tensors() {
		b.Run("type="+i.Type.String(), func(b *testing.B) {
			b.SetBytes(4 * 512)
			for b.Loop() {
				if err := f.ReadRows(i.Name, 0, 2, dst); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
