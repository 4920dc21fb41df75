package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/lamina-llm/lamina/internal/eval"
	"github.com/lamina-llm/lamina/internal/source"
	"github.com/lamina-llm/lamina/model/token"
	"github.com/lamina-llm/lamina/runtime/budget"
)

type evalCmd struct {
	Path      string      `arg:"" placeholder:"PATH" help:"A .lamina file, or a checkpoint, which is run in float32."`
	Text      []string    `xor:"input" required:"" sep:"none" placeholder:"FILE" help:"Text to predict, UTF-8; may be repeated."`
	Choices   string      `xor:"input" required:"" placeholder:"FILE" help:"Questions to answer by likelihood instead, JSON lines of {prompt, options, answer}."`
	Reference string      `placeholder:"SRC" help:"Checkpoint that PATH was packed from: measures KL divergence and agreement too. It is run in float32, read anew layer by layer."`
	Round     string      `placeholder:"TYPE" help:"PATH is a checkpoint: round its matrices as GGUF does first, to q4_0 or q8_0."`
	Tokens    int         `placeholder:"N" help:"Use the first N tokens of each text; 0 is all of them."`
	Window    int         `placeholder:"N" help:"Tokens per window, each of which starts afresh, and the most tokens of a question; default: 512, or what the model was trained for."`
	RAM       budget.Size `placeholder:"SIZE" help:"Memory that the whole process may take."`
	Threads   int         `short:"t" placeholder:"N" help:"Worker threads; default: one per processor."`
	KV        string      `name:"kv" default:"q16" enum:"auto,q16,f16,q8" placeholder:"FORMAT" help:"Key-value cache: q16, q8 or auto."`
	JSON      bool        `help:"Print JSON."`

	atMost bool // a text may be shorter than Tokens
}

// evalReport is what eval --json prints. Keys stay; others may come.
type evalReport struct {
	Path      string `json:"path"`
	Round     string `json:"round,omitempty"`
	Reference string `json:"reference,omitempty"`
	evalText
	Texts []evalText `json:"texts,omitempty"` // each, if there are several
	modelSize
	Seconds float64 `json:"seconds"`
	Peak    int64   `json:"peak_rss_bytes"`
}

// evalText is the measurement of one text, or of all together.
type evalText struct {
	Text string `json:"text"`
	eval.Result
	Bytes       int64   `json:"predicted_bytes"` // what the predicted tokens stand for
	BitsPerByte float64 `json:"bits_per_byte"`
}

// Run measures perplexity.
func (c *evalCmd) Run(a *app) error {
	if err := c.check(); err != nil {
		return err
	}
	if c.Choices != "" {
		return c.choose(a)
	}
	ctx, stop := a.untilSignal()
	defer stop()
	r, err := c.measure(ctx, a, "eval")
	if err != nil {
		return err
	}
	if c.JSON {
		return a.json(r)
	}
	r.print(a)
	return nil
}

// measure runs the model over the texts, and tells progress under the name of a
// phase.
func (c *evalCmd) measure(ctx context.Context, a *app, phase string) (*evalReport, error) {
	texts, err := readTexts(c.Text)
	if err != nil {
		return nil, err
	}
	m, err := c.open(ctx, a)
	if err != nil {
		return nil, err
	}
	defer m.close()
	ids, total := make([][]int32, len(texts)), 0
	for i, text := range texts {
		if ids[i], err = m.encode(c.Text[i], text); err != nil {
			return nil, err
		}
		if c.Tokens > len(ids[i]) && !c.atMost {
			return nil, fmt.Errorf("eval: text %s has %d tokens, fewer than the %d asked for", c.Text[i], len(ids[i]), c.Tokens)
		}
		if c.Tokens > 0 {
			ids[i] = ids[i][:min(len(ids[i]), c.Tokens)]
		}
		total += eval.Predictions(len(ids[i]), c.Window)
	}
	bar := a.reporter()
	defer bar.close()
	start, before := time.Now(), 0
	report := &evalReport{Path: c.Path, Round: c.Round, Reference: c.Reference, modelSize: m.size}
	for i := range ids {
		r, err := eval.Perplexity(ctx, scorer{m.model}, ids[i], eval.Options{
			Window: c.Window, Reference: m.referenceScorer(),
			Progress: func(done, _ int) {
				bar.show(step{Phase: phase, Item: c.Text[i], Done: int64(before + done), Total: int64(total)})
			},
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.Text[i], err)
		}
		before += r.Predicted
		report.Texts = append(report.Texts, newEvalText(c.Text[i], r, predictedBytes(m.model.Tokenizer(), ids[i], c.Window)))
	}
	report.sum()
	report.Seconds, report.Peak = time.Since(start).Seconds(), budget.PeakRSS()
	return report, nil
}

// check reports flags that make no sense.
func (c *evalCmd) check() error {
	switch {
	case c.Tokens < 0 || c.Tokens == 1:
		return usage("eval", "--tokens %d: want 2 or more, or 0 for all", c.Tokens)
	case c.Window < 0 || c.Window == 1:
		return usage("eval", "--window %d: want 2 or more, or 0 for the default", c.Window)
	case c.Round != "" && c.Round != string(source.RoundQ4_0) && c.Round != string(source.RoundQ8_0):
		return usage("eval", "--round %s: want %s or %s", c.Round, source.RoundQ4_0, source.RoundQ8_0)
	case c.Round != "" && !isCheckpoint(c.Path):
		return usage("eval", "--round is for checkpoints, and %s is none", c.Path)
	case c.Choices != "" && (c.Reference != "" || c.Tokens != 0):
		return usage("eval", "--reference and --tokens are for texts, not for --choices")
	case c.Reference != "" && !isCheckpoint(c.Reference):
		return usage("eval", "--reference %s is not a checkpoint (directory, .safetensors or .gguf)", c.Reference)
	}
	return nil
}

// maxText bounds a text that is read, in bytes.
const maxText = 256 << 20

func readTexts(paths []string) ([]string, error) {
	var texts []string
	for _, path := range paths {
		data, err := readBounded(path, maxText)
		if err != nil {
			return nil, fmt.Errorf("eval: text: %w", err)
		}
		texts = append(texts, string(data))
	}
	return texts, nil
}

// readBounded reads a file of at most limit bytes.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s is larger than %s", path, budget.FormatSize(limit))
	}
	return data, err
}

// predictedBytes is what the tokens that are predicted in windows of ids stand
// for.
func predictedBytes(tok *token.Tokenizer, ids []int32, window int) (n int64) {
	for i, id := range ids {
		if i%window > 0 {
			n += int64(len(tok.TokenBytes(id)))
		}
	}
	return n
}

func newEvalText(name string, r eval.Result, bytes int64) evalText {
	t := evalText{Text: name, Result: r, Bytes: bytes}
	if bytes > 0 {
		t.BitsPerByte = r.NLL * float64(r.Predicted) / math.Ln2 / float64(bytes)
	}
	return t
}

// sum fills in the total of all texts.
func (r *evalReport) sum() {
	var parts []eval.Result
	var names []string
	bytes := int64(0)
	for _, t := range r.Texts {
		parts, names, bytes = append(parts, t.Result), append(names, t.Text), bytes+t.Bytes
	}
	r.evalText = newEvalText(strings.Join(names, ", "), eval.Merge(parts), bytes)
	if len(parts) == 1 {
		r.Texts = nil
		return
	}
	for i := range r.Texts { // the total has the windows of all
		r.Texts[i].WindowNLL, r.Texts[i].WindowKL = nil, nil
	}
}

// rounded names a model that may be rounded.
func rounded(path, round string) string {
	if round == "" {
		return path
	}
	return path + " rounded to " + round
}

// print writes the size, and what measuring took.
func (s modelSize) print(a *app, seconds float64, peak int64) {
	a.printf("%.3f bits per weight, %s; %.1f s, peak memory %s\n", s.Bits, budget.FormatSize(s.Bytes), seconds, budget.FormatSize(peak))
}

// print writes the report as text.
func (r *evalReport) print(a *app) {
	a.printf("%s on %d tokens of %s, windows of %d\n", rounded(r.Path, r.Round), r.Tokens, r.Text, r.Window)
	a.printf("perplexity %.4f (%.5f nats per token, %.4f bits per byte)\n", r.PPL, r.NLL, r.BitsPerByte)
	if r.KL != nil {
		a.printf("KL divergence %.5f nats per token from %s, whose perplexity is %.4f; same likeliest token %.2f %%\n",
			*r.KL, r.Reference, *r.RefPPL, 100**r.Top1)
	}
	r.modelSize.print(a, r.Seconds, r.Peak)
	if len(r.Texts) == 0 {
		return
	}
	rows := [][]string{{"text", "tokens", "perplexity", "nats/token", "bits/byte"}}
	if r.KL != nil {
		rows[0] = append(rows[0], "KL", "top-1 %")
	}
	for _, t := range append(slices.Clone(r.Texts), r.evalText) {
		row := []string{t.Text, fmt.Sprint(t.Tokens), fmt.Sprintf("%.4f", t.PPL), fmt.Sprintf("%.5f", t.NLL), fmt.Sprintf("%.4f", t.BitsPerByte)}
		if t.KL != nil {
			row = append(row, fmt.Sprintf("%.5f", *t.KL), fmt.Sprintf("%.2f", 100**t.Top1))
		}
		rows = append(rows, row)
	}
	rows[len(rows)-1][0] = "all"
	a.printf("\n")
	table(a.out, rows, 0)
}
