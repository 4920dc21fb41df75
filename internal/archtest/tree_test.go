package archtest

import (
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/lamina-llm/lamina"

// file is a Go file of the module, whatever its build constraints.
type file struct {
	path  string // from the module's root, with slashes
	dir   string // the package's path within the module
	test  bool   // _test.go
	lines int
	ast   *ast.File
}

func (f *file) imports() []string {
	var out []string
	for _, s := range f.ast.Imports {
		if p, err := strconv.Unquote(s.Path.Value); err == nil {
			out = append(out, p)
		}
	}
	return out
}

// load parses every Go file of the module once.
var load = sync.OnceValues(func() (files []*file, err error) {
	fset := token.NewFileSet()
	err = walk(func(name string, data []byte) error {
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		tree, err := parser.ParseFile(fset, name, data, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		files = append(files, &file{
			path: name, dir: path.Dir(name), test: strings.HasSuffix(name, "_test.go"),
			lines: strings.Count(string(data), "\n"), ast: tree,
		})
		return nil
	})
	return files, err
})

// walk calls f for every source file of the module: Go, assembler, scripts and
// documents, not what lies in folders of test data, hidden folders or modules
// of their own.
func walk(f func(name string, data []byte) error) error {
	const root = "../.."
	if _, err := os.Stat(root + "/go.mod"); err != nil {
		return fmt.Errorf("this is not internal/archtest of the module: %w", err)
	}
	kinds := []string{".go", ".s", ".h", ".py", ".sh", ".md", ".yml"}
	return filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			_, err := os.Stat(filepath.Join(p, "go.mod"))
			if err == nil || name == "testdata" || name == "node_modules" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") {
				return filepath.SkipDir
			}
			return nil
		}
		if !slices.Contains(kinds, path.Ext(name)) && name != "Makefile" {
			return nil
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		return f(filepath.ToSlash(rel), data)
	})
}

// product returns all Go files but tests.
func product(t *testing.T) []*file {
	t.Helper()
	files, err := load()
	if err != nil {
		t.Fatal(err)
	}
	files = slices.DeleteFunc(slices.Clone(files), func(f *file) bool { return f.test })
	if len(files) < 100 {
		t.Fatalf("only %d files found", len(files))
	}
	return files
}

// imports returns two graphs: packages of ours, by their path in the module,
// and packages of others.
func imports(files []*file) (own, others graph) {
	own, others = graph{}, graph{}
	for _, f := range files {
		var a, b []string
		for _, p := range f.imports() {
			if rel, ok := strings.CutPrefix(p, module+"/"); ok {
				a = append(a, rel)
			} else {
				b = append(b, p)
			}
		}
		own[f.dir] = append(own[f.dir], a...) // a node even without imports
		others[f.dir] = append(others[f.dir], b...)
	}
	return own, others
}

func TestImportsOfOurs(t *testing.T) {
	rules, err := parse(ours)
	if err != nil {
		t.Fatal(err)
	}
	own, _ := imports(product(t))
	for _, v := range check(own, rules, nil) {
		t.Error(v)
	}
}

func TestImportsOfOthers(t *testing.T) {
	rules, err := parse(outside)
	if err != nil {
		t.Fatal(err)
	}
	standard := func(p string) bool {
		first, _, _ := strings.Cut(p, "/")
		return !strings.Contains(first, ".")
	}
	_, others := imports(product(t))
	for _, v := range check(others, rules, standard) {
		t.Error(v)
	}
}

// Code that the type checker cannot vouch for is easy to find: it is in files
// named for it, or for the processor or system that it depends on.
func TestUnsafe(t *testing.T) {
	for _, f := range product(t) {
		if !slices.Contains(f.imports(), "unsafe") || strings.HasPrefix(path.Base(f.path), "unsafe") || splitFile(path.Base(f.path)) {
			continue
		}
		t.Errorf("%s imports unsafe: move that to a file unsafe*.go or one of a system or processor", f.path)
	}
}

// splitFile reports whether a file's name ends in a system or processor.
func splitFile(name string) bool {
	parts := strings.Split(strings.TrimSuffix(name, ".go"), "_")
	last := parts[len(parts)-1]
	return len(parts) > 1 && slices.Contains([]string{"linux", "darwin", "windows", "unix", "bsd", "amd64", "arm64"}, last)
}

// No file is compiled with cgo, and every package is found by the go command.
func TestPackagesBuild(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range product(t) {
		if seen[f.dir] {
			continue
		}
		seen[f.dir] = true
		p, err := build.ImportDir(filepath.Join("../..", f.dir), 0)
		if err != nil {
			t.Errorf("%s: %v", f.dir, err)
			continue
		}
		if want := path.Base(f.dir); p.Name != want && p.Name != "main" {
			t.Errorf("%s: package is named %s", f.dir, p.Name)
		}
		if len(p.CgoFiles) > 0 {
			t.Errorf("%s needs cgo: %v", f.dir, p.CgoFiles)
		}
	}
}
