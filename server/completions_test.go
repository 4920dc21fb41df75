package server_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/lamina-llm/lamina/server"
	"github.com/lamina-llm/lamina/server/servertest"
)

const completions = "/v1/completions"

func TestCompletion(t *testing.T) {
	r := start(t, &servertest.Model{})
	a := r.ask(completions, `{"model":"test/model:1b","prompt":"hi","max_tokens":20}`)
	if a.Object != "text_completion" || a.Model != modelID || !strings.HasPrefix(a.ID, "cmpl-") || a.Created == 0 {
		t.Errorf("envelope %+v", a)
	}
	c := a.Choices[0]
	if c.Text != servertest.Story[:20] || c.FinishReason != "length" || string(c.Logprobs) != "null" {
		t.Errorf("choice %+v", c)
	}
	if *a.Usage != (usage{3, 20, 23}) {
		t.Errorf("usage %+v", *a.Usage)
	}
	if a := r.ask(completions, `{"prompt":"hi"}`); a.Usage.CompletionTokens != 16 || a.Model != modelID {
		t.Errorf("defaults: %+v, usage %+v", a, a.Usage)
	}
	if a := r.ask(completions, `{"prompt":"hi","max_tokens":null,"stop":null,"n":null,"temperature":null,"logit_bias":null,"some_new_field":{"x":[1]}}`); a.Usage.CompletionTokens != 16 {
		t.Error("nulls and unknown fields must mean the defaults")
	}
}

func TestFinishReasons(t *testing.T) {
	r := start(t, &servertest.Model{}, func(o *server.Options) { o.Context = 1000 })
	a := r.ask(completions, `{"prompt":"hi","max_tokens":900}`)
	if c := a.Choices[0]; c.Text != servertest.Story || c.FinishReason != "stop" {
		t.Errorf("end of sequence: %+v", c)
	}
	for _, stop := range []string{`"naïve"`, `["zzz","naïve"]`} {
		a := r.ask(completions, `{"prompt":"hi","max_tokens":100,"stop":`+stop+`}`)
		if c := a.Choices[0]; c.Text != "Once upon a time, a " || c.FinishReason != "stop" {
			t.Errorf("stop %s: %+v", stop, c)
		}
	}
	if a := r.ask(completions, `{"prompt":"hi","max_tokens":0}`); a.Choices[0].Text != "" || a.Choices[0].FinishReason != "length" {
		t.Errorf("max_tokens 0: %+v", a.Choices[0])
	}
}

func TestPromptShapes(t *testing.T) {
	r := start(t, &servertest.Model{})
	for _, c := range []struct {
		prompt string
		echo   []string
		tokens int
	}{
		{`"abc"`, []string{"abc"}, 4},
		{`["a", "bcd", "e<&>"]`, []string{"a", "bcd", "e<&>"}, 11},
		{`[104,105]`, []string{"hi"}, 2},
		{`[104.0,1.05e2]`, []string{"hi"}, 2},
		{`[ [104,105], [256,33] ]`, []string{"hi", "!"}, 4},
	} {
		a := r.ask(completions, `{"echo":true,"max_tokens":4,"prompt":`+c.prompt+`}`)
		if len(a.Choices) != len(c.echo) || a.Usage.PromptTokens != c.tokens {
			t.Errorf("%s: %+v %+v", c.prompt, a.Choices, a.Usage)
			continue
		}
		for i, want := range c.echo {
			if got := a.Choices[i]; got.Index != i || got.Text != want+"Once" {
				t.Errorf("%s: choice %d: %+v", c.prompt, i, got)
			}
		}
	}
	for _, bad := range []string{`7`, `{}`, `true`, `[1,"a"]`, `["a",1]`, `[[1],2]`, `[1.5]`, `[[]]`, `[]`, `[300]`, `[-1]`, `[99999999999]`, `[1e99]`, `[99999999999999999999]`,
		`[null,{}]`, `[null]`, `["a",null]`, `[104,null]`, `[[["a"]]]`} {
		code := "invalid_type"
		switch bad {
		case `[[]]`, `[]`, `[300]`, `[-1]`, `[99999999999]`, `[1e99]`, `[99999999999999999999]`:
			code = "invalid_value"
		}
		r.refuse(completions, `{"prompt":`+bad+`}`, 400, "prompt", code)
	}
	r.refuse(completions, `{}`, 400, "prompt", "missing_required_parameter")
	r.refuse(completions, `{"prompt":null}`, 400, "prompt", "missing_required_parameter")
}

func TestChoices(t *testing.T) {
	r := start(t, &servertest.Model{})
	body := `{"prompt":["a","b"],"n":2,"seed":7,"temperature":1,"max_tokens":12%s}`
	a := r.ask(completions, fmt.Sprintf(body, ""))
	var texts []string
	for i, c := range a.Choices {
		if c.Index != i {
			t.Errorf("index %d at %d", c.Index, i)
		}
		texts = append(texts, c.Text)
	}
	if len(texts) != 4 || texts[0] == texts[1] || texts[0] != texts[2] || texts[1] != texts[3] {
		t.Errorf("choices of a prompt must differ by seed, prompts must not: %q", texts)
	}
	if *a.Usage != (usage{4, 48, 52}) {
		t.Errorf("usage %+v", a.Usage)
	}
	streamed := make([]string, 4)
	for _, e := range r.stream(completions, fmt.Sprintf(body, `,"stream":true`)) {
		for _, c := range e.Choices {
			streamed[c.Index] += c.Text
		}
	}
	if !slices.Equal(streamed, texts) {
		t.Errorf("streamed %q, whole %q", streamed, texts)
	}
}

func TestSeeds(t *testing.T) {
	r := start(t, &servertest.Model{})
	text := func(body string) string { return r.ask(completions, body).Choices[0].Text }
	if a, b := text(`{"prompt":"x","temperature":1,"seed":5}`), text(`{"prompt":"x","temperature":1,"seed":5}`); a != b {
		t.Errorf("same seed: %q, %q", a, b)
	}
	if a, b := text(`{"prompt":"x","temperature":1}`), text(`{"prompt":"x","temperature":1}`); a == b {
		t.Errorf("no seed gave %q twice", a)
	}
	if a, b := text(`{"prompt":"x","temperature":1,"seed":-9007199254740991}`), text(`{"prompt":"x","temperature":1,"seed":5.0}`); a == b {
		t.Errorf("negative seed: %q", a)
	}
}

func TestLogitBias(t *testing.T) {
	r := start(t, &servertest.Model{})
	if a := r.ask(completions, `{"prompt":"x","max_tokens":3,"logit_bias":{"65":100}}`); a.Choices[0].Text != "AAA" {
		t.Errorf("+100: %q", a.Choices[0].Text)
	}
	if a := r.ask(completions, `{"prompt":"x","max_tokens":2,"logit_bias":{"79":-100,"foo":0}}`); a.Choices[0].Text != "*n" {
		t.Errorf("-100: %q", a.Choices[0].Text)
	}
	for _, bad := range []string{`{"65":101}`, `{"foo":1}`, `{"258":1}`, `{"-1":1}`} {
		r.refuse(completions, `{"prompt":"x","logit_bias":`+bad+`}`, 400, "logit_bias", "invalid_value")
	}
}

// legacy is the completions logprobs object.
type legacy struct {
	Tokens        []string
	TokenLogprobs []*float64            `json:"token_logprobs"`
	TopLogprobs   []map[string]*float64 `json:"top_logprobs"`
	TextOffset    []int                 `json:"text_offset"`
}

func decodeLegacy(t *testing.T, raw json.RawMessage) legacy {
	t.Helper()
	var l legacy
	if err := json.Unmarshal(raw, &l); err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	n := len(l.Tokens)
	if len(l.TokenLogprobs) != n || len(l.TopLogprobs) != n || len(l.TextOffset) != n {
		t.Fatalf("unequal arrays: %s", raw)
	}
	return l
}

func TestLogprobs(t *testing.T) {
	r := start(t, &servertest.Model{})
	for _, k := range []int{0, 1, 5} {
		a := r.ask(completions, fmt.Sprintf(`{"prompt":"x","max_tokens":6,"logprobs":%d}`, k))
		l := decodeLegacy(t, a.Choices[0].Logprobs)
		if strings.Join(l.Tokens, "") != "Once u" || !slices.Equal(l.TextOffset, []int{0, 1, 2, 3, 4, 5}) {
			t.Errorf("k=%d: %+v", k, l)
		}
		for i, top := range l.TopLogprobs {
			best := -1e9
			for _, v := range top {
				best = max(best, *v)
			}
			if len(top) != max(k, 1) || *top[l.Tokens[i]] != *l.TokenLogprobs[i] || best != *l.TokenLogprobs[i] {
				t.Errorf("k=%d token %d: %v of %v", k, i, top, *l.TokenLogprobs[i])
			}
		}
	}
	r.refuse(completions, `{"prompt":"x","logprobs":21}`, 400, "logprobs", "invalid_value")
	r.refuse(completions, `{"prompt":"x","logprobs":-1}`, 400, "logprobs", "invalid_value")
	r.refuse(completions, `{"prompt":"x","logprobs":true}`, 400, "logprobs", "invalid_type")
}

// TestEchoLogprobs is how lm-evaluation-harness scores: token ids in, nothing
// or one token generated, every prompt token's log-probability out.
func TestEchoLogprobs(t *testing.T) {
	r := start(t, &servertest.Model{})
	for _, maxTokens := range []int{0, 1} {
		for _, streaming := range []bool{false, true} {
			body := fmt.Sprintf(`{"prompt":[256,195,169,33],"max_tokens":%d,"logprobs":1,"echo":true,"stream":%v}`, maxTokens, streaming)
			var c choice
			if streaming {
				for i, e := range r.stream(completions, body) {
					if i == 0 {
						c = e.Choices[0]
					}
				}
			} else {
				c = r.ask(completions, body).Choices[0]
			}
			l := decodeLegacy(t, c.Logprobs)
			tokens, offsets, text := []string{"<s>", `bytes:\xc3`, `bytes:\xa9`, "!"}, []int{0, 0, 0, 1}, "é!"
			if maxTokens == 1 {
				tokens, offsets, text = append(tokens, "O"), append(offsets, 2), text+"O"
			}
			if c.Text != text || !slices.Equal(l.Tokens, tokens) || !slices.Equal(l.TextOffset, offsets) {
				t.Errorf("max_tokens %d stream %v: %q %+v", maxTokens, streaming, c.Text, l)
			}
			if l.TokenLogprobs[0] != nil || l.TopLogprobs[0] != nil {
				t.Error("nothing predicts the first token")
			}
			for i := 1; i < len(tokens); i++ {
				if l.TokenLogprobs[i] == nil || *l.TokenLogprobs[i] >= 0 || *l.TopLogprobs[i][tokens[i]] != *l.TokenLogprobs[i] {
					t.Errorf("token %d: %v %v", i, l.TokenLogprobs[i], l.TopLogprobs[i])
				}
			}
		}
	}
}

func TestStreamedCompletion(t *testing.T) {
	r := start(t, &servertest.Model{}, func(o *server.Options) { o.Context = 1000 })
	got := r.stream(completions, `{"prompt":"hi","max_tokens":900,"stream":true,"stream_options":{"include_usage":true}}`)
	text, finish := "", ""
	for i, e := range got {
		if e.ID != got[0].ID || e.Created != got[0].Created || e.Model != modelID || e.Object != "text_completion" {
			t.Fatalf("chunk %d: %+v", i, e)
		}
		if last := i == len(got)-1; last != (e.Usage != nil) || last != (len(e.Choices) == 0) {
			t.Fatalf("chunk %d of %d: usage %v, %d choices", i, len(got), e.Usage, len(e.Choices))
		}
		for _, c := range e.Choices {
			text, finish = text+c.Text, finish+c.FinishReason
		}
	}
	if text != servertest.Story || finish != "stop" {
		t.Errorf("%q, %q", text, finish)
	}
	if u := got[len(got)-1].Usage; u.PromptTokens != 3 || u.TotalTokens != u.PromptTokens+u.CompletionTokens {
		t.Errorf("usage %+v", u)
	}
}

// TestWireText looks at raw bytes: nothing is HTML-escaped, and every event is
// valid UTF-8 although the tokens are single bytes.
func TestWireText(t *testing.T) {
	r := start(t, &servertest.Model{}, func(o *server.Options) { o.Context = 1000 })
	_, whole := r.post(completions, `{"prompt":"hi","max_tokens":900}`)
	if !strings.Contains(string(whole), `\"1 < 2 && 3 > 2\"`) || !strings.Contains(string(whole), "👩‍🚀") {
		t.Errorf("escaped: %s", whole)
	}
	data, _ := events(t, r.do("POST", completions, `{"prompt":"hi","max_tokens":900,"stream":true}`).Body)
	for _, d := range data {
		if !utf8.ValidString(d) || strings.ContainsRune(d, utf8.RuneError) || strings.Contains(d, `\u`) {
			t.Errorf("event %q", d)
		}
		if strings.Contains(d, `"usage"`) {
			t.Errorf("usage was not asked for: %s", d)
		}
	}
}

func TestCompletionRefusals(t *testing.T) {
	r := start(t, &servertest.Model{}, func(o *server.Options) { o.MaxChoices = 8 })
	for _, c := range []struct{ body, param, code string }{
		{``, "-", "invalid_json"},
		{`{"prompt":"x"`, "-", "invalid_json"},
		{`{"prompt":"x"}}`, "-", "invalid_json"},
		{"{\"prompt\":\"\xff\"}", "-", "invalid_json"},
		{`[]`, "-", "invalid_type"},
		{`"x"`, "-", "invalid_type"},
		{`{"prompt":"x","max_tokens":"5"}`, "max_tokens", "invalid_type"},
		{`{"prompt":"x","max_tokens":1.5}`, "max_tokens", "invalid_type"},
		{`{"prompt":"x","max_tokens":-1}`, "max_tokens", "invalid_value"},
		{`{"prompt":"x","temperature":"hot"}`, "temperature", "invalid_type"},
		{`{"prompt":"x","temperature":2.1}`, "temperature", "invalid_value"},
		{`{"prompt":"x","temperature":1e999}`, "temperature", "invalid_value"},
		{`{"prompt":"x","max_tokens":1e30}`, "max_tokens", "invalid_value"},
		{`{"prompt":"x","seed":18446744073709551615}`, "seed", "invalid_value"},
		{`{"prompt":"x","seed":0.5}`, "seed", "invalid_type"},
		{`{"prompt":"x","top_p":-0.1}`, "top_p", "invalid_value"},
		{`{"prompt":"x","top_k":-2}`, "top_k", "invalid_value"},
		{`{"prompt":"x","min_p":2}`, "min_p", "invalid_value"},
		{`{"prompt":"x","presence_penalty":3}`, "presence_penalty", "invalid_value"},
		{`{"prompt":"x","frequency_penalty":-3}`, "frequency_penalty", "invalid_value"},
		{`{"prompt":"x","repetition_penalty":0}`, "repetition_penalty", "invalid_value"},
		{`{"prompt":"x","stop":5}`, "stop", "invalid_type"},
		{`{"prompt":"x","stop":[1]}`, "stop", "invalid_type"},
		{`{"prompt":"x","stop":""}`, "stop", "invalid_value"},
		{`{"prompt":"x","stop":["1","2","3","4","5","6","7","8","9","a","b","c","d","e","f","g","h"]}`, "stop", "invalid_value"},
		{`{"prompt":"x","n":0}`, "n", "invalid_value"},
		{`{"prompt":"x","n":9}`, "n", "invalid_value"},
		{`{"prompt":["x","y"],"n":5}`, "n", "invalid_value"},
		{`{"prompt":"x","best_of":3}`, "best_of", "unsupported_parameter"},
		{`{"prompt":"x","suffix":"y"}`, "suffix", "unsupported_parameter"},
		{`{"prompt":"x","stream":"yes"}`, "stream", "invalid_type"},
		{`{"prompt":"x","stream_options":{"include_usage":1}}`, "stream_options.include_usage", "invalid_type"},
		{`{"prompt":"x","model":7}`, "model", "invalid_type"},
		{`{"prompt":"x","max_tokens":300}`, "prompt", "context_length_exceeded"},
		{`{"prompt":"` + strings.Repeat("x", 256) + `"}`, "prompt", "context_length_exceeded"},
		{`{"stream":true,"prompt":"` + strings.Repeat("x", 256) + `"}`, "prompt", "context_length_exceeded"},
	} {
		r.refuse(completions, c.body, 400, c.param, c.code)
	}
	r.refuse(completions, `{"prompt":"x","model":"gpt-9"}`, 404, "model", "model_not_found")
	if e := r.refuse(completions, `{"prompt":"x","seed":18446744073709551615}`, 400, "seed", "invalid_value"); e.Message !=
		"Invalid 'seed': 18446744073709551615 is out of range." {
		t.Errorf("message %q", e.Message)
	}
	if e := r.refuse(completions, `{"prompt":"x","max_tokens":"5"}`, 400, "max_tokens", "invalid_type"); e.Message !=
		"Invalid type for 'max_tokens': expected an integer, but got: string." {
		t.Errorf("message %q", e.Message)
	}
	// What official clients send although it means nothing is accepted.
	r.ask(completions, `{"model":"alias","prompt":"This is a test.","best_of":0,"echo":true,"frequency_penalty":-2,"logit_bias":{"foo":0},
		"logprobs":0,"max_tokens":16,"n":1,"presence_penalty":-2,"seed":0,"stop":"\n","stream_options":{"include_obfuscation":true,"include_usage":true},
		"suffix":"","temperature":1,"top_p":1,"user":"user-1234"}`)
	if r.model.Steps() != 16 {
		t.Errorf("%d steps: a refused request reached the model", r.model.Steps())
	}
}
