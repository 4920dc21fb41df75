package engine_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/lamina-llm/lamina/decode/planes"
	"github.com/lamina-llm/lamina/internal/engine"
	"github.com/lamina-llm/lamina/internal/source"
	"github.com/lamina-llm/lamina/pack"
	"github.com/lamina-llm/lamina/runtime/plan"
	"github.com/lamina-llm/lamina/weights"
)

// TestPictures runs a model coded as H.266 pictures with everything unpacked,
// with some decoded on every use and with embedding rows from the file, on one
// and two workers: the logits are the same bit for bit. A picture that does not decode gives an
// error.
func TestPictures(t *testing.T) {
	ctx := context.Background()
	src, err := source.Open(checkpoint(t))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	path, qp := filepath.Join(t.TempDir(), "pictures.lamina"), 20.0
	if _, err := pack.Run(ctx, src, path, pack.Options{Codec: pack.VVC, QP: &qp}); err != nil {
		t.Fatal(err)
	}
	ids := []int32{0, 17, 15999, 512, 511, 100, 3, 3, 250, 9640}
	var first [][]float32
	seen := map[plan.Regime]bool{}
	for _, c := range []struct {
		ram     func(plan.Plan) int64
		threads int
	}{
		{func(plan.Plan) int64 { return 8 << 30 }, 2},
		{func(p plan.Plan) int64 { return p.ResidentBudget }, 1},
		{func(p plan.Plan) int64 { return p.MinBudget }, 2},
	} {
		o := engine.Options{Context: 64, Parallel: 1, BatchTokens: 32, Threads: c.threads, KV: engine.KVF16}
		var m *engine.Model
		p, err := engine.Plan(ctx, path, o)
		if err != nil {
			t.Fatal(err)
		}
		// The process grows and shrinks by itself: come from below.
		for o.RAM = c.ram(p) - 12<<20; ; o.RAM += 256 << 10 {
			if m, err = engine.Open(ctx, path, o); err == nil {
				break
			}
			if !errors.Is(err, plan.ErrTooSmall) || o.RAM > c.ram(p)+32<<20 {
				t.Fatal(err)
			}
		}
		got := logits(t, m, ids)
		seen[m.Plan().Regime] = true
		made := m.Plan()
		t.Log(made.Title())
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = got
		}
		for i := range got {
			if !slices.Equal(got[i], first[i]) {
				t.Fatalf("%s: logits of token %d differ from those of the first regime", p.Title(), i)
			}
		}
	}
	if !seen[plan.A] || !seen[plan.B] && !seen[plan.C] {
		t.Errorf("regimes tried: %v", seen)
	}

	if _, err := engine.Open(ctx, spoil(t, path), engine.Options{RAM: 8 << 30, Context: 64}); !errors.Is(err, planes.ErrCorrupt) {
		t.Errorf("a damaged picture: %v", err)
	}
}

// spoil copies the file at path with one bit of a picture changed and the
// checksums made right again.
func spoil(t *testing.T, path string) string {
	t.Helper()
	f, err := weights.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := filepath.Join(t.TempDir(), "spoilt.lamina")
	w, err := weights.Create(out)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range f.Sections() {
		b, err := f.Section(s.Name)
		do(err)
		do(w.Section(s.Name, b))
	}
	for _, u := range f.Units() {
		do(w.BeginUnit(u.Name))
		for _, k := range f.Tensors()[u.First : u.First+u.Count] {
			do(w.BeginTensor(k.TensorInfo))
			for i, s := range k.Spans {
				b := bytes.Clone(data[s.Off : s.Off+int64(s.Len)])
				if k.Name == "layers.1.down" && i == 1 {
					b[len(b)/2] ^= 4
				}
				do(w.Span(b))
			}
		}
	}
	do(w.Commit())
	return out
}
