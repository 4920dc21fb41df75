package source

import (
	"os"
	"testing"

	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/kv"
	"github.com/lamina-llm/lamina/model/llama"
)

// A trained model is the judge of everything that a hash cannot see: if rows
// were in the wrong order or a key misread, it would know nothing.
func TestSmolLM2Knows(t *testing.T) {
	path := os.Getenv("LAMINA_TEST_GGUF")
	if path == "" || testing.Short() {
		t.Skip("needs LAMINA_TEST_GGUF=SmolLM2-135M-Instruct.Q4_1.gguf, and a second or two")
	}
	s, err := track(t)(Open(path))
	if err != nil {
		t.Fatal(err)
	}
	c := s.Config()
	w, err := llama.NewFloatWeights(t.Context(), c, s.ReadRows, model.Serial{}, true)
	if err != nil {
		t.Fatal(err)
	}
	m, err := llama.New(c, w, model.Serial{}, llama.Options{})
	if err != nil {
		t.Fatal(err)
	}
	g := kv.Geometry{Layers: c.Layers, KVHeads: c.KVHeads, HeadDim: c.HeadDim, PageTokens: 16}
	pool, err := kv.New(g, make([]byte, g.Bytes(32)))
	if err != nil {
		t.Fatal(err)
	}
	seq, err := pool.NewSeq(32)
	if err != nil {
		t.Fatal(err)
	}
	// "The capital of France is Paris. It is the largest city in the country,
	// and it lies on the river Seine. The capital of Germany is", and " Berlin".
	prompt := []int32{504, 3575, 282, 4649, 314, 7042, 30, 657, 314, 260, 3995, 2240, 281, 260, 1798, 28, 284, 357, 5721, 335,
		260, 4626, 1268, 462, 30, 378, 3575, 282, 4521, 314}
	const berlin = 11452
	err = m.Forward(t.Context(), []llama.Seq{{Tokens: prompt, KV: seq, Want: llama.Last}}, func(_, _ int, logits []float32) error {
		for id, v := range logits {
			if v > logits[berlin] {
				t.Errorf("token %d is likelier: %v over %v", id, v, logits[berlin])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
