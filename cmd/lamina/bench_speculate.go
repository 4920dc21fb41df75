package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lamina-llm/lamina/internal/engine"
	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/chat"
)

type benchSpeculateCmd struct {
	File        string   `arg:"" optional:"" placeholder:"FILE" help:"The .lamina file; default: the built-in storyteller."`
	Gen         int      `short:"n" default:"128" placeholder:"N" help:"Tokens to generate for every prompt."`
	Repetitions int      `short:"r" default:"3" placeholder:"N" help:"Repetitions; the median counts."`
	Temperature float32  `default:"0" placeholder:"T" help:"Temperature of the sampling; 0 is greedy."`
	Speculate   string   `enum:"auto,on" default:"auto" help:"What is compared with off: ${enum}."`
	Draft       string   `placeholder:"FILE" help:"A smaller model with the same tokenizer that guesses, too."`
	Only        []string `placeholder:"NAME" help:"Measure with the prompt of this name alone; may be repeated."`
	runtimeFlags
	JSON bool `help:"Print JSON."`
}

// benchText is one prompt to measure with.
type benchText struct {
	name string
	chat bool // put into the chat template, if there is one
	text string
}

//go:embed bench_speculate.txt
var benchTexts string

// parseBenchTexts reads the prompts: "=== name" or "=== name chat", then the text.
func parseBenchTexts(s string) (texts []benchText) {
	for _, part := range strings.Split(s, "=== ")[1:] {
		head, text, _ := strings.Cut(part, "\n")
		name, kind, _ := strings.Cut(head, " ")
		texts = append(texts, benchText{name: name, chat: kind == "chat", text: strings.TrimSuffix(text, "\n")})
	}
	return texts
}

type benchSpeculateReport struct {
	Path   string                 `json:"path"`
	Plan   string                 `json:"plan"`
	Rows   []benchSpeculateResult `json:"prompts"`
	Repeat int                    `json:"repetitions"`
}

type benchSpeculateResult struct {
	Name   string  `json:"name"`
	Prompt int     `json:"prompt_tokens"`
	Gen    int     `json:"gen_tokens"`
	Off    float64 `json:"off_tokens_per_s"` // medians, from the first token to the last
	With   float64 `json:"with_tokens_per_s"`
	Ratio  float64 `json:"ratio"` // median of the ratios of neighbouring runs
	Rate   float64 `json:"accepted_share"`
	Passes float64 `json:"tokens_per_pass"`
	Rows   float64 `json:"rows_per_token"` // computed; 1 without guesses
}

// Run generates the same answers with and without speculation, in turns.
func (c *benchSpeculateCmd) Run(a *app) error {
	switch {
	case c.Gen < 2:
		return usage("bench speculate", "-n %d: want 2 or more", c.Gen)
	case c.Repetitions < 1:
		return usage("bench speculate", "-r %d: want 1 or more", c.Repetitions)
	}
	o, err := c.options(a, "bench speculate")
	if err != nil {
		return err
	}
	defer spareProcessors(&o)()
	o.Parallel, o.Draft = 1, c.Draft
	ctx, stop := a.untilSignal()
	defer stop()
	m, err := openModel(ctx, c.File, o)
	if err != nil {
		return err
	}
	defer m.Close()
	p := m.Plan()
	report := benchSpeculateReport{Path: m.Name(), Plan: p.Title(), Repeat: c.Repetitions}
	for _, t := range parseBenchTexts(benchTexts) {
		if len(c.Only) > 0 && !slices.Contains(c.Only, t.name) {
			continue
		}
		row, err := c.measure(ctx, m, o, t)
		if err != nil {
			return fmt.Errorf("bench: %s: %w", t.name, err)
		}
		report.Rows = append(report.Rows, row)
	}
	if c.JSON {
		return a.json(report)
	}
	a.printf("%s, %s\n", report.Path, report.Plan)
	rows := [][]string{{"prompt", "tokens", "generated", "off, tokens/s", c.Speculate, "ratio", "right", "tokens/pass", "rows/token"}}
	for _, r := range report.Rows {
		rows = append(rows, []string{r.Name, fmt.Sprint(r.Prompt), fmt.Sprint(r.Gen), fmt.Sprintf("%.1f", r.Off),
			fmt.Sprintf("%.1f", r.With), fmt.Sprintf("%.2f", r.Ratio), fmt.Sprintf("%.2f", r.Rate), fmt.Sprintf("%.2f", r.Passes), fmt.Sprintf("%.2f", r.Rows)})
	}
	table(a.out, rows, 0)
	return nil
}

// measure answers one prompt in both ways, in turns.
func (c *benchSpeculateCmd) measure(ctx context.Context, m *engine.Model, o engine.Options, t benchText) (r benchSpeculateResult, err error) {
	r.Name = t.name
	prompt := t.text
	if t.chat && m.Template() != nil {
		if prompt, err = m.Template().Render([]chat.Message{{Role: "user", Content: t.text}}, chat.Options{AddGenerationPrompt: true}); err != nil {
			return r, err
		}
	}
	ids, err := text{m.Tokenizer()}.Encode(prompt, !t.chat || m.Template() == nil, true)
	if err != nil {
		return r, err
	}
	r.Prompt = len(ids)
	request := model.Request{Prompt: ids, MaxTokens: c.Gen, IgnoreEOS: true, Logprobs: -1,
		Sampling: model.Sampling{Temperature: c.Temperature, TopP: 1, RepeatPenalty: 1, Seed: 1}}
	off := o
	off.Speculate = engine.SpeculateOff
	with := o
	with.Speculate = engine.Speculation(c.Speculate)
	// Two engines on one model, of which one works at a time.
	plain, quick := engine.Start(m, off), engine.Start(m, with)
	defer func() { err = errors.Join(err, plain.Close(ctx), quick.Close(ctx)) }()
	var offs, withs, ratios []float64
	var first []int32
	for i := range c.Repetitions {
		slow, want, err := answerSpeed(ctx, plain, request)
		if err != nil {
			return r, err
		}
		fast, got, err := answerSpeed(ctx, quick, request)
		if err != nil {
			return r, err
		}
		if i == 0 {
			first = want
		}
		if !slices.Equal(got, want) || !slices.Equal(first, want) {
			return r, errors.New("the answers differ")
		}
		r.Gen = len(got)
		offs, withs, ratios = append(offs, slow), append(withs, fast), append(ratios, fast/slow)
	}
	r.Off, r.With, r.Ratio = median(offs), median(withs), median(ratios)
	s := quick.Stats()
	if s.Guesses > 0 {
		r.Rate = float64(s.Accepted) / float64(s.Guesses)
	}
	r.Rows = float64(s.Generated+s.Guesses-s.Accepted) / float64(max(s.Generated, 1))
	r.Passes = float64(s.Generated) / float64(max(s.Generated-s.Accepted, 1))
	return r, nil
}

// answerSpeed returns the tokens of an answer and how many came per second
// after the first.
func answerSpeed(ctx context.Context, e *engine.Engine, r model.Request) (perSecond float64, ids []int32, err error) {
	var start time.Time
	for ev, err := range e.Generate(ctx, r) {
		if err != nil {
			return 0, nil, err
		}
		for _, k := range ev.Tokens {
			ids = append(ids, k.ID)
		}
		if start.IsZero() {
			start = time.Now()
		}
	}
	return float64(len(ids)-1) / time.Since(start).Seconds(), ids, nil
}
