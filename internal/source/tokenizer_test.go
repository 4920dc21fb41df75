package source

import (
	"errors"
	"slices"
	"testing"

	"github.com/lamina-llm/lamina/model/token"
)

func encode(t *testing.T, s *Source, text string, o token.EncodeOptions) []int32 {
	t.Helper()
	tok, err := s.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	ids, err := tok.Encode(text, o)
	if err != nil {
		t.Fatal(err)
	}
	if back := tok.Decode(ids, true); back != text {
		t.Errorf("%q came back as %q", text, back)
	}
	return ids
}

// A SentencePiece vocabulary of eleven tokens, in GGUF.
func TestGGUFTokenizer(t *testing.T) {
	c := tiny()
	g := newGGUF(c, weights(c))
	g.set("tokenizer.ggml.model", "llama")
	g.set("tokenizer.ggml.tokens", []string{"<unk>", "<s>", "</s>", "a", "b", "\u2581", "ab", "\u2581ab", "c", "\u3000", "bc"})
	g.set("tokenizer.ggml.token_type", []int32{2, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1})
	g.set("tokenizer.ggml.scores", []float32{0, 0, 0, -10, -11, -12, -1, -2, -13, -14, -3})
	s, err := openGGUFBytes(t, g.bytes())
	if err != nil {
		t.Fatal(err)
	}
	if ids := encode(t, s, "abc\u3000a", token.EncodeOptions{AddSpecial: true}); !slices.Equal(ids, []int32{1, 7, 8, 9, 3}) {
		t.Errorf("ids %v", ids)
	}
	g = newGGUF(c, weights(c))
	if s, err = openGGUFBytes(t, g.bytes()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Tokenizer(); !errors.Is(err, token.ErrUnsupported) {
		t.Errorf("no tokenizer: error %v", err)
	}
}

func TestHFTokenizer(t *testing.T) {
	c := tiny()
	dir := t.TempDir()
	writeHF(t, dir, toJSON(t, c), tensorFiles(c, weights(c)))
	s, err := track(t)(Open(dir))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Tokenizer(); !errors.Is(err, ErrCheckpoint) {
		t.Errorf("no tokenizer: error %v", err)
	}
	write(t, dir, "tokenizer.json", []byte(`{
		"added_tokens": [{"id": 3, "content": "<s>", "special": true}],
		"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
		"decoder": {"type": "ByteLevel"},
		"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "<s>": 3}, "merges": ["a b"]}}`))
	if ids := encode(t, s, "abba", token.EncodeOptions{}); !slices.Equal(ids, []int32{2, 1, 0}) {
		t.Errorf("ids %v", ids)
	}
}
