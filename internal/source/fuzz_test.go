package source

import (
	"os"
	"path/filepath"
	"testing"
)

// FuzzGGUF checks that no .gguf file panics and that a model which is accepted
// can be read: the last row of every tensor.
func FuzzGGUF(f *testing.F) {
	c := tiny()
	c.Layers = 1
	g := newGGUF(c, weights(c))
	g.set("tokenizer.ggml.tokens", []string{"a", "</s>"})
	g.set("tokenizer.ggml.token_type", []int32{1, 3})
	f.Add(g.bytes())
	path := filepath.Join(f.TempDir(), "fuzz.gguf")
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(path)
		if err != nil {
			return
		}
		defer s.Close()
		for _, x := range s.Tensors() {
			if err := s.ReadRows(x.Name, x.Rows-1, 1, make([]float32, x.Cols)); err != nil {
				t.Fatalf("accepted, but: %v", err)
			}
		}
	})
}
