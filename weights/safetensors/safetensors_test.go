package safetensors

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// file builds a safetensors file from a header and data.
func file(header string, data []byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), data...)
}

func openBytes(b []byte) (*File, error) {
	f := newFile()
	f.shards = []shard{{"test", bytes.NewReader(b), io.NopCloser(nil)}}
	return f, f.add(0, int64(len(b)))
}

func write(t *testing.T, path string, b []byte) string {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func bits(x []float32) []uint32 {
	u := make([]uint32, len(x))
	for i, v := range x {
		u[i] = math.Float32bits(v)
	}
	return u
}

// The golden files come from the reference library and numpy.
func TestGolden(t *testing.T) {
	f, err := Open("testdata/golden.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	raw, err := os.ReadFile("testdata/golden.f32")
	if err != nil {
		t.Fatal(err)
	}
	want := make([]float32, len(raw)/4)
	convert(want, raw, F32)
	for _, c := range []struct {
		name       string
		rows, cols int
	}{{"f32", 3, 5}, {"f16", 8, 8}, {"bf16", 6, 4}} {
		all := want[:c.rows*c.cols]
		want = want[c.rows*c.cols:]
		var wg sync.WaitGroup
		for row0 := range c.rows + 1 { // every range, all at once
			for rows := range c.rows - row0 + 1 {
				wg.Go(func() {
					got := make([]float32, rows*c.cols)
					if err := f.ReadRows(c.name, row0, rows, got); err != nil {
						t.Error(err)
					}
					if !slices.Equal(bits(got), bits(all[row0*c.cols:][:rows*c.cols])) {
						t.Errorf("%s rows %d+%d: got %v", c.name, row0, rows, got)
					}
				})
			}
		}
		wg.Wait()
	}
	if len(want) != 0 || len(f.Tensors()) != 4 {
		t.Fatalf("%d values left over, %d tensors", len(want), len(f.Tensors()))
	}
	one := make([]float32, 5)
	for _, c := range []struct {
		name       string
		row0, rows int
		want       error
	}{
		{"none", 0, 1, ErrNotFound}, {"ids", 0, 1, ErrDType}, {"f32", 3, 1, ErrRange}, {"f32", -1, 1, ErrRange},
		{"f32", 0, -1, ErrRange}, {"f32", math.MaxInt, 1, ErrRange}, {"f32", 1, math.MaxInt, ErrRange}, {"f32", 0, 2, ErrRange},
	} {
		if err := f.ReadRows(c.name, c.row0, c.rows, one); !errors.Is(err, c.want) {
			t.Errorf("ReadRows(%s, %d, %d) = %v, want %v", c.name, c.row0, c.rows, err, c.want)
		}
	}
}

// A tensor longer than the read buffer is converted in several parts.
func TestLongRows(t *testing.T) {
	const n = bufSize/2 + 3
	data := make([]byte, 2*n)
	for i := range n {
		binary.LittleEndian.PutUint16(data[2*i:], uint16(i%0x7f80))
	}
	h, _ := json.Marshal(map[string]any{"v": map[string]any{"dtype": "BF16", "shape": []int{n}, "data_offsets": []int{0, 2 * n}}})
	f, err := openBytes(file(string(h), data))
	if err != nil {
		t.Fatal(err)
	}
	got := make([]float32, n)
	if err := f.ReadRows("v", 0, 1, got); err != nil {
		t.Fatal(err)
	}
	for i, v := range got {
		if math.Float32bits(v) != uint32(i%0x7f80)<<16 {
			t.Fatalf("element %d is %v", i, v)
		}
	}
}

func TestBadHeaders(t *testing.T) {
	const ok = `"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}`
	data := make([]byte, 16)
	if _, err := openBytes(file("{"+ok+"}", data)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ header, want string }{
		"not an object":   {`[]`, "not a JSON object"},
		"not JSON":        {`{"a"`, "tensor \"a\""},
		"no end":          {"{" + ok, "header"},
		"trailing comma":  {"{" + ok + ",}", "header"},
		"duplicate":       {"{" + ok + "," + ok + "}", `two entries for "a"`},
		"beyond the end":  {`{"a":{"dtype":"F32","shape":[6],"data_offsets":[0,24]}}`, "within 16 bytes"},
		"negative offset": {`{"a":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}}`, "data_offsets"},
		"reversed":        {`{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}`, "data_offsets"},
		"one offset":      {`{"a":{"dtype":"F32","shape":[2],"data_offsets":[8]}}`, "data_offsets"},
		"huge offset":     {`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,1e30]}}`, `tensor "a"`},
		"wrong length":    {`{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}`, "does not fill 8 bytes"},
		"overflow":        {`{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}`, "impossible"},
		"hidden overflow": {`{"a":{"dtype":"F32","shape":[0,9223372036854775807,9],"data_offsets":[0,0]}}`, "impossible"},
		"negative dim":    {`{"a":{"dtype":"F32","shape":[-1,-2],"data_offsets":[0,8]}}`, "impossible"},
		"many dims":       {`{"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,2],"data_offsets":[0,8]}}`, "9 dimensions"},
		"no dtype":        {`{"a":{"shape":[2],"data_offsets":[0,8]}}`, "dtype"},
		"wrong type":      {`{"a":7}`, `tensor "a"`},
		"overlap":         {"{" + ok + `,"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}`, `"a" and "b" overlap`},
		"bad metadata":    {`{"__metadata__":{"a":1}}`, "__metadata__"},
	} {
		_, err := openBytes(file(c.header, data))
		if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want ErrFormat with %q", name, err, c.want)
		}
	}
	for name, length := range map[string]uint64{"zero": 0, "one": 1, "past the end": 101, "huge": 1 << 40, "negative": math.MaxUint64} {
		b := append(binary.LittleEndian.AppendUint64(nil, length), make([]byte, 100)...)
		if _, err := openBytes(b); !errors.Is(err, ErrFormat) {
			t.Errorf("header length %s: error %v", name, err)
		}
	}
}

// Cut anywhere, a file is refused: the header is short or the data is.
func TestTruncated(t *testing.T) {
	b, err := os.ReadFile("testdata/golden.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	for n := range b {
		if _, err := openBytes(b[:n]); !errors.Is(err, ErrFormat) {
			t.Fatalf("first %d of %d bytes: error %v", n, len(b), err)
		}
	}
}

func TestSharded(t *testing.T) {
	dir := t.TempDir()
	one := func(name string) []byte {
		return file(`{"`+name+`":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, []byte{0, 0, 0x80, 0x3f})
	}
	index := func(m map[string]string) {
		b, _ := json.Marshal(map[string]any{"weight_map": m})
		write(t, filepath.Join(dir, "model.safetensors.index.json"), b)
	}
	write(t, filepath.Join(dir, "s1.safetensors"), one("a"))
	write(t, filepath.Join(dir, "s2.safetensors"), one("b"))
	write(t, filepath.Join(dir, "s3.safetensors"), one("a"))

	index(map[string]string{"a": "s1.safetensors", "b": "s2.safetensors"})
	f, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	var v [1]float32
	if err := f.ReadRows("b", 0, 1, v[:]); err != nil || v[0] != 1 {
		t.Fatalf("b = %v, %v", v, err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for want, m := range map[string]map[string]string{
		"missing s8.safetensors, s9.safetensors": {"a": "s1.safetensors", "b": "s9.safetensors", "c": "s8.safetensors"},
		"does not hold it":                       {"a": "s1.safetensors", "c": "s2.safetensors"},
		"is also in s1.safetensors":              {"a": "s1.safetensors", "b": "s2.safetensors", "c": "s3.safetensors"},
		"not a plain file name":                  {"a": "../s1.safetensors"},
		"names 0 files":                          {},
	} {
		index(m)
		if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// FuzzHeader checks that no header panics and that whatever is accepted can be
// read to its last row.
func FuzzHeader(f *testing.F) {
	golden, err := os.ReadFile("testdata/golden.safetensors")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden)
	f.Add(file(`{"a":{"dtype":"F16","shape":[2,0],"data_offsets":[0,0]},"b":{"dtype":"BF16","shape":[],"data_offsets":[0,2]}}`, make([]byte, 2)))
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := openBytes(b)
		if err != nil {
			return
		}
		for _, i := range file.Tensors() {
			dst := make([]float32, 0)
			row := 0
			if i.Rows() > 0 {
				row = i.Rows() - 1
				if i.Cols() > len(b) {
					t.Fatalf("%q has %d columns in a file of %d bytes", i.Name, i.Cols(), len(b))
				}
				dst = make([]float32, i.Cols())
			}
			err := file.ReadRows(i.Name, row, min(i.Rows(), 1), dst)
			if err != nil && !errors.Is(err, ErrDType) {
				t.Fatalf("accepted, but: %v", err)
			}
		}
	})
}

func BenchmarkReadRows(b *testing.B) {
	const rows, cols = 256, 1024
	data := make([]byte, 2*rows*cols)
	for _, d := range []DType{F16, BF16} {
		b.Run("dtype="+string(d), func(b *testing.B) {
			h, _ := json.Marshal(map[string]any{"v": map[string]any{"dtype": d, "shape": []int{rows, cols}, "data_offsets": []int{0, len(data)}}})
			f, err := openBytes(file(string(h), data))
			if err != nil {
				b.Fatal(err)
			}
			dst := make([]float32, rows*cols)
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if err := f.ReadRows("v", 0, rows, dst); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
