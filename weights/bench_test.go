package weights_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/lamina-llm/lamina/weights"
)

// layers writes n layers as a 3-bit 4096-wide model would have them: six
// tensors, 100 panels, and returns the file. Panels are short: the directory
// is what is measured.
func layers(t testing.TB, n int) *weights.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "m.lamina")
	w, err := weights.Create(path)
	check(t, err)
	defer w.Abort()
	panel := pattern(1000, 1)
	for i := range n {
		check(t, w.BeginUnit(fmt.Sprintf("layers.%d", i)))
		for _, name := range []string{"attn_norm", "qkv", "out", "ffn_norm", "gate_up", "down"} {
			check(t, w.BeginTensor(weights.TensorInfo{Name: fmt.Sprintf("layers.%d.%s", i, name), Role: "linear", Codec: "rans1", Rows: 4096, Cols: 4096}))
			for range 17 {
				check(t, w.Span(panel))
			}
		}
	}
	body := w.Size()
	check(t, w.Commit())
	f, err := weights.Open(path)
	check(t, err)
	t.Cleanup(func() { f.Close() })
	if dir := f.Size() - body; dir > int64(n)*(6*64+102*8+32)+64 {
		t.Fatalf("directory of %d bytes for %d layers", dir, n)
	}
	return f
}

// TestDirectoryCompact: 30 layers of 102 panels need less than 40 KB of directory.
func TestDirectoryCompact(t *testing.T) { layers(t, 30) }

func BenchmarkOpen(b *testing.B) {
	f := layers(b, 30)
	b.ReportAllocs()
	for b.Loop() {
		g, err := weights.Open(f.Name())
		check(b, err)
		g.Close()
	}
}

func BenchmarkReadUnit(b *testing.B) {
	f := layers(b, 30)
	buf := make([]byte, f.Units()[0].Len)
	b.SetBytes(f.Units()[0].Len)
	for b.Loop() {
		check(b, f.ReadUnit(0, buf))
	}
}
