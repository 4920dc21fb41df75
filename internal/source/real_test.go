package source

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"slices"
	"testing"

	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/model/token"
)

// tensorHash is the beginning of the SHA-256 of a tensor's first rows as
// little-endian float32, computed with numpy and the reference readers.
type tensorHash struct {
	name string
	rows int
	hash string
}

func checkHashes(t *testing.T, s *Source, hashes []tensorHash) {
	t.Helper()
	for _, h := range hashes {
		x, ok := s.Tensor(h.name)
		if !ok {
			t.Fatalf("no %s", h.name)
		}
		if h.rows == 0 {
			h.rows = x.Rows
		}
		dst := make([]float32, h.rows*x.Cols)
		if err := s.ReadRows(h.name, 0, h.rows, dst); err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(bytesOf(dst))
		if got := hex.EncodeToString(sum[:8]); got != h.hash {
			t.Errorf("%s: hash %s, want %s", h.name, got, h.hash)
		}
	}
}

const storyteller = "../../../shared/models/storyteller-22m"

func TestStoryteller(t *testing.T) {
	if _, err := os.Stat(storyteller); err != nil {
		t.Skip("needs the unpacked checkpoint in " + storyteller)
	}
	s, err := track(t)(Open(storyteller))
	if err != nil {
		t.Fatal(err)
	}
	c, p := s.Config(), s.Sampling()
	if c.Layers != 12 || c.Hidden != 384 || !c.Tied || c.BOS != 8188 || !slices.Equal(c.EOS, []int32{8189, 8191}) {
		t.Errorf("%+v", c)
	}
	if p.Temperature != 0.7 || p.TopP != 0.95 || len(s.ChatTemplate()) < 100 || len(s.Tensors()) != 2+12*9 {
		t.Errorf("%+v, template %q, %d tensors", p, s.ChatTemplate(), len(s.Tensors()))
	}
	checkHashes(t, s, []tensorHash{
		{"model.embed_tokens.weight", 0, "dbfb0560c1f38c37"}, {"model.layers.5.self_attn.q_proj.weight", 0, "33df95177166aee7"},
		{"model.layers.11.mlp.down_proj.weight", 0, "9c3fb5bcaabdd6a5"}, {"model.norm.weight", 0, "90f6bf152e1c577d"},
	})
	// Ids of Hugging Face tokenizers; 8188 is the beginning of text.
	text := `Once upon a time, 1234 kings said: "Go on!"`
	want := []int32{8188, 7288, 600, 258, 593, 11, 220, 16, 17, 18, 19, 7450, 379, 25, 376, 6001, 322, 713}
	if ids := encode(t, s, text, token.EncodeOptions{AddSpecial: true}); !slices.Equal(ids, want) {
		t.Errorf("ids %v", ids)
	}
}

// SmolLM2-135M-Instruct in Q4_1, with Q8_0 embeddings.
func TestSmolLM2(t *testing.T) {
	path := os.Getenv("LAMINA_TEST_GGUF")
	if path == "" {
		t.Skip("needs LAMINA_TEST_GGUF=SmolLM2-135M-Instruct.Q4_1.gguf")
	}
	s, err := track(t)(Open(path))
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Config().MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	want, _ := llama.Config{
		Hidden: 576, Intermediate: 1536, Layers: 30, Heads: 9, KVHeads: 3, HeadDim: 64, Vocab: 49152, MaxContext: 8192,
		NormEps: 1e-5, RopeTheta: 100000, Tied: true, BOS: 1, EOS: []int32{2, 0},
	}.MarshalJSON()
	if string(got) != string(want) {
		t.Errorf("config %s\nwant   %s", got, want)
	}
	checkHashes(t, s, []tensorHash{
		{"model.layers.7.self_attn.q_proj.weight", 0, "3a690b62d9c91269"}, {"model.layers.29.self_attn.k_proj.weight", 0, "8e99b2450d5f3d53"},
		{"model.layers.3.mlp.down_proj.weight", 0, "4776fb25ee5f67b7"}, {"model.embed_tokens.weight", 1000, "b03c95558e56319e"},
		{"model.norm.weight", 0, "3b87f8e27335e67f"},
	})
	// Ids of Hugging Face tokenizers, made from the same vocabulary.
	text := "The capital of France is Paris. It is the largest city in the country, and it lies on the river Seine."
	ids := []int32{504, 3575, 282, 4649, 314, 7042, 30, 657, 314, 260, 3995, 2240, 281, 260, 1798, 28, 284, 357, 5721, 335, 260, 4626, 1268, 462, 30}
	if got := encode(t, s, text, token.EncodeOptions{AddSpecial: true}); !slices.Equal(got, ids) {
		t.Errorf("ids %v", got)
	}
}
