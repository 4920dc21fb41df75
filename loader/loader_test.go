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
					spans := m.TensorSpans(nil, tt, buf)
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
