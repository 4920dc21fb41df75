package engine

import (
	"math"
	"slices"
	"strings"

	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/sample"
	"github.com/lamina-llm/lamina/model/token"
)

// output turns the tokens of one request into events: whole characters only,
// and nothing of a stop string.
type output struct {
	req     model.Request
	tok     *token.Tokenizer
	eos     []int32
	sampler *sample.Sampler
	stream  *token.Stream
	pending string // text that may still turn out to start a stop string
	count   int    // generated tokens
	cached  int    // prompt tokens that the key-value cache held already
	done    bool
}

func newOutput(m *Model, r model.Request, s *sample.Sampler) *output {
	return &output{req: r, tok: m.tok, eos: m.cfg.EOS, sampler: s,
		stream: m.tok.NewStream(token.StreamOptions{SkipSpecial: true, Continuation: true})}
}

// prompt is the event that scores prompt token at; info is nil for the first.
func (o *output) prompt(info *model.TokenInfo, at int) model.Event {
	t := model.TokenInfo{ID: o.req.Prompt[at], Logprob: float32(math.NaN())}
	if info != nil {
		t = *info
	}
	t.Bytes = o.tok.TokenBytes(t.ID)
	return model.Event{Prompt: true, Tokens: []model.TokenInfo{t}}
}

// token is the event of one generated token.
func (o *output) token(t model.TokenInfo) model.Event {
	if !o.req.IgnoreEOS && slices.Contains(o.eos, t.ID) {
		return o.finish(model.FinishStop)
	}
	o.count++
	t.Bytes = o.tok.TokenBytes(t.ID)
	o.pending += o.stream.Push(t.ID)
	if at := firstStop(o.pending, o.req.Stop); at >= 0 {
		text := o.pending[:at]
		o.pending = ""
		ev := o.finish(model.FinishStop)
		ev.Text, ev.Tokens = text, []model.TokenInfo{t}
		return ev
	}
	if o.count == o.req.MaxTokens {
		ev := o.finish(model.FinishLength)
		ev.Tokens = []model.TokenInfo{t}
		return ev
	}
	keep := heldBack(o.pending, o.req.Stop)
	ev := model.Event{Text: o.pending[:len(o.pending)-keep], Tokens: []model.TokenInfo{t}}
	o.pending = o.pending[len(o.pending)-keep:]
	return ev
}

// finish is the last event; text that was held back comes out with it.
func (o *output) finish(why model.FinishReason) model.Event {
	o.done = true
	text := o.pending
	if why == model.FinishLength || text != "" || len(o.req.Stop) == 0 {
		text += o.stream.Flush()
	}
	if at := firstStop(text, o.req.Stop); at >= 0 {
		text, why = text[:at], model.FinishStop
	}
	o.pending = ""
	return model.Event{Text: text, Finish: why, Usage: &model.Usage{PromptTokens: len(o.req.Prompt), CachedTokens: o.cached, CompletionTokens: o.count}}
}

// firstStop returns where the earliest stop string begins in text, or -1.
func firstStop(text string, stops []string) int {
	first := -1
	for _, s := range stops {
		if at := strings.Index(text, s); at >= 0 && (first < 0 || at < first) {
			first = at
		}
	}
	return first
}

// heldBack returns the length of the longest end of text that begins a stop
// string.
func heldBack(text string, stops []string) (keep int) {
	for _, s := range stops {
		for n := min(len(s)-1, len(text)); n > keep; n-- {
			if strings.HasSuffix(text, s[:n]) {
				keep = n
			}
		}
	}
	return keep
}
