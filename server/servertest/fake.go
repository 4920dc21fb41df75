// Package servertest holds a deterministic stand-in for a model, so that the
// server and the clients can be tested without weights: a tokenizer of single
// bytes, a chat template, and a generator that tells a fixed story. It is for
// tests alone.
package servertest

import (
	"context"
	"fmt"
	"iter"
	"math"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/server"
)

// Token ids beyond the 256 bytes.
const (
	BOS   = 256
	EOS   = 257
	Vocab = 258
)

// Story is what the model says at temperature 0, byte by byte: it has
// characters of one to four bytes and some that HTML would escape.
const Story = "Once upon a time, a naïve 🙂 fox said: \"1 < 2 && 3 > 2\".\nThe 老虎 answered: <b>crème brûlée</b> 👩‍🚀. " +
	"They walked on until the evening came and the stars rose over the quiet hills. The end."

// Text is the tokenizer of single bytes.
type Text struct{}

// Encode implements server.Text.
func (Text) Encode(text string, addBOS, parseSpecial bool) ([]int32, error) {
	var ids []int32
	if addBOS {
		ids = append(ids, BOS)
	}
	for len(text) > 0 {
		if parseSpecial && strings.HasPrefix(text, "<s>") {
			ids, text = append(ids, BOS), text[3:]
			continue
		}
		ids, text = append(ids, int32(text[0])), text[1:]
	}
	return ids, nil
}

// Token implements server.Text.
func (Text) Token(id int32) ([]byte, bool) {
	switch {
	case id >= 0 && id < 256:
		return []byte{byte(id)}, false
	case id == BOS:
		return []byte("<s>"), true
	case id == EOS:
		return []byte("</s>"), true
	}
	return nil, false
}

// Vocab implements server.Text.
func (Text) Vocab() int { return Vocab }

// Template writes "role: content" lines and refuses a conversation that begins
// with an answer.
type Template struct{}

// Render implements server.Templater.
func (Template) Render(messages []server.Message, o server.TemplateOptions) (string, error) {
	if messages[0].Role == "assistant" {
		return "", fmt.Errorf("a conversation must not begin with an answer")
	}
	var b strings.Builder
	b.WriteString("<s>")
	if o.Tools != nil {
		fmt.Fprintf(&b, "tools: %s\n", o.Tools)
	}
	for _, m := range messages {
		fmt.Fprintf(&b, "%s: %s%s\n", m.Role, m.Content, m.ToolCalls)
	}
	if o.AddGenerationPrompt {
		b.WriteString("assistant:")
	}
	return b.String(), nil
}

// Model is the generator. The exported fields are set before use.
type Model struct {
	Context int           // tokens; 0 is no limit
	Prefill time.Duration // before the first token
	Step    time.Duration // for each token
	Slots   int           // requests at once before model.ErrBusy; 0 is no limit

	active, steps atomic.Int64
}

// Active is the number of requests running; Steps that of tokens made.
func (m *Model) Active() int64 { return m.active.Load() }

// Steps is the number of tokens generated so far.
func (m *Model) Steps() int64 { return m.steps.Load() }

// Generate implements server.Generator.
func (m *Model) Generate(ctx context.Context, r model.Request) iter.Seq2[model.Event, error] {
	return func(yield func(model.Event, error) bool) {
		n := m.active.Add(1)
		defer m.active.Add(-1)
		if m.Slots > 0 && n > int64(m.Slots) {
			yield(model.Event{}, model.ErrBusy)
			return
		}
		if m.Context > 0 && len(r.Prompt)+r.MaxTokens > m.Context {
			yield(model.Event{}, model.ErrContextLength)
			return
		}
		if err := pause(ctx, m.Prefill); err != nil {
			yield(model.Event{}, err)
			return
		}
		if r.PromptLogprobs {
			for i, id := range r.Prompt {
				t := info(r, id, i)
				if i == 0 {
					t.Logprob, t.Top = float32(math.NaN()), nil
				}
				if !yield(model.Event{Prompt: true, Tokens: []model.TokenInfo{t}}, nil) {
					return
				}
			}
		}
		m.tell(ctx, r, yield)
	}
}

// tell yields the continuation.
func (m *Model) tell(ctx context.Context, r model.Request, yield func(model.Event, error) bool) {
	ids, finish := plan(r)
	var all []byte
	for _, id := range ids {
		if b, special := (Text{}).Token(id); !special {
			all = append(all, b...)
		}
	}
	textEnd, end := len(all), len(all)+1 // text shown, bytes generated
	for _, s := range r.Stop {
		if i := strings.Index(string(all), s); i >= 0 && i < textEnd {
			textEnd, end, finish = i, i+len(s), model.FinishStop
		}
	}
	usage := &model.Usage{PromptTokens: len(r.Prompt)}
	shown, made := 0, 0
	for i, id := range ids {
		if err := pause(ctx, m.Step); err != nil {
			yield(model.Event{}, err)
			return
		}
		m.steps.Add(1)
		usage.CompletionTokens++
		if id < 256 {
			made++
		}
		ev := model.Event{Tokens: []model.TokenInfo{info(r, id, i)}}
		last := i == len(ids)-1 || made >= end
		upTo := max(shown, min(whole(all[:made]), textEnd))
		if last {
			ev.Finish, ev.Usage = finish, usage
			if upTo = textEnd; made < end { // ended within a character
				upTo = min(made, textEnd)
			}
		}
		ev.Text = strings.ToValidUTF8(string(all[shown:upTo]), "\uFFFD")
		shown = upTo
		if !yield(ev, nil) || last {
			return
		}
	}
	yield(model.Event{Finish: finish, Usage: usage}, nil) // no token was asked for
}

// plan returns the tokens that the model would say.
func plan(r model.Request) ([]int32, model.FinishReason) {
	var ids []int32
	for i := range r.MaxTokens {
		id := int32(EOS)
		if i < len(Story) {
			id = int32(Story[i])
		}
		if r.Sampling.Temperature > 0 && id != EOS {
			id = 'a' + int32((r.Sampling.Seed+1)*(uint64(i)*2654435761+97)>>7%26)
		}
		for t, bias := range r.Sampling.LogitBias {
			if bias >= 100 {
				id = t
			} else if bias <= -100 && t == id {
				id = '*'
			}
		}
		if id == EOS {
			if r.IgnoreEOS {
				id = '.'
			} else {
				return append(ids, EOS), model.FinishStop
			}
		}
		ids = append(ids, id)
	}
	return ids, model.FinishLength
}

// info makes up log-probabilities: a chosen token is always the likeliest.
func info(r model.Request, id int32, pos int) model.TokenInfo {
	b, _ := Text{}.Token(id)
	t := model.TokenInfo{ID: id, Bytes: b, Logprob: -0.125 - float32(pos%8)/16}
	for i := range max(r.Logprobs, 0) {
		t.Top = append(t.Top, model.TokenLogprob{ID: (id + int32(i)) % 256, Logprob: t.Logprob - float32(i)})
	}
	if len(t.Top) > 0 {
		t.Top[0].ID = id
	}
	return t
}

// whole is the length of b without an unfinished character at its end.
func whole(b []byte) int {
	for i := len(b) - 1; i >= 0 && i >= len(b)-utf8.UTFMax; i-- {
		if utf8.RuneStart(b[i]) {
			if !utf8.FullRune(b[i:]) {
				return i
			}
			break
		}
	}
	return len(b)
}

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
