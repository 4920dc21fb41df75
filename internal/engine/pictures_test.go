package engine_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"github.com/lamina-llm/lamina/decode/planes"
	"github.com/lamina-llm/lamina/internal/engine"
	"github.com/lamina-llm/lamina/internal/source"
	"github.com/lamina-llm/lamina/pack"
	"github.com/lamina-llm/lamina/runtime/plan"
	"github.com/lamina-llm/lamina/weights"
	"github.com/lamina-llm/lamina/weights/weightstest"
)

// TestPictures runs a model coded as H.266 pictures in every regime, on one and
// two workers, in a batch and token by token: everything unpacked, all coded
// bytes in memory and decoded on every use, most layers read from the file for
// every pass. The logits are the same bit for bit. A picture that does not
// decode gives an error.
func TestPictures(t *testing.T) {
	if testing.Short() {
		t.Skip("compares numbers at length; the concurrency is in other tests, too")
	}
	ctx := context.Background()
	src, err := source.Open(checkpointOf(t, 8, 2000))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	path, qp := filepath.Join(t.TempDir(), "pictures.lamina"), 20.0
	if _, err := pack.Run(ctx, src, path, pack.Options{Codec: pack.VVC, QP: &qp}); err != nil {
		t.Fatal(err)
	}
	ids := []int32{0, 17, 1999, 512, 511, 100, 3, 3, 250, 1640}
	var first [][]float32
	for _, c := range []struct {
		regime  plan.Regime
		threads int
	}{{plan.A, 2}, {plan.B, 1}, {plan.C, 2}, {plan.C, 1}} {
		m := openRegime(t, path, engine.Options{Context: 64, Parallel: 1, BatchTokens: 32, Threads: c.threads, KV: engine.KVQ16}, c.regime)
		p := m.Plan()
		t.Log(p.Title())
		for how, got := range map[string][][]float32{"batch": logits(t, m, ids), "tokens": oneByOne(t, m, ids)} {
			if first == nil {
				first = got
			}
			for i := range got {
				if !slices.Equal(got[i], first[i]) {
					t.Fatalf("%s, %d threads, %s: logits of token %d differ from those of the first regime", p.Title(), c.threads, how, i)
				}
			}
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
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
	weightstest.Copy(t, f, out, weightstest.Edit{Span: func(x *weights.Tensor, i int, data []byte) []byte {
		if x.Name == "layers.1.down" && i == 1 {
			data[len(data)/2] ^= 4
		}
		return data
	}})
	return out
}
