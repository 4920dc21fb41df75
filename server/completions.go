package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"

	"github.com/lamina-llm/lamina/model"
)

// completionRequest is the body of POST /v1/completions.
type completionRequest struct {
	common
	Prompt   json.RawMessage `json:"prompt"`
	Suffix   *string         `json:"suffix"`
	BestOf   *integer        `json:"best_of"`
	Logprobs *integer        `json:"logprobs"`
	Echo     bool            `json:"echo"`
}

// parseCompletion decodes and checks a completion request. No field is used
// before its check, and no size is trusted.
func (s *Server) parseCompletion(body []byte) (*call, *apiError) {
	var r completionRequest
	if e := decodeBody(body, &r); e != nil {
		return nil, e
	}
	if e := s.checkModel(r.Model); e != nil {
		return nil, e
	}
	if r.Suffix != nil && *r.Suffix != "" {
		return nil, badRequest("suffix", "unsupported_parameter", "'suffix' is not supported: this model cannot fill in the middle.")
	}
	n, e := intInRange("n", r.N, 1, 1, int64(s.o.MaxChoices))
	if e != nil {
		return nil, e
	}
	if r.BestOf != nil && *r.BestOf != 0 && int64(*r.BestOf) != n {
		return nil, badRequest("best_of", "unsupported_parameter", "'best_of' is supported only when it equals 'n' (%d), but got %d.", n, *r.BestOf)
	}
	logprobs, e := intInRange("logprobs", r.Logprobs, -1, 0, maxLogprobs)
	if e != nil {
		return nil, e
	}
	texts, prompts, e := s.parsePrompt(r.Prompt)
	if e != nil {
		return nil, e
	}
	var echo []string
	if r.Echo {
		echo = texts
		if echo == nil {
			for _, p := range prompts {
				echo = append(echo, s.detokenize(p, false))
			}
		}
	}
	deflt := s.o.MaxTokens
	if deflt <= 0 {
		deflt = 16
	}
	return s.newCall(&r.common, &completionFormat{text: s.text, logprobs: logprobs >= 0}, "prompt", prompts, echo, r.MaxTokens, deflt, int(logprobs))
}

// parsePrompt reads the four shapes of a prompt: a string, a list of strings,
// a list of token ids, a list of lists of token ids. texts is nil for ids.
func (s *Server) parsePrompt(raw json.RawMessage) (texts []string, prompts [][]int32, e *apiError) {
	const want = "a string, an array of strings, an array of token ids, or an array of arrays of token ids"
	wrong := badRequest("prompt", "invalid_type", "Invalid type for 'prompt': expected %s.", want)
	if !present(raw) {
		return nil, nil, badRequest("prompt", "missing_required_parameter", "Missing required parameter: 'prompt', %s.", want)
	}
	inner := byte(0)
	if raw[0] == '[' {
		inner = bytes.TrimLeft(raw[1:], " \t\r\n")[0] // valid JSON: at least the bracket follows
	}
	var ids [][]tokenID
	var err error
	switch {
	case raw[0] == '"':
		texts = make([]string, 1)
		err = json.Unmarshal(raw, &texts[0])
	case inner == '"':
		var list []*string
		err = json.Unmarshal(raw, &list)
		for _, t := range list {
			if t == nil {
				return nil, nil, wrong
			}
			texts = append(texts, *t)
		}
	case inner == '[':
		err = json.Unmarshal(raw, &ids)
	case inner == ']':
		return nil, nil, badRequest("prompt", "invalid_value", "Invalid 'prompt': it is an empty array.")
	case raw[0] == '[':
		ids = make([][]tokenID, 1)
		err = json.Unmarshal(raw, &ids[0])
	default:
		return nil, nil, wrong
	}
	var id *idError
	if errors.As(err, &id) {
		return nil, nil, badType("prompt", err)
	}
	if err != nil {
		return nil, nil, wrong
	}
	if n := max(len(texts), len(ids)); n > s.o.MaxChoices {
		return nil, nil, badRequest("prompt", "invalid_value", "Invalid 'prompt': at most %d prompts are allowed, but got %d.", s.o.MaxChoices, n)
	}
	for _, t := range texts {
		p, err := s.text.Encode(t, true, true)
		if err != nil {
			return nil, nil, badRequest("prompt", "invalid_value", "Invalid 'prompt': %s", err)
		}
		prompts = append(prompts, p)
	}
	for _, p := range ids {
		checked, e := s.checkIDs("prompt", p)
		if e != nil {
			return nil, nil, e
		}
		prompts = append(prompts, checked)
	}
	for _, p := range prompts {
		if len(p) == 0 {
			return nil, nil, badRequest("prompt", "invalid_value", "Invalid 'prompt': it is empty.")
		}
	}
	return texts, prompts, nil
}

// checkIDs refuses token ids outside of the vocabulary.
func (s *Server) checkIDs(param string, ids []tokenID) ([]int32, *apiError) {
	out := make([]int32, len(ids))
	for i, id := range ids {
		if id < 0 || int(id) >= s.text.Vocab() {
			return nil, badRequest(param, "invalid_value", "Invalid '%s': token id %d is outside of the vocabulary of %d.", param, id, s.text.Vocab())
		}
		out[i] = int32(id)
	}
	return out, nil
}

// detokenize joins the bytes of tokens into valid UTF-8.
func (s *Server) detokenize(ids []int32, special bool) string {
	var b strings.Builder
	for _, id := range ids {
		if t, sp := s.text.Token(id); special || !sp {
			b.Write(t)
		}
	}
	return strings.ToValidUTF8(b.String(), "\uFFFD")
}

// completionChoice is a choice of /v1/completions, streamed or not.
type completionChoice struct {
	Text         string          `json:"text"`
	Index        int             `json:"index"`
	Logprobs     *legacyLogprobs `json:"logprobs"`
	FinishReason *string         `json:"finish_reason"`
	StopReason   *string         `json:"stop_reason,omitempty"`
}

// completionFormat renders /v1/completions answers.
type completionFormat struct {
	text     Text
	logprobs bool
}

func (f *completionFormat) prefix() string     { return "cmpl-" }
func (f *completionFormat) object(bool) string { return "text_completion" }
func (f *completionFormat) opening(int) any    { return nil }
func (f *completionFormat) wantsTokens() bool  { return f.logprobs }
func (f *completionFormat) chunks(p *piece) []any {
	c := completionChoice{Text: p.text, Index: p.index, FinishReason: finish(p.finish), StopReason: optional(p.stopped)}
	if f.logprobs {
		c.Logprobs = legacy(f.text, p.tokens, p.offset)
	}
	return []any{c}
}

func (f *completionFormat) gather(w *gathered, p *piece) {
	w.text = addText(w.text, p.text)
	if f.logprobs {
		l := legacy(f.text, p.tokens, p.offset)
		for i, v := range []any{l.Tokens, l.TokenLogprobs, l.TopLogprobs, l.TextOffset} {
			w.lists[i] = addElements(w.lists[i], v)
		}
	}
}

func (f *completionFormat) whole(w *gathered) [][]byte {
	fills := []fill{{"text", [][]byte{w.text}}}
	if f.logprobs {
		for i, field := range []string{"tokens", "token_logprobs", "top_logprobs", "text_offset"} {
			fills = append(fills, fill{field, [][]byte{w.lists[i]}})
		}
	}
	return weave(f.chunks(&w.piece)[0], fills...)
}

// finish is the wire form of a finish reason: null while it goes on.
func finish(r model.FinishReason) *string { return optional(string(r)) }
