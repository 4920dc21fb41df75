package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/lamina-llm/lamina/internal/engine"
	"github.com/lamina-llm/lamina/internal/eval"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/model/token"
	"github.com/lamina-llm/lamina/runtime/budget"
)

// choicesReport is what eval --choices --json prints. Keys stay; others may
// come.
type choicesReport struct {
	Path      string `json:"path"`
	Round     string `json:"round,omitempty"`
	Choices   string `json:"choices"`
	Questions int    `json:"questions"`
	// Parts of the questions whose right option is the likeliest, as it is and
	// per byte of its text.
	Acc     float64       `json:"acc"`
	AccNorm float64       `json:"acc_norm"`
	Answers []eval.Choice `json:"answers"`
	modelSize
	Seconds float64 `json:"seconds"`
	Peak    int64   `json:"peak_rss_bytes"`
}

// choose scores the questions of a file.
func (c *evalCmd) choose(a *app) error {
	f, err := os.Open(c.Choices)
	if err != nil {
		return fmt.Errorf("eval: choices: %w", err)
	}
	defer f.Close()
	questions, err := eval.ReadQuestions(f)
	if err != nil {
		return fmt.Errorf("eval: choices %s: %w", c.Choices, err)
	}
	ctx, stop := a.untilSignal()
	defer stop()
	m, err := c.open(ctx, a)
	if err != nil {
		return err
	}
	defer m.close()
	// All are looked at before the first is run.
	tasks := make([]task, len(questions))
	for i, q := range questions {
		if tasks[i], err = newTask(m.model.Tokenizer(), q, m.model.Context()); err != nil {
			return fmt.Errorf("eval: choices %s: line %d: %w", c.Choices, q.Line, err)
		}
	}
	bar := a.reporter()
	defer bar.close()
	start := time.Now()
	r := choicesReport{Path: c.Path, Round: c.Round, Choices: c.Choices, Questions: len(questions), modelSize: m.size}
	for i, q := range questions {
		logprobs, err := tasks[i].score(ctx, m.model)
		if err != nil {
			return fmt.Errorf("eval: choices %s: line %d: %w", c.Choices, q.Line, err)
		}
		choice := eval.Choose(q, logprobs)
		if choice.Chosen == q.Answer {
			r.Acc++
		}
		if choice.Norm == q.Answer {
			r.AccNorm++
		}
		r.Answers = append(r.Answers, choice)
		bar.show(step{Phase: "eval", Item: c.Choices, Done: int64(i + 1), Total: int64(len(questions))})
	}
	bar.close()
	r.Acc /= float64(len(questions))
	r.AccNorm /= float64(len(questions))
	r.Seconds, r.Peak = time.Since(start).Seconds(), budget.PeakRSS()
	if c.JSON {
		return a.json(r)
	}
	a.printf("%s on %d questions of %s\n", rounded(r.Path, r.Round), r.Questions, r.Choices)
	a.printf("the right option is the likeliest in %.2f %%, the likeliest per byte in %.2f %%\n", 100*r.Acc, 100*r.AccNorm)
	r.modelSize.print(a, r.Seconds, r.Peak)
	return nil
}

// task is a question in tokens.
type task struct {
	shared  int       // tokens that all options begin with, at least one
	options [][]int32 // prompt and option
	from    []int     // first token of each that belongs to the option
}

// newTask tokenises a question. Prompt and option are tokenised together, as a
// text would be: where they part, a token may take characters of both, and
// then counts as the option's. A beginning-of-sequence token comes first if
// the model wants one, or if nothing else does.
func newTask(tok *token.Tokenizer, q eval.Question, context int) (task, error) {
	prompt, err := tok.Encode(q.Prompt, token.EncodeOptions{})
	if err != nil {
		return task{}, fmt.Errorf("prompt: %w", err)
	}
	t := task{shared: len(prompt)}
	for i, option := range q.Options {
		ids, err := tok.Encode(q.Prompt+option, token.EncodeOptions{})
		if err != nil {
			return task{}, fmt.Errorf("option %d: %w", i, err)
		}
		from := commonPrefix(prompt, ids)
		if from == len(ids) {
			return task{}, fmt.Errorf("option %d adds no token to the prompt", i)
		}
		t.options, t.from = append(t.options, ids), append(t.from, from)
		t.shared = min(t.shared, from)
	}
	if tok.AddsBOS() || t.shared == 0 {
		if tok.BOS() < 0 {
			return task{}, fmt.Errorf("nothing comes before the options: give a prompt")
		}
		for i, ids := range t.options {
			t.options[i] = append([]int32{tok.BOS()}, ids...)
			t.from[i]++
		}
		t.shared++
	}
	for i, ids := range t.options {
		if len(ids) > context {
			return task{}, fmt.Errorf("%d tokens with option %d, more than --window %d", len(ids), i, context)
		}
	}
	return t, nil
}

func commonPrefix(a, b []int32) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// score returns the log-likelihood of every option after the prompt. What all
// options share is run once.
func (t *task) score(ctx context.Context, m *engine.Model) ([]float64, error) {
	longest := 0
	for _, ids := range t.options {
		longest = max(longest, len(ids))
	}
	seq, err := m.NewSeq(longest)
	if err != nil {
		return nil, err
	}
	defer seq.Close()
	sum := make([]float64, len(t.options))
	add := func(k, at int, logits []float32) error { // logits that predict token at of option k
		if at < t.from[k] {
			return nil
		}
		nll, err := eval.NLL(logits, t.options[k][at])
		sum[k] -= nll
		return err
	}
	err = feed(ctx, m, llama.Seq{Tokens: t.options[0][:t.shared], KV: seq, Want: llama.Last}, func(_ int, logits []float32) error {
		for k := range t.options {
			if err := add(k, t.shared, logits); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for k, ids := range t.options {
		if err := seq.Truncate(t.shared); err != nil {
			return nil, err
		}
		// Nothing asks what comes after the last token.
		err := feed(ctx, m, llama.Seq{Tokens: ids[t.shared : len(ids)-1], KV: seq, Want: llama.All}, func(i int, logits []float32) error {
			return add(k, t.shared+i+1, logits)
		})
		if err != nil {
			return nil, err
		}
	}
	return sum, nil
}

// feed appends the tokens of s to its cache, a forward pass per BatchTokens, and
// emits the logits that it wants.
func feed(ctx context.Context, m *engine.Model, s llama.Seq, emit func(i int, logits []float32) error) error {
	for first := 0; first < len(s.Tokens); first += m.BatchTokens() {
		part := s
		part.Tokens = s.Tokens[first:min(first+m.BatchTokens(), len(s.Tokens))]
		if s.Want == llama.Last && first+len(part.Tokens) < len(s.Tokens) {
			part.Want = llama.None
		}
		err := m.Forward(ctx, []llama.Seq{part}, func(_, i int, logits []float32) error { return emit(first+i, logits) })
		if err != nil {
			return err
		}
	}
	return nil
}
