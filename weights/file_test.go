package weights_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/lamina-llm/lamina/weights"
)

var update = flag.Bool("update", false, "rewrite testdata/v1.lamina")

// pattern returns n bytes that depend on seed and never repeat within 251.
func pattern(n, seed int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte((i*7 + seed*31) % 251)
	}
	return p
}

type tensor struct {
	weights.TensorInfo
	spans [][]byte
}

// small is a model with every feature of the format: sections before, between
// and after units, empty and unaligned spans, auxiliary tensors.
func small() (units []string, tensors map[string][]tensor) {
	info := func(name, role, codec string, rows, cols int, w int64) weights.TensorInfo {
		return weights.TensorInfo{Name: name, Role: role, Codec: codec, Rows: rows, Cols: cols, Weights: w}
	}
	units = []string{"embed", "layers.0", "head"}
	tensors = map[string][]tensor{
		"embed": {{info("embed", "embedding", "rans1", 7, 5, 35), [][]byte{pattern(3, 1), pattern(64, 2), pattern(65, 3)}}},
		"layers.0": {
			{info("layers.0.attn_norm", "norm", "f32", 1, 5, 5), [][]byte{pattern(20, 4)}},
			{info("layers.0.qkv", "linear", "rans1", 9, 5, 45), [][]byte{{}, pattern(100, 5)}},
			{info("layers.0.rotation", "", "f32", 5, 5, 0), [][]byte{pattern(100, 6)}},
		},
		"head": {{info("norm", "norm", "f32", 1, 5, 5), [][]byte{pattern(20, 7)}}},
	}
	return units, tensors
}

var sections = map[string]string{
	"config": `{"hidden_size":5}`, "tokenizer": strings.Repeat("token", 20), "provenance": "{}", "empty": "",
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// write packs small() into path.
func write(t testing.TB, path string) {
	t.Helper()
	w, err := weights.Create(path)
	check(t, err)
	defer w.Abort()
	section := func(name string) { check(t, w.Section(name, []byte(sections[name]))) }
	section("config")
	units, tensors := small()
	for i, u := range units {
		if i == 1 {
			section("tokenizer")
			section("empty")
		}
		check(t, w.BeginUnit(u))
		for _, tt := range tensors[u] {
			check(t, w.BeginTensor(tt.TensorInfo))
			for _, s := range tt.spans {
				check(t, w.Span(s))
			}
		}
	}
	section("provenance")
	check(t, w.Commit())
}

// checkSmall compares all that f holds with small().
func checkSmall(t *testing.T, f *weights.File) {
	t.Helper()
	units, tensors := small()
	if len(f.Units()) != len(units) {
		t.Fatalf("%d units, want %d", len(f.Units()), len(units))
	}
	for i, u := range f.Units() {
		if u.Name != units[i] || u.Count != len(tensors[u.Name]) || u.Off%weights.UnitAlign != 0 {
			t.Fatalf("unit %d is %+v", i, u)
		}
		buf := make([]byte, u.Len+3)
		check(t, f.ReadUnit(i, buf))
		for k, want := range tensors[u.Name] {
			got := f.Tensor(want.Name)
			if got != &f.Tensors()[u.First+k] || got.TensorInfo != want.TensorInfo || got.Unit != i {
				t.Fatalf("tensor %s is %+v, want %+v", want.Name, got, want.TensorInfo)
			}
			spans := f.UnitSpans(nil, got, buf)
			for j, s := range got.Spans {
				one := make([]byte, s.Len)
				check(t, f.ReadSpan(one, s))
				if s.Off%weights.SpanAlign != 0 || !bytes.Equal(one, want.spans[j]) || !bytes.Equal(spans[j], one) {
					t.Fatalf("tensor %s span %d differs", want.Name, j)
				}
			}
			if len(spans) != len(want.spans) {
				t.Fatalf("tensor %s has %d spans, want %d", want.Name, len(spans), len(want.spans))
			}
		}
	}
	for name, want := range sections {
		got, err := f.Section(name)
		check(t, err)
		if string(got) != want {
			t.Fatalf("section %s is %q, want %q", name, got, want)
		}
	}
	check(t, f.Verify(context.Background(), nil))
}

// TestGolden: what Writer writes is the golden file byte for byte, and the
// golden file reads back. Files of released versions are never rewritten.
func TestGolden(t *testing.T) {
	path := filepath.Join(t.TempDir(), "v1.lamina")
	write(t, path)
	got, err := os.ReadFile(path)
	check(t, err)
	golden := filepath.Join("testdata", "v1.lamina")
	if *update {
		check(t, os.WriteFile(golden, got, 0o644))
	}
	want, err := os.ReadFile(golden)
	check(t, err)
	if !bytes.Equal(got, want) {
		t.Fatal("the written file differs from testdata/v1.lamina")
	}
	f, err := weights.Open(golden)
	check(t, err)
	defer f.Close()
	checkSmall(t, f)
	embedded, err := weights.OpenReaderAt(bytes.NewReader(want), int64(len(want)), "built-in")
	check(t, err)
	checkSmall(t, embedded)
	if f.Tensor("nope") != nil {
		t.Error("found a tensor that does not exist")
	}
	if _, err := f.Section("nope"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing section: %v", err)
	}
}

// examine opens and verifies data and fails the test on a panic.
func examine(data []byte) error {
	f, err := weights.OpenReaderAt(bytes.NewReader(data), int64(len(data)), "test")
	if err != nil {
		return err
	}
	return f.Verify(context.Background(), nil)
}

var sentinels = []error{weights.ErrMagic, weights.ErrVersion, weights.ErrChecksum, weights.ErrTruncated, weights.ErrCorrupt}

func isSentinel(err error) bool {
	return slices.ContainsFunc(sentinels, func(s error) bool { return errors.Is(err, s) })
}

func golden(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "v1.lamina"))
	check(t, err)
	return data
}

// TestTruncated cuts the file at every offset.
func TestTruncated(t *testing.T) {
	data := golden(t)
	for n := range data {
		if err := examine(data[:n]); !errors.Is(err, weights.ErrTruncated) {
			t.Fatalf("cut at %d of %d: %v", n, len(data), err)
		}
	}
	if err := examine(append(slices.Clone(data), 0)); !errors.Is(err, weights.ErrCorrupt) {
		t.Fatalf("one byte appended: %v", err)
	}
}

// TestFlipped flips every bit of the header and the directory and one bit of
// every other byte, padding included.
func TestFlipped(t *testing.T) {
	data := golden(t)
	dirOff := int(binary.LittleEndian.Uint64(data[24:]))
	for i := range data {
		masks := []byte{1 << (i % 8)}
		if i < 64 || i >= dirOff {
			masks = []byte{1, 2, 4, 8, 16, 32, 64, 128}
		}
		for _, m := range masks {
			data[i] ^= m
			err := examine(data)
			data[i] ^= m
			want := weights.ErrChecksum
			switch {
			case i < 8:
				want = weights.ErrMagic
			case i < 12:
				want = weights.ErrVersion
			case errors.Is(err, weights.ErrCorrupt) && strings.Contains(err.Error(), "padding"):
				want = weights.ErrCorrupt
			}
			if !errors.Is(err, want) {
				t.Fatalf("byte %d mask %#x: %v, want %v", i, m, err, want)
			}
		}
	}
}

// TestReadUnitFlipped: a unit that was read is a unit that was checked.
func TestReadUnitFlipped(t *testing.T) {
	data := golden(t)
	f, err := weights.OpenReaderAt(bytes.NewReader(data), int64(len(data)), "test")
	check(t, err)
	for i, u := range f.Units() {
		buf := make([]byte, u.Len)
		for off := u.Off; off < u.Off+u.Len; off++ {
			data[off] ^= 16
			if err := f.ReadUnit(i, buf); !isSentinel(err) {
				t.Fatalf("unit %s, offset %d: %v", u.Name, off, err)
			}
			data[off] ^= 16
		}
	}
}

func TestErrorText(t *testing.T) {
	data := golden(t)
	bad := slices.Clone(data)
	bad[12288] ^= 1
	lfs := "version https://git-lfs.github.com/spec/v1\n"
	for _, c := range []struct {
		data []byte
		want string
	}{
		{nil, "weights: open test: truncated file: 0 bytes, the header alone has 64 (the copy or download was cut short: repeat it)"},
		{[]byte("GGUF\x03"), "weights: open test: not a .lamina file (this is a GGUF file: convert it with 'lamina pack')"},
		{[]byte(lfs), "weights: open test: not a .lamina file (this is a Git LFS pointer, not the file itself: fetch it with 'git lfs pull')"},
		{data[:5000], "weights: open test: truncated file: 5000 bytes of 16910 (the copy or download was cut short: repeat it)"},
		{bad, "weights: verify test: layers.0.attn_norm at offset 12288: checksum mismatch: stored 4874d5dc, computed 7f372261 (the file is damaged: copy, pull or pack it again)"},
	} {
		if err := examine(c.data); err == nil || err.Error() != c.want {
			t.Errorf("got  %v\nwant %s", err, c.want)
		}
	}
}

func TestConcurrentReads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.lamina")
	write(t, path)
	f, err := weights.Open(path)
	check(t, err)
	defer f.Close()
	var wg sync.WaitGroup
	errs := make(chan error, 8)
	for g := range 8 {
		wg.Go(func() {
			for n := range 50 {
				i := (g + n) % len(f.Units())
				u := f.Units()[i]
				buf := make([]byte, u.Len)
				if err := f.ReadUnit(i, buf); err != nil {
					errs <- err
					return
				}
				f.DropCache(u.Off, u.Len)
				if s := f.Tensors()[u.First].Spans[0]; f.ReadSpan(buf, s) != nil {
					errs <- fmt.Errorf("span of %s", u.Name)
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
}

func TestChanged(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "m.lamina")
	open := func() *weights.File {
		write(t, path)
		f, err := weights.Open(path)
		check(t, err)
		check(t, f.Changed())
		return f
	}
	f := open()
	check(t, os.Truncate(path, 5000))
	if err := f.ReadUnit(2, make([]byte, 100)); !errors.Is(err, weights.ErrTruncated) {
		t.Errorf("read after truncation: %v", err)
	}
	if err := f.Changed(); !errors.Is(err, weights.ErrChanged) {
		t.Errorf("truncated in place: %v", err)
	}
	f.Close()
	f = open()
	write(t, path) // by rename: the open file keeps its bytes
	checkUnits(t, f)
	if err := f.Changed(); !errors.Is(err, weights.ErrChanged) {
		t.Errorf("replaced: %v", err)
	}
	f.Close()
	if err := f.ReadUnit(0, make([]byte, 1000)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("read after Close: %v", err)
	}
}

func checkUnits(t *testing.T, f *weights.File) {
	t.Helper()
	for i, u := range f.Units() {
		check(t, f.ReadUnit(i, make([]byte, u.Len)))
	}
}

func TestMisuse(t *testing.T) {
	data := golden(t)
	f, err := weights.OpenReaderAt(bytes.NewReader(data), int64(len(data)), "test")
	check(t, err)
	for name, err := range map[string]error{
		"short unit buffer": f.ReadUnit(0, make([]byte, f.Units()[0].Len-1)),
		"negative unit":     f.ReadUnit(-1, nil),
		"unit past the end": f.ReadUnit(3, nil),
		"short span buffer": f.ReadSpan(make([]byte, 2), weights.Span{Off: 0, Len: 3}),
		"span past the end": f.ReadSpan(make([]byte, 8), weights.Span{Off: f.Size() - 1, Len: 2}),
		"negative span":     f.ReadSpan(make([]byte, 8), weights.Span{Off: -1, Len: 2}),
		"huge offset":       f.ReadSpan(make([]byte, 8), weights.Span{Off: 1<<63 - 1, Len: 2}),
	} {
		var e *weights.Error
		if !errors.As(err, &e) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := f.Verify(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled Verify: %v", err)
	}
	var last int64
	check(t, f.Verify(context.Background(), func(done, total int64) {
		if done <= last || total != f.Size() {
			t.Fatalf("progress %d of %d after %d", done, total, last)
		}
		last = done
	}))
	if last != f.Size() {
		t.Errorf("progress ended at %d of %d", last, f.Size())
	}
}
