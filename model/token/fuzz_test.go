package token

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// probes are the texts that every accepted tokenizer has to survive.
var probes = []string{
	"", " ", "a", "Hello,  world 12345!\r\n\n", "\u2581\u2581x \u2581", "\U0001F600e\u0301\u0000", "[L] [R]  <s><unk></s><0x41>",
	strings.Repeat(" ", 70) + strings.Repeat("ab", 70),
}

// checkUsable encodes and decodes with a tokenizer made from size bytes of
// input, and takes it through its binary form.
func checkUsable(t *testing.T, tok *Tokenizer, size int) {
	t.Helper()
	// An entry of the densest table takes under 16 bytes per byte of input;
	// gaps in the ids of a tokenizer.json cost a bounded number of entries.
	if held := len(tok.blob) + 4*len(tok.offs) + len(tok.types) + 8*len(tok.merges.slots) + 4*len(tok.pieces); held > 32*size+1<<20 {
		t.Fatalf("%d bytes of input became %d", size, held)
	}
	blob, err := tok.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Unmarshal(blob)
	if err != nil {
		t.Fatalf("own binary form: %v", err)
	}
	blob2, err := again.MarshalBinary()
	if err != nil || !bytes.Equal(blob, blob2) {
		t.Fatalf("binary form changed when it was read and written again: %v", err)
	}
	for _, o := range []EncodeOptions{{}, {AddSpecial: true, ParseSpecial: true}} {
		for _, s := range probes {
			ids, err := tok.Encode(s, o)
			if err != nil {
				t.Fatalf("Encode(%q): %v", s, err)
			}
			for _, id := range ids {
				if id < 0 || int(id) >= tok.Vocab() {
					t.Fatalf("Encode(%q) has id %d of %d", s, id, tok.Vocab())
				}
			}
			if ids2, _ := again.Encode(s, o); !slices.Equal(ids, ids2) {
				t.Fatalf("Encode(%q) = %v, from the binary form %v", s, ids, ids2)
			}
			if text := tok.Decode(ids, o.ParseSpecial); !utf8.ValidString(text) {
				t.Fatalf("Decode(%v) = %q", ids, text)
			}
		}
	}
	for id := int32(-1); id <= int32(min(tok.Vocab(), 300)); id++ {
		tok.Decode([]int32{id}, true)
		tok.Text(id)
	}
}

// shrinkHF cuts a tokenizer.json down to single characters, byte and added
// tokens and the first merges, so that the fuzzer can work on its structure.
func shrinkHF(tb testing.TB, name string) []byte {
	f := readJSON[map[string]any](tb, name+".tokenizer.json.gz")
	model := f["model"].(map[string]any)
	vocab := model["vocab"].(map[string]any)
	added := f["added_tokens"].([]any)
	keep := map[string]bool{}
	merges := model["merges"].([]any)[:20]
	for _, m := range merges {
		l, r := m.([]any)[0].(string), m.([]any)[1].(string)
		keep[l], keep[r], keep[l+r] = true, true, true
	}
	for _, a := range added {
		keep[a.(map[string]any)["content"].(string)] = true
	}
	type old struct {
		s  string
		id float64
	}
	var list []old
	for s, id := range vocab {
		if _, isByte := byteToken(s); keep[s] || isByte || utf8.RuneCountInString(s) == 1 {
			list = append(list, old{s, id.(float64)})
		}
	}
	for _, a := range added {
		a := a.(map[string]any)
		if s := a["content"].(string); vocab[s] == nil {
			list = append(list, old{s, a["id"].(float64)})
		}
	}
	slices.SortFunc(list, func(a, b old) int { return cmp.Compare(a.id, b.id) })
	small, ids := map[string]any{}, map[string]int{}
	for i, o := range list {
		ids[o.s] = i
		if vocab[o.s] != nil {
			small[o.s] = i
		}
	}
	for _, a := range added {
		a := a.(map[string]any)
		a["id"] = ids[a["content"].(string)]
	}
	if p, ok := f["post_processor"].(map[string]any); ok {
		special, _ := p["special_tokens"].(map[string]any)
		for s, v := range special {
			v.(map[string]any)["ids"] = []int{ids[s]}
		}
	}
	model["vocab"], model["merges"] = small, merges
	data, err := json.Marshal(f)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

// shrinkSP keeps the first pieces of a SentencePiece model.
func shrinkSP(tb testing.TB) (out []byte) {
	pieces := 0
	err := fields(readGz(tb, "spm.model.gz"), func(num int, _ uint64, data []byte) error {
		if num == 1 {
			if pieces++; pieces > 290 && utf8.RuneCount(data) > 16 {
				return nil
			}
		}
		out = binary.AppendUvarint(out, uint64(num)<<3|2)
		out = binary.AppendUvarint(out, uint64(len(data)))
		out = append(out, data...)
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

var hfSeeds = []string{"gpt2", "ignore-merges", "storyteller", "llama-metaspace", "llama-prepend"}

func FuzzFromHF(f *testing.F) {
	for _, name := range hfSeeds {
		data := shrinkHF(f, name)
		if _, err := FromHF(data, nil); err != nil {
			f.Fatalf("%s: %v", name, err)
		}
		f.Add(data, []byte(nil))
		f.Add(data, []byte(`{"tokenizer_class":"LlamaTokenizer","bos_token":{"content":"<s>"},"eos_token":"</s>","add_bos_token":true,"add_eos_token":true}`))
	}
	f.Add([]byte(`{"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]},"pre_tokenizer":{"type":"ByteLevel"},"decoder":{"type":"ByteLevel"}}`), []byte(`{}`))
	f.Fuzz(func(t *testing.T, data, config []byte) {
		if tok, err := FromHF(data, config); err == nil {
			checkUsable(t, tok, len(data)+len(config))
		}
	})
}

func FuzzFromSentencePiece(f *testing.F) {
	data := shrinkSP(f)
	if _, err := FromSentencePiece(data); err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(readGz(f, "spm.model.gz"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if tok, err := FromSentencePiece(data); err == nil {
			checkUsable(t, tok, len(data))
		}
	})
}

func FuzzUnmarshal(f *testing.F) {
	toks := []*Tokenizer{must(FromSentencePiece(shrinkSP(f)))(f)}
	for _, name := range hfSeeds {
		toks = append(toks, must(FromHF(shrinkHF(f, name), nil))(f))
	}
	for _, tok := range toks {
		blob, err := tok.MarshalBinary()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(blob)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if tok, err := Unmarshal(data); err == nil {
			checkUsable(t, tok, len(data))
		}
	})
}

// FuzzRoundTrip checks that byte-level BPE loses nothing. The tokenizers have
// neither a prefix space nor added tokens that take white space.
func FuzzRoundTrip(f *testing.F) {
	toks := []*Tokenizer{
		fromHFFile(f, "storyteller"),
		must(FromVocab(smolVocab(f)))(f),
		must(FromVocab(vocabFromHF(f, "gpt2.tokenizer.json.gz", "default")))(f),
		must(FromVocab(vocabFromHF(f, "ignore-merges.tokenizer.json.gz", "llama-bpe")))(f),
	}
	texts := readJSON[[]string](f, "strings.json.gz")
	for i := 0; i < len(texts); i += 10 {
		f.Add(texts[i])
	}
	f.Fuzz(func(t *testing.T, s string) {
		for i, tok := range toks {
			for _, o := range []EncodeOptions{{}, {ParseSpecial: true}} {
				ids, err := tok.Encode(s, o)
				if !utf8.ValidString(s) {
					if err == nil {
						t.Fatalf("tokenizer %d takes invalid UTF-8 %q", i, s)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				// SmolLM2 has no token for some bytes, its reference drops them too.
				if slices.ContainsFunc([]byte(s), func(b byte) bool { return tok.byteIDs[b] < 0 }) {
					continue
				}
				if got := tok.Decode(ids, false); got != s {
					t.Fatalf("tokenizer %d: %q became %q", i, s, got)
				}
			}
		}
	})
}
