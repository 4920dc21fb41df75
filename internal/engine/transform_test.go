package engine_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/lamina-llm/lamina/decode/rans"
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
	src, err := source.Open(checkpointOf(t, 8, 2000, 200, false))
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
	want := inRegimes(t, plain, ids, setting{plan.A, 1})
	got := inRegimes(t, path, ids, setting{plan.A, 2}, setting{plan.B, 1}, setting{plan.C, 2})
	for i := range got {
		// What rounding activations does to random layers; other inputs give 1.4.
		if e := distance(got[i], want[i]); !(e <= 0.3) {
			t.Errorf("logits of token %d are %.3f from those without a transform", i, e)
		}
	}
}
