package token

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// prose is 64 KiB or more of mixed text with few symbols per word, as prompts have.
func prose(tb testing.TB) string {
	var sb strings.Builder
	for _, s := range readJSON[[]string](tb, "strings.json.gz") {
		sb.WriteString(s)
		sb.WriteString(" The quick brown fox couldn't jump over 12 lazy dogs, so it walked around them instead.\n")
		if sb.Len() >= 1<<16 {
			break
		}
	}
	return sb.String()
}

func BenchmarkEncode(b *testing.B) {
	text := prose(b)
	toks := families(b)
	for _, name := range slices.Sorted(maps.Keys(toks)) {
		tok := toks[name]
		b.Run("tokenizer="+name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			var ids []int32
			for b.Loop() {
				var err error
				if ids, err = tok.AppendEncode(ids[:0], text, EncodeOptions{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	tok := must(FromVocab(smolVocab(b)))(b)
	text := prose(b)
	ids, err := tok.Encode(text, EncodeOptions{})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		tok.Decode(ids, true)
	}
}

// BenchmarkUnmarshal loads the vocabulary of SmolLM2, 49152 tokens.
func BenchmarkUnmarshal(b *testing.B) {
	blob, err := must(FromVocab(smolVocab(b)))(b).MarshalBinary()
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(blob)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Unmarshal(blob); err != nil {
			b.Fatal(err)
		}
	}
}
