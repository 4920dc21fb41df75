package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/server"
)

// hang says nothing until it is stopped.
func hang(ctx context.Context, yield func(model.Event, error) bool) {
	<-ctx.Done()
	yield(model.Event{}, ctx.Err())
}

// TestDeadlineCuts: what there is when the deadline passes is the answer. Where the
// deadline passed before all was said, on a machine that is busy, it is set later.
func TestDeadlineCuts(t *testing.T) {
	var said atomic.Int64 // generators whose words were all taken
	r := scripted(t, func(ctx context.Context, yield func(model.Event, error) bool) {
		for _, w := range []string{"one ", "two ", "three"} {
			if !yield(model.Event{Text: w, Tokens: []model.TokenInfo{{ID: int32(w[0])}}}, nil) {
				return
			}
		}
		said.Add(1)
		hang(ctx, yield)
	})
	fields := map[string]string{completions: `{"prompt":"x"`, chat: `{"messages":[{"role":"user","content":"x"}]`}
	var whole, streamed map[string]string
	passed := 0
	for seconds := 1; said.Load() != 6; seconds *= 4 {
		if seconds > 64 {
			t.Fatalf("in %d s the words of %d generators were taken, want 6", seconds/4, said.Load())
		}
		said.Store(0)
		whole, streamed = map[string]string{}, map[string]string{}
		var all sync.WaitGroup
		var mu sync.Mutex
		for path, field := range fields {
			for body, to := range map[string]map[string]string{
				fmt.Sprintf(`%s,"timeout":%d,"n":2}`, field, seconds):                                                 whole,
				fmt.Sprintf(`%s,"timeout":%d,"stream":true,"stream_options":{"include_usage":true}}`, field, seconds): streamed,
			} {
				all.Go(func() {
					_, b := r.post(path, body)
					mu.Lock()
					defer mu.Unlock()
					to[path] = string(b)
				})
			}
		}
		all.Wait()
		passed += 4
	}
	for path := range fields {
		var a answer
		if err := json.Unmarshal([]byte(whole[path]), &a); err != nil || len(a.Choices) != 2 || a.Usage == nil || a.Usage.CompletionTokens != 6 {
			t.Fatalf("%s: %v, %s", path, err, whole[path])
		}
		for _, c := range a.Choices {
			if c.Text+c.Message.Content != "one two three" || c.FinishReason != "length" || c.StopReason != "timeout" {
				t.Errorf("%s: %+v", path, c)
			}
		}
		text, ends, last := "", 0, answer{}
		data, _ := events(t, strings.NewReader(streamed[path]))
		for _, d := range data {
			last = answer{}
			if err := json.Unmarshal([]byte(d), &last); err != nil {
				t.Fatal(err)
			}
			for _, c := range last.Choices {
				text += c.Text + c.Delta.Content
				if c.FinishReason != "" {
					ends++
					if c.FinishReason != "length" || c.StopReason != "timeout" {
						t.Errorf("%s: %+v", path, c)
					}
				}
			}
		}
		if u := last.Usage; text != "one two three" || ends != 1 || u == nil || u.CompletionTokens != 3 {
			t.Errorf("%s: %q with %d ends, usage %+v", path, text, ends, u)
		}
	}
	if _, body, _ := r.get("/metrics"); !strings.Contains(body, fmt.Sprintf("\nlamina_deadlines_passed_total %d\n", passed)) || !strings.Contains(body, "\nlamina_clients_gone_total 0\n") {
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
