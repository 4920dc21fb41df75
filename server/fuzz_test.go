package server_test

import (
	"encoding/json"
	"testing"

	"github.com/lamina-llm/lamina/server"
	"github.com/lamina-llm/lamina/server/servertest"
)

// FuzzDecode: whatever the body, a request is either refused with a well-formed
// 400 or 404, or every job made of it is within its documented ranges.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		``, `{}`, `null`, `[]`, `{"prompt":"x","n":3,"seed":1e3,"stop":["a"],"logit_bias":{"65":-100}}`,
		`{"prompt":[[1,2],[256]],"echo":true,"logprobs":5,"max_tokens":0}`, `{"prompt":["a","b"],"top_p":0,"top_k":-1}`,
		`{"prompt":[ ]}`, `{"prompt":[`, `{"prompt":"\ud800"}`, `{"temperature":1e400,"prompt":"x"}`, `{"n":9223372036854775807,"prompt":"x"}`,
		`{"messages":[{"role":"user","content":[{"type":"text","text":"x"}]}],"tools":[{}],"top_logprobs":2,"logprobs":true}`,
		`{"messages":[{"role":"assistant","content":null,"tool_calls":[{}]}]}`, `{"messages":[null]}`, `{"messages":[{"role":"user","content":[null]}]}`,
	} {
		f.Add(s)
	}
	const context, choices = 64, 8
	s, err := server.New(&servertest.Model{}, servertest.Text{}, servertest.Template{},
		server.Options{Models: []string{"m"}, Context: context, MaxChoices: choices})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body string) {
		for _, chat := range []bool{false, true} {
			jobs, status, errBody := s.Parse(chat, []byte(body))
			if status != 0 {
				var e struct{ Error *apiError }
				if status != 400 && status != 404 || json.Unmarshal(errBody, &e) != nil || e.Error == nil || e.Error.Message == "" {
					t.Fatalf("%d %s", status, errBody)
				}
				continue
			}
			if len(jobs) < 1 || len(jobs) > choices {
				t.Fatalf("%d jobs", len(jobs))
			}
			for _, j := range jobs {
				p := j.Sampling
				switch {
				case len(j.Prompt) == 0 || j.MaxTokens < 0 || len(j.Prompt)+j.MaxTokens > context:
					t.Fatalf("sizes of %+v", j)
				case !(p.Temperature >= 0 && p.Temperature <= 2 && p.TopP > 0 && p.TopP <= 1 && p.MinP >= 0 && p.MinP <= 1):
					t.Fatalf("sampling %+v", p)
				case p.TopK < 0 || !(p.RepeatPenalty > 0) || j.Logprobs < -1 || j.Logprobs > 20 || len(j.Stop) > 16:
					t.Fatalf("ranges of %+v", j)
				}
				for _, id := range j.Prompt {
					if id < 0 || id >= servertest.Vocab {
						t.Fatalf("token %d", id)
					}
				}
			}
		}
	})
}
