package token

import (
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

// families are one tokenizer of every family and way of loading.
func families(tb testing.TB) map[string]*Tokenizer {
	return map[string]*Tokenizer{
		"smollm2":         must(FromVocab(smolVocab(tb)))(tb),
		"storyteller":     fromHFFile(tb, "storyteller"),
		"gpt2":            fromHFFile(tb, "gpt2"),
		"llama-metaspace": fromHFFile(tb, "llama-metaspace"),
		"sentencepiece":   must(FromSentencePiece(readGz(tb, "spm.model.gz")))(tb),
	}
}

// TestStream pushes ids one by one: the parts are valid UTF-8, add up to what
// Decode returns, and hold back no more than an unfinished character.
func TestStream(t *testing.T) {
	texts := readJSON[[]string](t, "strings.json.gz")
	for name, tok := range families(t) {
		t.Run(name, func(t *testing.T) {
			check := func(ids []int32, skip bool) {
				t.Helper()
				want := tok.Decode(ids, skip)
				s := tok.NewStream(StreamOptions{SkipSpecial: skip})
				var got strings.Builder
				for _, id := range ids {
					part := s.Push(id)
					if !utf8.ValidString(part) {
						t.Fatalf("ids %v: part %q", ids, part)
					}
					if got.WriteString(part); !strings.HasPrefix(want, got.String()) {
						t.Fatalf("ids %v: %q is no beginning of %q", ids, got.String(), want)
					}
					if len(s.buf) >= utf8.UTFMax || len(s.buf) > 0 && utf8.FullRune(s.buf) {
						t.Fatalf("ids %v: %q is held back", ids, s.buf)
					}
				}
				got.WriteString(s.Flush())
				if got.String() != want || !utf8.ValidString(want) {
					t.Fatalf("ids %v: streamed %q, decoded %q", ids, got.String(), want)
				}
				if s.Flush() != "" {
					t.Fatal("a flushed stream is not empty")
				}
			}
			for i := 0; i < len(texts); i += 3 {
				ids, err := tok.Encode(texts[i], EncodeOptions{AddSpecial: true, ParseSpecial: true})
				if err != nil {
					t.Fatal(err)
				}
				check(ids, i%2 == 0)
			}
			// The tokens of single bytes make invalid and cut characters likely.
			var bytes []int32
			for _, id := range tok.byteIDs {
				if id >= 0 {
					bytes = append(bytes, id)
				}
			}
			if len(bytes) < 230 {
				t.Fatalf("%d byte tokens", len(bytes))
			}
			rng := rand.New(rand.NewPCG(1, 2))
			for range 1000 {
				ids := make([]int32, 1+rng.IntN(12))
				for i := range ids {
					switch rng.IntN(3) {
					case 0:
						ids[i] = int32(rng.IntN(tok.Vocab()+2)) - 1 // two of them invalid
					default:
						ids[i] = bytes[rng.IntN(len(bytes))]
					}
				}
				check(ids, rng.IntN(2) == 0)
			}
		})
	}
}

// TestStreamSplitsCharacter feeds the bytes of a character one token each.
func TestStreamSplitsCharacter(t *testing.T) {
	for name, tok := range families(t) {
		s := tok.NewStream(StreamOptions{Continuation: true})
		push := func(b byte) string { return s.Push(tok.byteIDs[b]) }
		for _, b := range []byte("\xF0\x9F\x98") {
			if got := push(b); got != "" {
				t.Errorf("%s: %q after byte %#x", name, got, b)
			}
		}
		if got := push(0x80); got != "\U0001F600" {
			t.Errorf("%s: %q", name, got)
		}
		push(0xE2)
		if got := push('a'); got != "\uFFFDa" {
			t.Errorf("%s: cut character and a letter give %q", name, got)
		}
		push(0xE2)
		if got := s.Flush(); got != "\uFFFD" {
			t.Errorf("%s: cut character at the end gives %q", name, got)
		}
	}
}
