package weights_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/lamina-llm/lamina/weights"
)

// list returns the names in dir.
func list(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	check(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestAbort(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "m.lamina")
	w, err := weights.Create(path)
	check(t, err)
	check(t, w.Section("config", pattern(1<<20, 1)))
	w.Abort()
	w.Abort()
	if names := list(t, dir); len(names) != 0 {
		t.Errorf("Abort left %v", names)
	}
	if w.Section("x", nil) == nil || w.Commit() == nil {
		t.Error("an aborted writer still works")
	}

	write(t, path)
	old, err := os.ReadFile(path)
	check(t, err)
	w, err = weights.Create(path)
	check(t, err)
	check(t, w.Section("config", nil))
	w.Abort()
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, old) {
		t.Errorf("Abort touched the file that was there: %v", err)
	}
}

// TestKilled: a process that dies while writing leaves nothing under the final
// name, and what it leaves is not taken for a model.
func TestKilled(t *testing.T) {
	if path := os.Getenv("WEIGHTS_TEST_KILLED"); path != "" {
		w, err := weights.Create(path)
		check(t, err)
		check(t, w.BeginUnit("embed"))
		check(t, w.BeginTensor(weights.TensorInfo{Name: "embed", Codec: "f32", Rows: 1, Cols: 1}))
		check(t, w.Span(pattern(1<<20, 1)))
		os.Stdout.WriteString("written\n")
		io.Copy(io.Discard, os.Stdin) // until killed
		os.Exit(0)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "m.lamina")
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
	cmd.Env = append(os.Environ(), "WEIGHTS_TEST_KILLED="+path)
	in, err := cmd.StdinPipe()
	check(t, err)
	defer in.Close()
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	line := make([]byte, 8)
	if _, err := io.ReadFull(out, line); err != nil || string(line) != "written\n" {
		t.Errorf("child said %q: %v", line, err)
	}
	check(t, cmd.Process.Kill())
	cmd.Wait()
	names := list(t, dir)
	if len(names) != 1 || !strings.HasSuffix(names[0], ".partial") {
		t.Fatalf("left %v, want one .partial", names)
	}
	if _, err := weights.Open(filepath.Join(dir, names[0])); !errors.Is(err, weights.ErrMagic) {
		t.Errorf("the partial file opens: %v", err)
	}
	w, err := weights.Create(path)
	check(t, err)
	defer w.Abort()
	if runtime.GOOS != "windows" && slices.Contains(list(t, dir), names[0]) {
		t.Errorf("%s is still there when another is written", names[0])
	}
}

// TestWriterMisuse: every wrong order or name is an error that stays.
func TestWriterMisuse(t *testing.T) {
	ok := weights.TensorInfo{Name: "a", Codec: "f32", Rows: 2, Cols: 2, Weights: 4}
	with := func(change func(*weights.TensorInfo)) weights.TensorInfo {
		info := ok
		change(&info)
		return info
	}
	unit := func(w *weights.Writer) { w.BeginUnit("u") }
	full := func(w *weights.Writer) { w.BeginUnit("u"); w.BeginTensor(ok); w.Span(nil) }
	for name, f := range map[string]func(w *weights.Writer) error{
		"span first":         func(w *weights.Writer) error { return w.Span(nil) },
		"tensor first":       func(w *weights.Writer) error { return w.BeginTensor(ok) },
		"span in empty unit": func(w *weights.Writer) error { unit(w); return w.Span(nil) },
		"empty unit":         func(w *weights.Writer) error { unit(w); return w.BeginUnit("v") },
		"empty unit last":    func(w *weights.Writer) error { unit(w); return w.Commit() },
		"empty tensor":       func(w *weights.Writer) error { unit(w); w.BeginTensor(ok); return w.Commit() },
		"unit twice":         func(w *weights.Writer) error { full(w); return w.BeginUnit("u") },
		"tensor twice":       func(w *weights.Writer) error { full(w); return w.BeginTensor(ok) },
		"section twice":      func(w *weights.Writer) error { w.Section("s", nil); return w.Section("s", nil) },
		"span after section": func(w *weights.Writer) error { full(w); w.Section("s", nil); return w.Span(nil) },
		"no name":            func(w *weights.Writer) error { return w.Section("", nil) },
		"long name":          func(w *weights.Writer) error { return w.BeginUnit(strings.Repeat("x", 256)) },
		"space in name":      func(w *weights.Writer) error { return w.BeginUnit("a b") },
		"no codec": func(w *weights.Writer) error {
			unit(w)
			return w.BeginTensor(with(func(i *weights.TensorInfo) { i.Codec = "" }))
		},
		"no rows": func(w *weights.Writer) error {
			unit(w)
			return w.BeginTensor(with(func(i *weights.TensorInfo) { i.Rows = 0 }))
		},
		"too many weights": func(w *weights.Writer) error {
			unit(w)
			return w.BeginTensor(with(func(i *weights.TensorInfo) { i.Weights = 5 }))
		},
	} {
		dir := t.TempDir()
		w, err := weights.Create(filepath.Join(dir, "m.lamina"))
		check(t, err)
		first := f(w)
		if again := w.Commit(); first == nil || again != first {
			t.Errorf("%s: %v, then Commit: %v", name, first, again)
		}
		if names := list(t, dir); len(names) != 0 {
			t.Errorf("%s: left %v", name, names)
		}
	}
	if _, err := weights.Create(t.TempDir()); err == nil {
		t.Error("Create over a folder succeeds")
	}
}
