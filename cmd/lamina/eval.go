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

type evalCmd struct {
	Path    string      `arg:"" placeholder:"PATH" help:"A .lamina file, or a checkpoint, which is run in float32."`
	Text    string      `required:"" placeholder:"FILE" help:"Text to predict, UTF-8."`
	Tokens  int         `placeholder:"N" help:"Use the first N tokens of the text; 0 is all of them."`
	Window  int         `default:"512" placeholder:"N" help:"Tokens per window; every window starts afresh."`
	RAM     budget.Size `placeholder:"SIZE" help:"Memory that the whole process may take."`
	Threads int         `short:"t" placeholder:"N" help:"Worker threads; default: one per processor."`
	JSON    bool        `help:"Print JSON."`
}

type evalReport struct {
	Path string `json:"path"`
	Text string `json:"text"`
	eval.Result
	Seconds float64 `json:"seconds"`
	Peak    int64   `json:"peak_rss_bytes"`
}

// Run measures perplexity.
func (c *evalCmd) Run(a *app) error {
	switch {
	case c.Tokens < 0 || c.Tokens == 1:
		return usage("eval", "--tokens %d: want 2 or more, or 0 for all", c.Tokens)
	case c.Window < 2:
		return usage("eval", "--window %d: want 2 or more", c.Window)
	}
	flags := runtimeFlags{RAM: c.RAM, Context: c.Window, Threads: c.Threads}
	o, err := flags.options(a, "eval")
	if err != nil {
		return err
	}
	o.Parallel = 1
	data, err := os.ReadFile(c.Text)
	if err != nil {
		return fmt.Errorf("eval: text: %w", err)
	}
	ctx, stop := a.untilSignal()
	defer stop()
	open := engine.Open
	if isCheckpoint(c.Path) {
		open = engine.OpenSource
	}
	m, err := open(ctx, c.Path, o)
	if err != nil {
		return err
	}
	defer m.Close()
	ids, err := m.Tokenizer().Encode(string(data), token.EncodeOptions{})
	if err != nil {
		return fmt.Errorf("eval: text %s: %w", c.Text, err)
	}
	if c.Tokens > len(ids) {
		return fmt.Errorf("eval: text %s has %d tokens, fewer than the %d asked for", c.Text, len(ids), c.Tokens)
	}
	if c.Tokens > 0 {
		ids = ids[:c.Tokens]
	}
	bar := a.reporter()
	defer bar.close()
	start := time.Now()
	r, err := eval.Perplexity(ctx, scorer{m}, ids, eval.Options{Window: c.Window, Progress: func(done, total int) {
		bar.show(step{Phase: "eval", Done: int64(done), Total: int64(total)})
	}})
	bar.close()
	if err != nil {
		return err
	}
	report := evalReport{c.Path, c.Text, r, time.Since(start).Seconds(), budget.PeakRSS()}
	if c.JSON {
		return a.json(report)
	}
	a.printf("%s on %d tokens of %s, windows of %d\n", c.Path, r.Tokens, c.Text, r.Window)
	a.printf("perplexity %.4f (%.5f nats per token), %.1f s\n", r.PPL, r.NLL, report.Seconds)
	return nil
}

// scorer runs windows through a model.
type scorer struct{ m *engine.Model }

// Score implements eval.Scorer, a forward pass per BatchTokens.
func (s scorer) Score(ctx context.Context, ids []int32, emit func(i int, logits []float32) error) error {
	seq, err := s.m.NewSeq(len(ids))
	if err != nil {
		return err
	}
	defer seq.Close()
	for first := 0; first < len(ids); first += s.m.BatchTokens() {
		part := ids[first:min(first+s.m.BatchTokens(), len(ids))]
		err := s.m.Forward(ctx, []llama.Seq{{Tokens: part, KV: seq, Want: llama.All}}, func(_, i int, logits []float32) error {
			return emit(first+i, logits)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
