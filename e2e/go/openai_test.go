// Package e2e runs the official Go client against a Lamina server. See
// ../README.md. It is a module of its own, to keep the client's dependencies
// out of the server's.
package e2e

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

const prompt = "Once upon a time"

type rig struct {
	*testing.T
	openai.Client
	base, key, model string
}

func start(t *testing.T) *rig {
	r := &rig{T: t, base: os.Getenv("LAMINA_BASE_URL"), key: "none", model: os.Getenv("LAMINA_MODEL")}
	if r.base == "" {
		t.Skip("LAMINA_BASE_URL is not set: run e2e/run.sh")
	}
	if k := os.Getenv("LAMINA_API_KEY"); k != "" {
		r.key = k
	}
	r.Client = openai.NewClient(option.WithBaseURL(r.base), option.WithAPIKey(r.key), option.WithMaxRetries(0),
		option.WithRequestTimeout(2*time.Minute), option.WithUnsafeAllowHTTP())
	if r.model == "" {
		list, err := r.Models.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r.model = list.Data[0].ID
	}
	return r
}

// params are greedy; change adjusts them.
func (r *rig) params(change ...func(*openai.CompletionNewParams)) openai.CompletionNewParams {
	p := openai.CompletionNewParams{
		Model: openai.CompletionNewParamsModel(r.model), MaxTokens: openai.Int(12), Temperature: openai.Float(0),
		Prompt: openai.CompletionNewParamsPromptUnion{OfString: openai.String(prompt)},
	}
	for _, f := range change {
		f(&p)
	}
	return p
}

func (r *rig) complete(change ...func(*openai.CompletionNewParams)) *openai.Completion {
	r.Helper()
	c, err := r.Completions.New(r.Context(), r.params(change...))
	if err != nil {
		r.Fatal(err)
	}
	return c
}

func (r *rig) refused(err error, status int, code string) {
	r.Helper()
	var e *openai.Error
	if !errors.As(err, &e) || e.StatusCode != status || e.Code != code {
		r.Errorf("got %v, want %d %s", err, status, code)
	}
}

func TestModels(t *testing.T) {
	r := start(t)
	m, err := r.Models.Get(t.Context(), r.model)
	if err != nil || m.ID != r.model {
		t.Errorf("%+v %v", m, err)
	}
	_, err = r.Models.Get(t.Context(), "no/such:model")
	r.refused(err, 404, "model_not_found")
	_, err = r.Completions.New(t.Context(), r.params(func(p *openai.CompletionNewParams) { p.Model = "no/such:model" }))
	r.refused(err, 404, "model_not_found")
}

func TestCompletion(t *testing.T) {
	r := start(t)
	whole := r.complete()
	if whole.Usage.CompletionTokens != 12 || whole.Choices[0].FinishReason != "length" || whole.Choices[0].Text == "" {
		t.Errorf("%s", whole.RawJSON())
	}
	s := r.Completions.NewStreaming(t.Context(), r.params(func(p *openai.CompletionNewParams) {
		p.StreamOptions.IncludeUsage = openai.Bool(true)
	}))
	text, used := "", int64(0)
	for s.Next() {
		c := s.Current()
		if c.ID == whole.ID {
			t.Error("two answers share an id")
		}
		for _, ch := range c.Choices {
			text += ch.Text
		}
		used += c.Usage.CompletionTokens
	}
	if s.Err() != nil || text != whole.Choices[0].Text || used != 12 {
		t.Errorf("%q, %d tokens, %v; whole %q", text, used, s.Err(), whole.Choices[0].Text)
	}
}

func TestChoices(t *testing.T) {
	r := start(t)
	many := func(p *openai.CompletionNewParams) {
		p.N, p.Seed, p.Temperature = openai.Int(3), openai.Int(11), openai.Float(1)
	}
	a, b := r.complete(many), r.complete(many)
	for i := range a.Choices {
		if a.Choices[i].Index != int64(i) || a.Choices[i].Text != b.Choices[i].Text {
			t.Errorf("choice %d: %q, %q", i, a.Choices[i].Text, b.Choices[i].Text)
		}
	}
	ids := r.complete(func(p *openai.CompletionNewParams) {
		p.Prompt = openai.CompletionNewParamsPromptUnion{OfArrayOfTokenArrays: [][]int64{{1, 2, 3}, {4, 5}}}
	})
	if len(ids.Choices) != 2 || ids.Usage.PromptTokens != 5 {
		t.Errorf("%s", ids.RawJSON())
	}
}

func TestStop(t *testing.T) {
	r := start(t)
	text := r.complete().Choices[0].Text
	words := strings.Fields(text)
	stop := words[len(words)-1]
	c := r.complete(func(p *openai.CompletionNewParams) {
		p.Stop = openai.CompletionNewParamsStopUnion{OfStringArray: []string{stop}}
	}).Choices[0]
	if want, _, _ := strings.Cut(text, stop); c.Text != want || c.FinishReason != "stop" {
		t.Errorf("%q %q, want %q", c.Text, c.FinishReason, want)
	}
}

func TestEchoLogprobs(t *testing.T) {
	r := start(t)
	c := r.complete(func(p *openai.CompletionNewParams) {
		p.Echo, p.Logprobs, p.MaxTokens = openai.Bool(true), openai.Int(1), openai.Int(1)
	})
	l, n := c.Choices[0].Logprobs, int(c.Usage.PromptTokens)+1
	// This client drops the nulls that the first token has for its probabilities.
	if !strings.HasPrefix(c.Choices[0].Text, prompt) || len(l.Tokens) != n || len(l.TextOffset) != n || !strings.Contains(c.RawJSON(), `"token_logprobs":[null,`) {
		t.Errorf("%s", c.RawJSON())
	}
}

func TestErrors(t *testing.T) {
	r := start(t)
	_, err := r.Completions.New(t.Context(), r.params(), option.WithJSONSet("max_tokens", "many"))
	r.refused(err, 400, "invalid_type")
	long := r.params(func(p *openai.CompletionNewParams) {
		p.Prompt.OfString = openai.String(strings.Repeat("once upon ", 60000))
	})
	_, err = r.Completions.New(t.Context(), long)
	r.refused(err, 400, "context_length_exceeded")
	s := r.Completions.NewStreaming(t.Context(), long)
	for s.Next() {
	}
	r.refused(s.Err(), 400, "context_length_exceeded")
}

func (r *rig) inFlight() string {
	r.Helper()
	req, _ := http.NewRequest("GET", strings.TrimSuffix(r.base, "/v1")+"/metrics", nil)
	req.Header.Set("Authorization", "Bearer "+r.key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	_, rest, _ := strings.Cut(string(b), "\nlamina_requests_in_flight ")
	n, _, _ := strings.Cut(rest, "\n")
	return n
}

func TestAbort(t *testing.T) {
	r := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	s := r.Completions.NewStreaming(ctx, r.params(func(p *openai.CompletionNewParams) { p.MaxTokens = openai.Int(150) }))
	if !s.Next() {
		t.Fatal(s.Err())
	}
	cancel()
	s.Close()
	for end := time.Now().Add(5 * time.Second); r.inFlight() != "0"; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s requests in flight", r.inFlight())
		}
	}
	r.complete()
}

func TestChat(t *testing.T) {
	r := start(t)
	p := openai.ChatCompletionNewParams{
		Model: r.model, MaxCompletionTokens: openai.Int(12), Temperature: openai.Float(0),
		Messages:      []openai.ChatCompletionMessageParamUnion{openai.SystemMessage("Be brief."), openai.UserMessage("Tell me a story.")},
		StreamOptions: openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(true)},
		Logprobs:      openai.Bool(true), TopLogprobs: openai.Int(2),
	}
	whole, err := r.Chat.Completions.New(t.Context(), p)
	var e *openai.Error
	if errors.As(err, &e) && e.Code == "no_chat_template" {
		t.Skip("the model has no chat template")
	}
	if err != nil {
		t.Fatal(err)
	}
	if lp := whole.Choices[0].Logprobs.Content; len(lp) == 0 || len(lp[0].TopLogprobs) != 2 {
		t.Errorf("%s", whole.RawJSON())
	}
	acc := openai.ChatCompletionAccumulator{}
	s := r.Chat.Completions.NewStreaming(t.Context(), p)
	for s.Next() {
		if !acc.AddChunk(s.Current()) {
			t.Error("the client's accumulator refuses a chunk")
		}
	}
	if s.Err() != nil || acc.Choices[0].Message.Content != whole.Choices[0].Message.Content || acc.Usage.TotalTokens != whole.Usage.TotalTokens {
		t.Errorf("%v: %q, whole %q", s.Err(), acc.Choices[0].Message.Content, whole.Choices[0].Message.Content)
	}
	p.Messages = nil
	_, err = r.Chat.Completions.New(t.Context(), p)
	r.refused(err, 400, "missing_required_parameter")
}
