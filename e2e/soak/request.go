package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"strings"
)

// request is one completion and its answer.
type request struct {
	body map[string]any
	want answer
}

// answer is all of a completion that does not change from call to call.
type answer struct {
	Text     string
	Finish   string
	Logprobs string // as JSON; only of whole answers
	Tokens   int
}

var openings = []string{
	"Once upon a time", "The captain looked at the sea and", "\"Who is there?\" said the", "In the forest there lived",
	"The cat sat on the mat. The dog sat on the mat. The cat sat on", "It was a dark and stormy night;", "Far away, beyond the hills,",
}

var words = strings.Fields("the old house stood near a river and every morning its owner went down to wash his face before the sun came up over the hills")

// newRequest makes up a request: any length of prompt and answer, greedy or
// sampled, with the options that change what the engine does.
func newRequest(r *rand.Rand, model string, most int) *request {
	prompt := openings[r.IntN(len(openings))]
	for range r.IntN(60) * r.IntN(2) {
		prompt += " " + words[r.IntN(len(words))]
	}
	b := map[string]any{
		"model": model, "prompt": prompt, "max_tokens": 1 + r.IntN(most), "seed": r.IntN(1 << 30),
		"temperature": []float64{0, 0.7, 1, 1.3}[r.IntN(4)],
	}
	if r.IntN(2) == 0 {
		b["ignore_eos"] = true
	}
	if r.IntN(4) == 0 {
		b["stop"] = []string{". ", "and"}[:1+r.IntN(2)]
	}
	if r.IntN(4) == 0 {
		b["top_p"], b["frequency_penalty"], b["repetition_penalty"] = 0.9, 0.5, 1.1
	}
	if r.IntN(5) == 0 {
		b["logprobs"] = r.IntN(4)
	}
	return &request{body: b}
}

// errBusy: the server asked to come back later.
var errBusy = errors.New("busy")

// choice is the part of a completion that is looked at, streamed or whole.
type choice struct {
	Text     string          `json:"text"`
	Finish   *string         `json:"finish_reason"`
	Logprobs json.RawMessage `json:"logprobs"`
}

type completion struct {
	Choices []choice `json:"choices"`
	Usage   *struct {
		Tokens int `json:"completion_tokens"`
	} `json:"usage"`
	Error json.RawMessage `json:"error"`
}

// ask sends q. A stream is left after the given number of chunks if that is
// not negative.
func (s *soak) ask(ctx context.Context, q *request, stream bool, leave int) (a answer, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	body := maps.Clone(q.body)
	if stream {
		body["stream"], body["stream_options"] = true, map[string]any{"include_usage": true}
	}
	data, err := json.Marshal(body)
	if err != nil {
		return a, err
	}
	resp, err := s.post(ctx, data)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		if resp.Header.Get("Retry-After") == "" {
			return a, fmt.Errorf("status %d without Retry-After", resp.StatusCode)
		}
		_, err = io.Copy(io.Discard, resp.Body)
		return a, errors.Join(errBusy, err)
	default:
		text, _ := io.ReadAll(resp.Body) // what there is of it
		return a, fmt.Errorf("status %d: %s", resp.StatusCode, text)
	}
	if !stream {
		var c completion
		if err := json.NewDecoder(resp.Body).Decode(&c); err != nil {
			return a, err
		}
		if len(c.Choices) != 1 || c.Usage == nil || c.Choices[0].Finish == nil {
			return a, errors.New("incomplete answer")
		}
		return answer{c.Choices[0].Text, *c.Choices[0].Finish, string(c.Choices[0].Logprobs), c.Usage.Tokens}, nil
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for n := 0; lines.Scan(); {
		data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
		if !ok {
			continue // blank lines and pings
		}
		if string(data) == "[DONE]" {
			if a.Finish == "" {
				return a, errors.New("stream without a finish reason")
			}
			return a, nil
		}
		var c completion
		if err := json.Unmarshal(data, &c); err != nil {
			return a, err
		}
		if c.Error != nil {
			return a, fmt.Errorf("in the stream: %s", c.Error)
		}
		for _, k := range c.Choices {
			a.Text += k.Text
			if k.Finish != nil {
				a.Finish = *k.Finish
			}
		}
		if c.Usage != nil {
			a.Tokens = c.Usage.Tokens
		}
		if n++; n == leave {
			return a, nil
		}
	}
	if err := lines.Err(); err != nil {
		return a, err
	}
	return a, errors.New("stream without an end")
}

// same compares a whole answer with what was wanted. Streams carry their
// log-probabilities in pieces, which are not put together here.
func same(got, want answer) bool {
	if got.Logprobs == "" || want.Logprobs == "" {
		got.Logprobs, want.Logprobs = "", ""
	}
	return got == want
}

// bad are requests that must be refused, and the status that says so.
func bad(r *rand.Rand, model string) (body string, status int) {
	all := []struct {
		body   string
		status int
	}{
		{`{"model":"` + model + `"`, 400},
		{`{"model":"` + model + `","prompt":{}}`, 400},
		{`{"model":"` + model + `","prompt":[]}`, 400},
		{`{"model":"` + model + `","prompt":"x","max_tokens":-3}`, 400},
		{`{"model":"` + model + `","prompt":"x","max_tokens":100000000}`, 400},
		{`{"model":"` + model + `","prompt":"x","temperature":"hot"}`, 400},
		{`{"model":"` + model + `","prompt":[1,2,99999999]}`, 400},
		{`{"model":"no such model","prompt":"x"}`, 404},
		{`{"model":"` + model + `","prompt":"` + strings.Repeat("word ", 60000) + `","max_tokens":5}`, 400},
		{"\x00\xff", 400},
		{"", 400},
		{strings.Repeat(" ", 3<<20), 413},
	}
	c := all[r.IntN(len(all))]
	return c.body, c.status
}
