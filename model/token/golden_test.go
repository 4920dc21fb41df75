package token

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

func readGz(tb testing.TB, name string) []byte {
	tb.Helper()
	f, err := os.Open(filepath.Join("testdata", name))
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		tb.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func readJSON[T any](tb testing.TB, name string) (v T) {
	tb.Helper()
	if err := json.Unmarshal(readGz(tb, name), &v); err != nil {
		tb.Fatal(err)
	}
	return v
}

type golden struct {
	IDs     [][]int32
	Plain   map[string][]int32
	Decoded [][3]any
}

// smolVocab is the SmolLM2 tokenizer as its GGUF file has it.
func smolVocab(tb testing.TB) Vocab {
	j := readJSON[struct {
		Pre           string
		Tokens        []string
		Special       []int32
		Merges        [][2]int32
		BOS, EOS, UNK int32
	}](tb, "smollm2.vocab.json.gz")
	v := Vocab{Model: "gpt2", Pre: j.Pre, Tokens: j.Tokens}
	v.Defaults()
	v.BOS, v.EOS, v.UNK = j.BOS, j.EOS, j.UNK
	v.Types = slices.Repeat([]int32{ggufNormal}, len(v.Tokens))
	for _, id := range j.Special {
		v.Types[id] = ggufControl
	}
	for _, m := range j.Merges {
		v.Merges = append(v.Merges, v.Tokens[m[0]]+" "+v.Tokens[m[1]])
	}
	return v
}

// vocabFromHF rewrites a byte-level tokenizer.json as GGUF metadata.
func vocabFromHF(tb testing.TB, file, pre string) Vocab {
	f := readJSON[struct {
		Model struct {
			Vocab  map[string]int
			Merges [][2]string
		}
		AddedTokens []struct {
			ID      int
			Content string
			Special bool
		} `json:"added_tokens"`
	}](tb, file)
	v := Vocab{Model: "gpt2", Pre: pre, BOS: -1, EOS: -1, UNK: -1}
	n := len(f.Model.Vocab)
	for _, a := range f.AddedTokens {
		n = max(n, a.ID+1)
	}
	v.Tokens, v.Types = make([]string, n), slices.Repeat([]int32{ggufNormal}, n)
	for s, id := range f.Model.Vocab {
		v.Tokens[id] = s
	}
	for _, a := range f.AddedTokens {
		v.Tokens[a.ID], v.Types[a.ID] = a.Content, ggufUserDefined
		if a.Special {
			v.Types[a.ID] = ggufControl
		}
	}
	for _, m := range f.Model.Merges {
		v.Merges = append(v.Merges, m[0]+" "+m[1])
	}
	return v
}

// vocabFromSP rewrites a SentencePiece model as GGUF metadata.
func vocabFromSP(tb testing.TB) Vocab {
	v := Vocab{Model: "llama"}
	v.Defaults()
	err := fields(readGz(tb, "spm.model.gz"), func(num int, _ uint64, data []byte) error {
		if num != 1 {
			return nil
		}
		b := &builder{config: config{kind: sentencePiece}}
		score, err := b.setSentencePiece(data)
		typ := int32(ggufNormal)
		switch {
		case b.types[0]&typeByte != 0:
			typ = ggufByte
		case b.types[0]&typeSpecial != 0:
			typ = ggufControl
		case b.types[0]&typeHidden != 0:
			typ = ggufUserDefined
		}
		v.Tokens, v.Scores, v.Types = append(v.Tokens, b.pieces[0]), append(v.Scores, score), append(v.Types, typ)
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

func must(t *Tokenizer, err error) func(testing.TB) *Tokenizer {
	return func(tb testing.TB) *Tokenizer {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return t
	}
}

func fromHFFile(tb testing.TB, name string) *Tokenizer {
	tb.Helper()
	return must(FromHF(readGz(tb, name+".tokenizer.json.gz"), nil))(tb)
}

// TestGolden compares ids and texts with those of the reference libraries.
func TestGolden(t *testing.T) {
	texts := readJSON[[]string](t, "strings.json.gz")
	if len(texts) < 5000 {
		t.Fatalf("%d texts", len(texts))
	}
	hf := EncodeOptions{AddSpecial: true, ParseSpecial: true}
	for _, c := range []struct {
		name, golden string
		tok          *Tokenizer
		o            EncodeOptions
		skip         string // texts with this are tokenised differently by design
	}{
		{"storyteller", "storyteller", fromHFFile(t, "storyteller"), hf, ""},
		{"smollm2-gguf", "smollm2", must(FromVocab(smolVocab(t)))(t), hf, ""},
		{"sentencepiece", "spm", must(FromSentencePiece(readGz(t, "spm.model.gz")))(t), EncodeOptions{}, ""},
		{"llama-gguf", "llama-prepend", must(FromVocab(vocabFromSP(t)))(t), hf, ""},
		{"llama-prepend", "llama-prepend", fromHFFile(t, "llama-prepend"), hf, ""},
		{"llama-metaspace", "llama-metaspace", fromHFFile(t, "llama-metaspace"), hf, ""},
		{"gpt2", "gpt2", fromHFFile(t, "gpt2"), hf, ""},
		{"ignore-merges", "ignore-merges", fromHFFile(t, "ignore-merges"), hf, ""},
		// GGUF has no lstrip, rstrip and single_word.
		{"default-gguf", "default", must(FromVocab(vocabFromHF(t, "gpt2.tokenizer.json.gz", "default")))(t), hf, "["},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := readJSON[golden](t, c.golden+".ids.json.gz")
			blob, err := c.tok.MarshalBinary()
			if err != nil {
				t.Fatal(err)
			}
			loaded, err := Unmarshal(blob)
			if err != nil {
				t.Fatal(err)
			}
			for _, tok := range []*Tokenizer{c.tok, loaded} {
				bad := 0
				check := func(text string, o EncodeOptions, want []int32) {
					if c.skip != "" && strings.Contains(text, c.skip) {
						return
					}
					got, err := tok.Encode(text, o)
					if err != nil {
						t.Fatal(err)
					}
					if !slices.Equal(got, want) {
						if bad++; bad <= 5 {
							t.Errorf("%q %+v:\n got %v\nwant %v", text, o, got, want)
						}
					}
				}
				for i, text := range texts {
					check(text, c.o, g.IDs[i])
				}
				for i, want := range g.Plain {
					n, _ := strconv.Atoi(i)
					check(texts[n], EncodeOptions{}, want)
				}
				if bad > 0 {
					t.Errorf("%d of %d differ", bad, len(texts)+len(g.Plain))
				}
				checkDecode(t, tok, g)
			}
		})
	}
}

func checkDecode(t *testing.T, tok *Tokenizer, g golden) {
	t.Helper()
	bad := 0
	for _, d := range g.Decoded {
		var ids []int32
		for _, v := range d[0].([]any) {
			ids = append(ids, int32(v.(float64)))
		}
		for i, skip := range []bool{false, true} {
			want := d[i+1].(string)
			got := tok.Decode(ids, skip)
			if got == want {
				continue
			}
			// SentencePiece removes a leading U+2581 but no byte token for a
			// space; tokenizers removes either, and so does this package.
			if strings.TrimPrefix(want, " ") == got && string(tok.piece(ids[0])) == "<0x20>" {
				continue
			}
			// The HF byte fallback decoder replaces a whole run of byte tokens
			// by U+FFFD if any part is invalid, which no stream can
			// do; SentencePiece itself, and this package, keep the
			// valid characters.
			if tok.kind == sentencePiece && strings.ContainsRune(want, utf8.RuneError) && strings.ContainsRune(got, utf8.RuneError) && tok.head != nil && len(g.Plain) > 0 {
				continue
			}
			if bad++; bad <= 5 {
				t.Errorf("Decode(%v, %v) = %q, want %q", ids, skip, got, want)
			}
		}
	}
	if bad > 0 {
		t.Errorf("%d of %d decodings differ", bad, 2*len(g.Decoded))
	}
}

// TestClasses compares the character classes with those of the regular
// expression engine that the reference uses, for every code point.
func TestClasses(t *testing.T) {
	runs := readJSON[[][2]any](t, "classes.json.gz")
	names := [...]string{classOther: "O", classLetter: "L", classNumber: "N", classSpace: "S"}
	i, bad := 0, 0
	for r := rune(0); r <= utf8.MaxRune; r++ {
		if !utf8.ValidRune(r) {
			continue
		}
		for i+1 < len(runs) && rune(runs[i+1][0].(float64)) <= r {
			i++
		}
		if got, want := names[classOf(r)], runs[i][1].(string); got != want {
			if bad++; bad < 10 {
				t.Errorf("%U is %s, want %s", r, got, want)
			}
		}
	}
	if bad > 0 {
		t.Errorf("%d code points differ", bad)
	}
}
