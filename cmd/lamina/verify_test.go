package main

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lamina-llm/lamina/weights"
	"github.com/lamina-llm/lamina/weights/weightstest"
)

func TestVerify(t *testing.T) {
	path := fixture(t, "tiny.lamina")
	var r verifyReport
	okJSON(t, &r, "verify", path, "--threads", "3")
	var s showReport
	okJSON(t, &s, "show", path)
	chunks, decoded := 0, int64(0)
	for _, x := range s.Tensors {
		chunks, decoded = chunks+x.Chunks, decoded+x.Weights
	}
	if !r.OK || r.Bytes != s.Bytes || r.Chunks != chunks || r.Decoded != decoded || r.Tensors != len(s.Tensors) {
		t.Errorf("%+v, want %d chunks, %d weights, %d bytes", r, chunks, decoded, s.Bytes)
	}
	if text := ok(t, "verify", path); !strings.Contains(text, ": sound: ") {
		t.Error(text)
	}
}

func TestVerifyFindsDamage(t *testing.T) {
	good, err := os.ReadFile(fixture(t, "tiny.lamina"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "m.lamina")
	check := func(what string, data []byte) {
		t.Helper()
		write(t, path, data)
		status, out, errs := run(t, "verify", path, "--progress", "none", "--json")
		if status != 1 || out != "" || !strings.HasPrefix(errs, "lamina: ") || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: status %d, %q, %q", what, status, out, errs)
		}
	}
	check("empty", nil)
	r := rand.New(rand.NewPCG(1, 9))
	for range 60 {
		n := r.IntN(len(good))
		check("cut short", good[:n])
		flipped := append([]byte(nil), good...)
		flipped[n] ^= 1 << r.IntN(8)
		check("a bit flipped", flipped)
	}
	check("a byte too long", append(append([]byte(nil), good...), 0))
}

// rewrite copies a .lamina file and lets change alter what it holds; the copy
// has valid checksums.
func rewrite(t *testing.T, from, to string, change func(owner string, span int, data []byte) []byte) {
	t.Helper()
	f, err := weights.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	weightstest.Copy(t, f, to, weightstest.Edit{
		Section: func(name string, data []byte) []byte { return change("section "+name, 0, data) },
		Span:    func(x *weights.Tensor, i int, data []byte) []byte { return change(x.Name, i, data) },
	})
}

// Damage with valid checksums, as a broken encoder would make it.
func TestVerifyDecodes(t *testing.T) {
	good, bad := fixture(t, "tiny.lamina"), filepath.Join(t.TempDir(), "m.lamina")
	for _, c := range []struct {
		owner string
		span  int
		want  string
		alter func(data []byte) []byte
	}{
		{"layers.1.gate_up", 1, "tensor layers.1.gate_up: chunk 0: ", func(b []byte) []byte { b[len(b)/2] ^= 0x40; return b }},
		{"layers.0.down", 1, "tensor layers.0.down: chunk 0: ", func(b []byte) []byte { return b[:len(b)-1] }},
		{"embed", 0, "tensor embed: ", func(b []byte) []byte { return b[:len(b)/2] }},
		{"norm", 0, "tensor norm: element 0 is NaN", func(b []byte) []byte { copy(b, "\xff\xff\xff\xff"); return b }},
		{"norm", 0, "tensor norm: 380 bytes in 1 spans, want 96 float32 values in one", func(b []byte) []byte { return b[4:] }},
		{"section tokenizer", 0, "section tokenizer: ", func(b []byte) []byte { return b[:20] }},
		{"section tokenizer", 0, "no such section", func([]byte) []byte { return nil }},
		{"section config", 0, "section config: ", func([]byte) []byte { return []byte("{}") }},
	} {
		found := false
		rewrite(t, good, bad, func(owner string, span int, data []byte) []byte {
			if owner == c.owner && span == c.span {
				found = true
				return c.alter(data)
			}
			return data
		})
		status, _, errs := run(t, "verify", bad, "--progress", "none")
		if !found || status != 1 || !strings.Contains(errs, c.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s span %d (found: %v): status %d, %q, want %q", c.owner, c.span, found, status, errs, c.want)
		}
	}
}
