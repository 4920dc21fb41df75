package token

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// storytellerDir holds a real model with reference outputs; it is too large
// for the repository.
var storytellerDir = filepath.Join("..", "..", "..", "shared", "models", "storyteller-22m")

// TestStoryteller compares with the outputs of the reference that come with
// the model, from the files of the model as they are.
func TestStoryteller(t *testing.T) {
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(storytellerDir, name))
		if errors.Is(err, os.ErrNotExist) {
			t.Skipf("the storyteller-22m model is not in %s", storytellerDir)
		}
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	tok := must(FromHF(read("tokenizer.json"), read("tokenizer_config.json")))(t)
	var g struct {
		Tokenizer []struct {
			Text, Decoded string
			IDs           []int32
		}
		ChatTemplate []struct {
			Rendered string
			IDs      []int32
		} `json:"chat_template"`
	}
	if err := json.Unmarshal(read("golden.json"), &g); err != nil {
		t.Fatal(err)
	}
	if len(g.Tokenizer) < 10 || len(g.ChatTemplate) == 0 {
		t.Fatalf("%d texts, %d chats", len(g.Tokenizer), len(g.ChatTemplate))
	}
	for _, c := range g.Tokenizer {
		ids, err := tok.Encode(c.Text, EncodeOptions{ParseSpecial: true})
		if err != nil || !slices.Equal(ids, c.IDs) {
			t.Errorf("Encode(%q) = %v, %v, want %v", c.Text, ids, err, c.IDs)
		}
		if got := tok.Decode(c.IDs, false); got != c.Decoded {
			t.Errorf("Decode(%v) = %q, want %q", c.IDs, got, c.Decoded)
		}
	}
	for _, c := range g.ChatTemplate {
		ids, err := tok.Encode(c.Rendered, EncodeOptions{ParseSpecial: true})
		if err != nil || !slices.Equal(ids, c.IDs) {
			t.Errorf("Encode(%q) = %v, %v, want %v", c.Rendered, ids, err, c.IDs)
		}
	}
	if bos, _ := tok.Special("<|begin_of_text|>"); tok.BOS() != bos || !tok.AddsBOS() || !tok.IsSpecial(bos) {
		t.Errorf("BOS is %d, the token %d", tok.BOS(), bos)
	}
}

// TestConcurrent uses one tokenizer from several goroutines; the race
// detector looks on.
func TestConcurrent(t *testing.T) {
	texts := readJSON[[]string](t, "strings.json.gz")[:200]
	for name, tok := range families(t) {
		var want [][]int32
		for _, s := range texts {
			ids, err := tok.Encode(s, EncodeOptions{AddSpecial: true})
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, ids)
		}
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				for i := range texts {
					i = (i + 50*g) % len(texts)
					ids, err := tok.Encode(texts[i], EncodeOptions{AddSpecial: true})
					if err != nil || !slices.Equal(ids, want[i]) {
						t.Errorf("%s: Encode(%q) = %v, %v, alone %v", name, texts[i], ids, err, want[i])
						return
					}
					tok.Decode(ids, true)
				}
			})
		}
		wg.Wait()
	}
}

// TestLongRuns encodes runs that no pre-tokenizer splits. Quadratic work would
// take minutes.
func TestLongRuns(t *testing.T) {
	for name, tok := range families(t) {
		for _, unit := range []string{"a", " ", "e ", "7", "\n", "\u00e9", "\u4e2d", "ab"} {
			s := strings.Repeat(unit, 100_000/len(unit))
			ids, err := tok.Encode(s, EncodeOptions{})
			if err != nil {
				t.Fatal(err)
			}
			// Some add a leading space, some lose one.
			if got := tok.Decode(ids, false); got != s && got != " "+s && " "+got != s {
				t.Errorf("%s: a run of %q came back as %d bytes of %d", name, unit, len(got), len(s))
			}
		}
	}
}

// TestApplyAgree runs both merge loops on the same words.
func TestApplyAgree(t *testing.T) {
	tok := must(FromVocab(smolVocab(t)))(t)
	for _, s := range readJSON[[]string](t, "strings.json.gz") {
		s = s[:min(len(s), shortWord)]
		var ids []int32
		for i := range len(s) {
			if id := tok.byteIDs[s[i]]; id >= 0 {
				ids = append(ids, id)
			}
		}
		if len(ids) < 2 {
			continue
		}
		long := tok.merges.applyLong(nil, slices.Clone(ids))
		if short := tok.merges.applyShort(nil, ids); !slices.Equal(short, long) {
			t.Fatalf("%q: %v by scanning, %v by the heap", s, short, long)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	tok := fromHFFile(t, "gpt2")
	if ids, err := tok.Encode("a\xff", EncodeOptions{AddSpecial: true}); !errors.Is(err, ErrUTF8) || len(ids) != 0 {
		t.Errorf("invalid UTF-8: %v, %v", ids, err)
	}
}
