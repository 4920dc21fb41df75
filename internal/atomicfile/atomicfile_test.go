package atomicfile_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/lamina-llm/lamina/internal/atomicfile"
)

const suffix = ".partial"

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	put := func(text string, fail error) func(io.Writer) error {
		return func(w io.Writer) error {
			if _, err := io.WriteString(w, text); err != nil {
				return err
			}
			list, err := os.ReadDir(dir)
			if err != nil || !strings.HasSuffix(list[len(list)-1].Name(), suffix) {
				t.Errorf("while writing: %v, %v", list, err)
			}
			return fail
		}
	}
	check := func(want string) {
		t.Helper()
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
		if list, _ := os.ReadDir(dir); len(list) != 1 {
			t.Errorf("files: %v", list)
		}
	}
	if err := atomicfile.Write(path, 0o600, put("one", nil)); err != nil {
		t.Fatal(err)
	}
	check("one")
	if st, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	// Half of a file larger than the buffer is on disk when it fails.
	failed := errors.New("no more")
	if err := atomicfile.Write(path, 0o644, put(strings.Repeat("x", 3<<20), failed)); !errors.Is(err, failed) {
		t.Errorf("error %v", err)
	}
	check("one")
	if err := atomicfile.Write(path, 0o644, put("two", nil)); err != nil {
		t.Fatal(err)
	}
	check("two")
	if err := atomicfile.Write(filepath.Join(dir, "none", "a"), 0o644, put("", nil)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder that does not exist: %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "b"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.Write(filepath.Join(dir, "b"), 0o644, func(io.Writer) error { return nil }); err == nil {
		t.Error("a file took the place of a folder")
	}
	if list, _ := filepath.Glob(filepath.Join(dir, "*"+suffix)); len(list) != 0 {
		t.Errorf("left behind: %v", list)
	}
}

// What a process that was killed left goes when the file is next written; what is
// being written, and what only looks alike, stays.
func TestKilled(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no locks that tell halves of killed processes")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "a[1]")
	dead := []string{".0123abcd.partial", ".ffffffff.partial"}
	alike := []string{".0123abcd.part", ".0123abc.partial", ".0123abcg.partial", ".b.0123abcd.partial", "0123abcd.partial"}
	for _, end := range append(dead, alike...) {
		if err := os.WriteFile(path+end, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(path+".00000000.partial", 0o755); err != nil {
		t.Fatal(err)
	}
	err := atomicfile.Write(path, 0o644, func(w io.Writer) error {
		_, err := io.WriteString(w, "outer")
		return errors.Join(err, atomicfile.Write(path, 0o644, func(w io.Writer) error {
			_, err := io.WriteString(w, "inner")
			return err
		}))
	})
	if got, err2 := os.ReadFile(path); err != nil || err2 != nil || string(got) != "outer" {
		t.Errorf("%q, %v, %v", got, err, err2)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2+len(alike) {
		t.Errorf("left: %v, %v", left, err)
	}
	for _, end := range dead {
		if _, err := os.Stat(path + end); err == nil {
			t.Errorf("%s is still there", end)
		}
	}
}

// Many at once: each succeeds, one of them is there, nothing else.
func TestConcurrent(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	failed := make(chan error, 8)
	for i := range cap(failed) {
		go func() {
			var errs []error
			for range 20 {
				errs = append(errs, atomicfile.Write(path, 0o644, func(w io.Writer) error {
					_, err := io.WriteString(w, strings.Repeat(string(rune('a'+i)), 5000))
					return err
				}))
			}
			failed <- errors.Join(errs...)
		}()
	}
	for range cap(failed) {
		if err := <-failed; err != nil && runtime.GOOS != "windows" {
			t.Error(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != strings.Repeat(string(got[:1]), 5000) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}
