package server

import (
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/lamina-llm/lamina/model"
)

// legacyLogprobs is the completions shape: parallel arrays, one entry per
// token. The first token of an echoed prompt has null probabilities, since
// nothing predicts it.
type legacyLogprobs struct {
	Tokens        []string            `json:"tokens"`
	TokenLogprobs []number            `json:"token_logprobs"`
	TopLogprobs   []map[string]number `json:"top_logprobs"`
	TextOffset    []int               `json:"text_offset"` // in characters of the choice's text
}

// offsets tracks where tokens begin in the text, in characters, through tokens
// that hold parts of characters.
type offsets struct {
	chars int
	part  []byte // bytes of a character that is not complete yet
}

// next returns the offset of a token with these bytes and moves past it.
func (o *offsets) next(b []byte) int {
	at := o.chars
	o.part = append(o.part, b...)
	for len(o.part) > 0 && utf8.FullRune(o.part) {
		_, n := utf8.DecodeRune(o.part)
		o.part = o.part[n:]
		o.chars++
	}
	return at
}

// legacy renders tokens in the completions shape. The chosen token is always
// among the alternatives, as OpenAI has it, with the very same number: clients
// compare the two to see whether the choice was greedy.
func legacy(text Text, tokens []model.TokenInfo, o *offsets) *legacyLogprobs {
	l := &legacyLogprobs{
		Tokens: []string{}, TokenLogprobs: []number{}, TopLogprobs: []map[string]number{}, TextOffset: []int{},
	}
	for _, t := range tokens {
		name := spell(t.Bytes, `bytes:`)
		l.Tokens = append(l.Tokens, name)
		l.TokenLogprobs = append(l.TokenLogprobs, number(t.Logprob))
		var shown []byte
		if _, special := text.Token(t.ID); !special {
			shown = t.Bytes
		}
		l.TextOffset = append(l.TextOffset, o.next(shown))
		if math.IsNaN(float64(t.Logprob)) {
			l.TopLogprobs = append(l.TopLogprobs, nil)
			continue
		}
		top := map[string]number{name: number(t.Logprob)}
		for _, a := range t.Top {
			b, _ := text.Token(a.ID)
			if key := spell(b, `bytes:`); a.ID != t.ID {
				if old, ok := top[key]; !ok || old < number(a.Logprob) && key != name {
					top[key] = number(a.Logprob)
				}
			}
		}
		l.TopLogprobs = append(l.TopLogprobs, top)
	}
	return l
}

// chatLogprobs is the chat shape: a list of objects.
type chatLogprobs struct {
	Content []chatLogprob `json:"content"`
	Refusal *string       `json:"refusal"`
}

type chatLogprob struct {
	chatTop
	TopLogprobs []chatTop `json:"top_logprobs"`
}

type chatTop struct {
	Token   string `json:"token"`
	Logprob number `json:"logprob"`
	Bytes   []int  `json:"bytes"` // not []byte, which JSON would show as base64
}

func chatTokens(text Text, tokens []model.TokenInfo) *chatLogprobs {
	l := &chatLogprobs{Content: []chatLogprob{}}
	for _, t := range tokens {
		e := chatLogprob{chatTop: newChatTop(t.Bytes, t.Logprob), TopLogprobs: []chatTop{}}
		for _, a := range t.Top {
			b, _ := text.Token(a.ID)
			e.TopLogprobs = append(e.TopLogprobs, newChatTop(b, a.Logprob))
		}
		l.Content = append(l.Content, e)
	}
	return l
}

func newChatTop(b []byte, logprob float32) chatTop {
	ints := make([]int, len(b))
	for i, c := range b {
		ints[i] = int(c)
	}
	return chatTop{Token: spell(b, ""), Logprob: number(logprob), Bytes: ints}
}

// spell shows a token's bytes as text; parts of characters are escaped after a
// prefix, as OpenAI does.
func spell(b []byte, prefix string) string {
	if utf8.Valid(b) {
		return string(b)
	}
	var s strings.Builder
	s.WriteString(prefix)
	for _, c := range b {
		fmt.Fprintf(&s, `\x%02x`, c)
	}
	return s.String()
}
