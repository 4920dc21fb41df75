// Package weightstest makes variants of .lamina files for the tests of other
// packages: damaged, with tensors of another codec, or with other sections, always
// with valid checksums.
package weightstest

import (
	"testing"

	"github.com/lamina-llm/lamina/weights"
)

// Edit says how a copy differs from its source. A field that is nil changes
// nothing.
type Edit struct {
	// Section returns what a section holds in the copy; nil leaves it out. It may
	// change data in place.
	Section func(name string, data []byte) []byte
	// Tensor may write something of its own in the place of x, and reports
	// whether it did.
	Tensor func(w *weights.Writer, x *weights.Tensor) bool
	// Span returns what span i of x holds in the copy. It may change data in place.
	Span func(x *weights.Tensor, i int, data []byte) []byte
}

// Copy writes src again as dst, edited. It ends the test if that fails.
func Copy(t testing.TB, src *weights.File, dst string, e Edit) {
	t.Helper()
	w, err := weights.Create(dst)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range src.Sections() {
		data, err := src.Section(s.Name)
		must(err)
		if e.Section != nil {
			data = e.Section(s.Name, data)
		}
		if data != nil {
			must(w.Section(s.Name, data))
		}
	}
	for _, u := range src.Units() {
		must(w.BeginUnit(u.Name))
		for i := range u.Count {
			x := &src.Tensors()[u.First+i]
			if e.Tensor != nil && e.Tensor(w, x) {
				continue
			}
			must(w.BeginTensor(x.TensorInfo))
			for k, data := range Spans(t, src, x) {
				if e.Span != nil {
					data = e.Span(x, k, data)
				}
				must(w.Span(data))
			}
		}
	}
	must(w.Commit())
}

// Spans reads all spans of a tensor, each into memory of its own. It ends the
// test if that fails.
func Spans(t testing.TB, f *weights.File, x *weights.Tensor) [][]byte {
	t.Helper()
	spans := make([][]byte, len(x.Spans))
	for i, s := range x.Spans {
		spans[i] = make([]byte, s.Len)
		if err := f.ReadSpan(spans[i], s); err != nil {
			t.Fatal(err)
		}
	}
	return spans
}
