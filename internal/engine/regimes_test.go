package engine_test

import (
	"slices"
	"testing"

	"github.com/lamina-llm/lamina/internal/engine"
	"github.com/lamina-llm/lamina/runtime/plan"
)

// setting is a regime with a number of workers.
type setting struct {
	regime  plan.Regime
	threads int
}

// inRegimes runs ids through the model at path in every setting, in a batch and
// token by token: the logits are the same bit for bit. It returns them.
func inRegimes(t *testing.T, path string, ids []int32, settings ...setting) (rows [][]float32) {
	t.Helper()
	for _, k := range settings {
		m := openRegime(t, path, engine.Options{Context: 64, Parallel: 1, BatchTokens: 32, Threads: k.threads, KV: engine.KVQ16}, k.regime)
		p := m.Plan()
		for how, got := range map[string][][]float32{"batch": logits(t, m, ids), "tokens": oneByOne(t, m, ids)} {
			if rows == nil {
				rows = got
			}
			for i := range got {
				if !slices.Equal(got[i], rows[i]) {
					t.Fatalf("%s, %d threads, %s: logits of token %d differ from those of the first setting", p.Title(), k.threads, how, i)
				}
			}
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return rows
}
