package engine_test

import (
	"context"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/engine"
	"github.com/lamina-llm/lamina/internal/source"
	"github.com/lamina-llm/lamina/pack"
	"github.com/lamina-llm/lamina/runtime/plan"
)

// TestTransform runs a model whose matrices take transformed inputs in every
// regime: the logits are the same bit for bit, and finely coded they are those
// of the model without a transform.
func TestTransform(t *testing.T) {
	if testing.Short() {
		t.Skip("compares numbers at length; the concurrency is in other tests, too")
	}
	ctx := context.Background()
	src, err := source.Open(checkpointOf(t, 8, 2000))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	dir := t.TempDir()
	plain, path := filepath.Join(dir, "plain.lamina"), filepath.Join(dir, "turned.lamina")
	for file, kind := range map[string]pack.Transformation{plain: pack.NoTransform, path: pack.Hadamard} {
		if _, err := pack.Run(ctx, src, file, pack.Options{Bits: 7, Mode: rans.DQ, Transform: kind}); err != nil {
			t.Fatal(err)
		}
	}
	ids := []int32{0, 17, 1999, 512, 511, 100, 3, 3, 250, 1640}
	m := openRegime(t, plain, engine.Options{Context: 64, Parallel: 1, BatchTokens: 32, Threads: 1, KV: engine.KVQ16}, plan.A)
	want := logits(t, m, ids)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	var first [][]float32
	for _, c := range []struct {
		regime  plan.Regime
		threads int
	}{{plan.A, 2}, {plan.B, 1}, {plan.C, 2}} {
		m := openRegime(t, path, engine.Options{Context: 64, Parallel: 1, BatchTokens: 32, Threads: c.threads, KV: engine.KVQ16}, c.regime)
		p := m.Plan()
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
	for i := range first {
		diff, size := 0.0, 0.0
		for v := range first[i] {
			d := float64(first[i][v] - want[i][v])
			diff, size = diff+d*d, size+float64(want[i][v])*float64(want[i][v])
		}
		// What rounding activations does to random layers; other inputs give 1.4.
		if e := math.Sqrt(diff / size); e > 0.3 {
			t.Errorf("logits of token %d are %.3f from those without a transform", i, e)
		}
	}
}
