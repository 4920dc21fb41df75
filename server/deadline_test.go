package server_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/server"
)

// threeWords says three words and then nothing until it is stopped.
func threeWords(ctx context.Context, yield func(model.Event, error) bool) {
	for _, w := range []string{"one ", "two ", "three"} {
		if !yield(model.Event{Text: w, Tokens: []model.TokenInfo{{ID: int32(w[0])}}}, nil) {
			return
		}
	}
	<-ctx.Done()
	yield(model.Event{}, ctx.Err())
}

// hang says nothing until it is stopped.
func hang(ctx context.Context, yield func(model.Event, error) bool) {
	<-ctx.Done()
	yield(model.Event{}, ctx.Err())
}

// TestDeadlineCuts: what there is when the deadline passes is the answer.
func TestDeadlineCuts(t *testing.T) {
	r := scripted(t, threeWords)
	var all sync.WaitGroup
	for _, path := range []string{completions, chat} {
		field := map[string]string{completions: `"prompt":"x"`, chat: `"messages":[{"role":"user","content":"x"}]`}[path]
		all.Go(func() {
			a := r.ask(path, `{`+field+`,"timeout":1,"n":2}`)
			if len(a.Choices) != 2 || a.Usage.CompletionTokens != 6 {
				t.Errorf("%s: %+v", path, a)
			}
			for _, c := range a.Choices {
				if c.Text+c.Message.Content != "one two three" || c.FinishReason != "length" || c.StopReason != "timeout" {
					t.Errorf("%s: %+v", path, c)
				}
			}
		})
		all.Go(func() {
			text, ends := "", 0
			list := r.stream(path, `{`+field+`,"timeout":1,"stream":true,"stream_options":{"include_usage":true}}`)
			for _, a := range list {
				for _, c := range a.Choices {
					text += c.Text + c.Delta.Content
					if c.FinishReason != "" {
						ends++
						if c.FinishReason != "length" || c.StopReason != "timeout" {
							t.Errorf("%s: %+v", path, c)
						}
					}
				}
			}
			if u := list[len(list)-1].Usage; text != "one two three" || ends != 1 || u == nil || u.CompletionTokens != 3 {
				t.Errorf("%s: %q with %d ends, usage %+v", path, text, ends, u)
			}
		})
	}
	all.Wait()
	if _, body, _ := r.get("/metrics"); !strings.Contains(body, "\nlamina_deadlines_passed_total 4\n") || !strings.Contains(body, "\nlamina_clients_gone_total 0\n") {
		t.Error(body)
	}
}

// TestDeadlineBeforeText: a request that has shown nothing gets an error.
func TestDeadlineBeforeText(t *testing.T) {
	r := scripted(t, hang)
	for _, rest := range []string{``, `,"stream":true`, `,"n":3`} {
		r.refuse(completions, `{"prompt":"x","timeout":0.05`+rest+`}`, 504, "-", "timeout")
	}
	for _, bad := range []string{"0", "-1", "1e10"} {
		r.refuse(completions, `{"prompt":"x","timeout":`+bad+`}`, 400, "timeout", "invalid_value")
	}
	r.refuse(chat, `{"messages":[{"role":"user","content":"x"}],"timeout":"1s"}`, 400, "timeout", "invalid_type")
}

// TestDeadlineLimits: the server has a default, and a limit that nobody exceeds.
func TestDeadlineLimits(t *testing.T) {
	r := scripted(t, hang, func(o *server.Options) { o.RequestTimeout = 50 * time.Millisecond })
	r.refuse(completions, `{"prompt":"x","timeout":1000000}`, 504, "-", "timeout")
	r.refuse(completions, `{"prompt":"x"}`, 504, "-", "timeout")

	brief := func(o *server.Options) { o.DefaultTimeout = 50 * time.Millisecond }
	r = scripted(t, hang, brief)
	r.refuse(completions, `{"prompt":"x"}`, 504, "-", "timeout")

	slow := func(ctx context.Context, yield func(model.Event, error) bool) {
		select {
		case <-ctx.Done():
			yield(model.Event{}, ctx.Err())
		case <-time.After(200 * time.Millisecond): // the default has long passed
			yield(model.Event{Text: "at last", Finish: model.FinishStop, Usage: &model.Usage{}}, nil)
		}
	}
	r = scripted(t, slow, brief)
	if a := r.ask(completions, `{"prompt":"x","timeout":1000000}`); a.Choices[0].Text != "at last" || a.Choices[0].StopReason != "" {
		t.Errorf("%+v", a)
	}
}
