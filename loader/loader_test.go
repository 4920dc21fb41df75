package loader_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lamina-llm/lamina/loader"
	"github.com/lamina-llm/lamina/weights"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pack writes units "b" and "a", in that order, with tensors "b.x", "b.y", "a.x".
func pack(t testing.TB, path string) {
	t.Helper()
	w, err := weights.Create(path)
	check(t, err)
	defer w.Abort()
	check(t, w.Section(weights.SectionConfig, []byte("cfg")))
	for _, name := range []string{"b.x", "b.y", "a.x"} {
		if !strings.HasSuffix(name, "y") {
			check(t, w.BeginUnit(name[:1]))
		}
		check(t, w.BeginTensor(weights.TensorInfo{Name: name, Codec: "raw", Rows: 2, Cols: 3, Weights: 6}))
		check(t, w.Span([]byte(name)))
		check(t, w.Span(bytes.Repeat([]byte(name), 100)))
	}
	check(t, w.Commit())
}

func layout(needs ...loader.Need) func([]byte) ([]loader.Need, error) {
	return func(config []byte) ([]loader.Need, error) {
		if string(config) != "cfg" {
			return nil, errors.New("config differs")
		}
		return needs, nil
	}
}

// fetch reads a unit in one part and checks it in two.
func fetch(ctx context.Context, m *loader.Model, unit int, dst []byte) error {
	if err := m.Read(ctx, unit, dst, 0); err != nil {
		return err
	}
	half := int64(len(dst) / 2)
	if err := m.Check(unit, dst, 0, half); err != nil {
		return err
	}
	return m.Check(unit, dst, half, int64(len(dst)))
}

var all = layout(loader.Need{Unit: "a", Tensors: []string{"a.x"}}, loader.Need{Unit: "b", Tensors: []string{"b.y", "b.x"}})

func TestFetch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.lamina")
	pack(t, path)
	data, err := os.ReadFile(path)
	check(t, err)
	ctx := context.Background()
	for _, drop := range []bool{false, true} {
		o := loader.Options{Layout: all, DropCache: drop}
		disk, err := loader.Open(path, o)
		check(t, err)
		memory, err := loader.OpenReaderAt(bytes.NewReader(data), int64(len(data)), "built-in", o)
		check(t, err)
		for _, m := range []*loader.Model{disk, memory} {
			if len(m.Units()) != 2 || m.Units()[0].Name != "a" || m.Units()[1].Name != "b" {
				t.Fatalf("units %+v, want a and b", m.Units())
			}
			var total int64
			for i, u := range m.Units() {
				buf := make([]byte, u.Bytes)
				check(t, fetch(ctx, m, i, buf))
				total += u.Bytes
				for k := range u.Tensors {
					tt := &u.Tensors[k]
					spans := m.TensorSpans(nil, i, tt, buf)
					if len(spans) != 2 || string(spans[0]) != tt.Name || string(spans[1]) != strings.Repeat(tt.Name, 100) {
						t.Fatalf("%s holds %q", tt.Name, spans)
					}
				}
			}
			if s := m.Stats(); s.Bytes != total || s.Reads != 2 || s.Errors != 0 || s.Time <= 0 {
				t.Errorf("stats %+v, want %d bytes in 2 reads", s, total)
			}
			check(t, m.Verify(ctx, nil))
			check(t, m.Close())
		}
	}
}

// TestParts: parts of a unit cover their tensors in whole blocks, check what they
// hold and nothing else, and tell what is damaged.
func TestParts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.lamina")
	w, err := weights.Create(path)
	check(t, err)
	check(t, w.Section(weights.SectionConfig, []byte("cfg")))
	check(t, w.BeginUnit("u"))
	sizes := map[string]int{"x": 10_000, "y": 300, "z": 20_000}
	for _, name := range []string{"x", "y", "z"} {
		check(t, w.BeginTensor(weights.TensorInfo{Name: name, Codec: "raw", Rows: 2, Cols: 3, Weights: 6}))
		check(t, w.Span([]byte(name)))
		check(t, w.Span(bytes.Repeat([]byte(name), sizes[name])))
	}
	check(t, w.Commit())
	var needs []loader.Need
	for _, name := range []string{"x", "y", "z"} {
		needs = append(needs, loader.Need{Unit: "u", Part: "u." + name, Tensors: []string{name}})
	}
	o := loader.Options{Layout: layout(needs...)}
	m, err := loader.Open(path, o)
	check(t, err)
	defer m.Close()
	data, err := os.ReadFile(path)
	check(t, err)
	ctx := context.Background()
	for i, u := range m.Units() {
		if u.Off%weights.UnitAlign != 0 || u.Name != needs[i].Part || len(u.Tensors) != 1 || u.Bytes > int64(sizes[u.Tensors[0].Name])+2*weights.UnitAlign {
			t.Fatalf("part %d: %+v", i, u)
		}
		buf := make([]byte, u.Bytes)
		check(t, fetch(ctx, m, i, buf))
		name := u.Tensors[0].Name
		spans := m.TensorSpans(nil, i, &u.Tensors[0], buf)
		if len(spans) != 2 || string(spans[0]) != name || string(spans[1]) != strings.Repeat(name, sizes[name]) {
			t.Fatalf("%s differs", name)
		}
		if m.Read(ctx, i, buf, 1) == nil || m.Read(ctx, i, buf[:1], -1) == nil {
			t.Error("bytes outside the part were read")
		}
		// A flipped bit is found by the parts whose matrix it hits, and by no other.
		for k, other := range m.Units() {
			s := other.Tensors[0].Spans[1]
			bad := bytes.Clone(data)
			bad[s.Off+int64(s.Len)/2] ^= 1
			r, err := loader.OpenReaderAt(bytes.NewReader(bad), int64(len(bad)), "bad", o)
			check(t, err)
			if err := fetch(ctx, r, i, buf); errors.Is(err, weights.ErrChecksum) != (k == i) && !(name != "y" && other.Tensors[0].Name == "y") {
				t.Errorf("a bit of %s flipped, %s read: %v", other.Name, u.Name, err)
			}
			check(t, r.Close())
		}
	}
}

func TestIncomplete(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.lamina")
	pack(t, path)
	for want, need := range map[string]loader.Need{
		"no unit c":                 {Unit: "c"},
		"no tensor a.z in unit a":   {Unit: "a", Tensors: []string{"a.z"}},
		"no tensor b.x in unit a: ": {Unit: "a", Tensors: []string{"b.x"}},
	} {
		_, err := loader.Open(path, loader.Options{Layout: layout(need)})
		if !errors.Is(err, loader.ErrIncomplete) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", need, err)
		}
	}
	bad := errors.New("unsupported")
	_, err := loader.Open(path, loader.Options{Layout: func([]byte) ([]loader.Need, error) { return nil, bad }})
	if !errors.Is(err, bad) {
		t.Errorf("layout error is lost: %v", err)
	}
	if _, err := loader.Open(path+"x", loader.Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

func TestFetchErrors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.lamina")
	pack(t, path)
	m, err := loader.Open(path, loader.Options{})
	check(t, err)
	defer m.Close()
	ctx, cancel := context.WithCancel(context.Background())
	buf := make([]byte, m.Units()[0].Bytes)
	for _, i := range []int{-1, 2} {
		if fetch(ctx, m, i, buf) == nil {
			t.Errorf("unit %d was fetched", i)
		}
	}
	if m.Read(ctx, 0, buf, 1) == nil || m.Read(ctx, 0, buf, -1) == nil {
		t.Error("bytes outside the unit were read")
	}
	check(t, fetch(ctx, m, 0, buf))
	check(t, os.Truncate(path, m.Size()-4096))
	err = fetch(ctx, m, 1, make([]byte, m.Units()[1].Bytes))
	if !errors.Is(err, weights.ErrChanged) || !errors.Is(err, weights.ErrTruncated) {
		t.Errorf("truncated while open: %v", err)
	}
	cancel()
	if err := fetch(ctx, m, 0, buf); err != context.Canceled {
		t.Errorf("cancelled: %v", err)
	}
}
