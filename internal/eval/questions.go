package eval

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Question is a prompt with several continuations, one of which is right.
type Question struct {
	Line    int // in the file, from 1
	Prompt  string
	Options []string // as they follow the prompt, spaces included
	Answer  int      // index of the right one
}

// Bounds on questions.
const (
	maxLine    = 1 << 20 // bytes
	maxOptions = 256
	maxReports = 5 // bad lines that are told
)

// ReadQuestions reads JSON Lines: objects with "prompt" (a string), "options"
// (at least two different strings, none empty) and "answer" (the index of the
// right option from 0, or its text). Empty lines and other keys are ignored. The
// error names the first bad lines by number, and what is wrong with each.
func ReadQuestions(r io.Reader) ([]Question, error) {
	var list []Question
	var bad []error
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxLine)
	line := 0
	for s.Scan() {
		line++
		if len(bytes.TrimSpace(s.Bytes())) == 0 {
			continue
		}
		q, err := parseQuestion(s.Bytes())
		q.Line = line
		if err == nil {
			list = append(list, q)
		} else if bad = append(bad, fmt.Errorf("line %d: %w", line, err)); len(bad) == maxReports {
			break
		}
	}
	if err := s.Err(); errors.Is(err, bufio.ErrTooLong) {
		bad = append(bad, fmt.Errorf("line %d is longer than %d bytes", line+1, maxLine))
	} else if err != nil {
		return nil, err
	}
	if len(bad) == 0 && len(list) == 0 {
		return nil, fmt.Errorf("%w: no questions", ErrOptions)
	}
	return list, errors.Join(bad...)
}

func parseQuestion(line []byte) (q Question, err error) {
	var raw struct {
		Prompt  *string         `json:"prompt"`
		Options []string        `json:"options"`
		Answer  json.RawMessage `json:"answer"`
	}
	if err := json.Unmarshal(line, &raw); err != nil {
		return q, fmt.Errorf("not a question in JSON: %w", err)
	}
	switch {
	case raw.Prompt == nil:
		return q, errors.New(`no "prompt"`)
	case len(raw.Options) < 2 || len(raw.Options) > maxOptions:
		return q, fmt.Errorf(`%d "options", want 2 to %d`, len(raw.Options), maxOptions)
	case raw.Answer == nil:
		return q, errors.New(`no "answer"`)
	}
	for i, o := range raw.Options {
		if o == "" {
			return q, fmt.Errorf("option %d is empty", i)
		}
		if k := slices.Index(raw.Options, o); k < i {
			return q, fmt.Errorf("options %d and %d are equal", k, i)
		}
	}
	q = Question{Prompt: *raw.Prompt, Options: raw.Options}
	var text string
	if json.Unmarshal(raw.Answer, &text) == nil && string(raw.Answer) != "null" {
		if q.Answer = slices.Index(raw.Options, text); q.Answer < 0 {
			return q, fmt.Errorf(`"answer" %q is none of the options`, text)
		}
		return q, nil
	}
	if err := json.Unmarshal(raw.Answer, &q.Answer); err != nil || string(raw.Answer) == "null" {
		return q, fmt.Errorf(`"answer" is %.40s, want the index or the text of an option`, raw.Answer)
	}
	if q.Answer < 0 || q.Answer >= len(q.Options) {
		return q, fmt.Errorf(`"answer" %d, want 0 to %d`, q.Answer, len(q.Options)-1)
	}
	return q, nil
}

// Choice is what a model makes of a question.
type Choice struct {
	Line    int       `json:"line"`
	Answer  int       `json:"answer"`      // the right option
	Chosen  int       `json:"chosen"`      // the likeliest option, the first of equals
	Norm    int       `json:"chosen_norm"` // the likeliest per byte of its text
	Logprob []float64 `json:"logprobs"`    // of every option, in nats
}

// Choose fills in what follows from the log-likelihoods of q's options.
func Choose(q Question, logprob []float64) Choice {
	c := Choice{Line: q.Line, Answer: q.Answer, Logprob: logprob}
	per := func(i int) float64 { return logprob[i] / float64(len(q.Options[i])) }
	for i := range logprob {
		if logprob[i] > logprob[c.Chosen] {
			c.Chosen = i
		}
		if per(i) > per(c.Norm) {
			c.Norm = i
		}
	}
	return c
}
