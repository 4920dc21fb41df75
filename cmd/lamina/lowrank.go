package main

import (
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/lamina-llm/lamina/internal/eval"
	"github.com/lamina-llm/lamina/internal/lowrankbench"
	"github.com/lamina-llm/lamina/internal/source"
	"github.com/lamina-llm/lamina/model/token"
	"github.com/lamina-llm/lamina/pack"
)

type lowrankCmd struct {
	Source    string    `arg:"" placeholder:"SRC" help:"Checkpoint: Hugging Face directory, .safetensors file or .gguf file."`
	Text      string    `required:"" placeholder:"FILE" help:"Text to predict, UTF-8."`
	Tokens    int       `default:"16384" placeholder:"N" help:"Use the first N tokens of the text; 0 is all of them."`
	Window    int       `default:"512" placeholder:"N" help:"Tokens per window; every window starts afresh."`
	Keep      []float64 `default:"0.9,0.8,0.7,0.6" placeholder:"F,..." help:"Shares of the parameters of attention and MLP matrices to keep."`
	Ways      []string  `default:"svd-uniform,als-uniform,svd,pgsvd" enum:"svd-uniform,als-uniform,svd,pgsvd,optimal" placeholder:"W,..." help:"What to compare: ${enum}. Uniform ones keep the same share of every matrix, the others have one tolerance."`
	Calibrate string    `default:"default" placeholder:"TEXT" help:"Text for activation-aware factors; default: the one that comes with lamina; self: the model writes it."`
	MaxTokens int       `name:"calibrate-tokens" default:"131072" placeholder:"N" help:"Tokens of the calibration text to use, at most."`
	Weighted  bool      `help:"Weigh tokens of that text by what errors of the outputs cost, as pack does; else all count the same, as in the paper."`
	Coded     []float64 `placeholder:"BITS,..." help:"Measure packed files of these bits per weight instead: dense matrices, factors that keep each share, and what --representation auto chooses."`
	Represent []string  `default:"dense,auto,factored" enum:"dense,auto,factored" placeholder:"R,..." help:"With --coded: which of the three, ${enum}."`
	Plot      string    `placeholder:"FILE" help:"With --coded: write perplexity against bytes as PNG."`
	Turns     int       `name:"token-turns" default:"24" placeholder:"N" help:"Time N tokens of every model, in turns; 0 leaves times out."`
	Threads   int       `short:"t" placeholder:"N" help:"Worker threads; default: one per processor."`
	JSON      bool      `help:"Print JSON."`
}

type lowrankReport struct {
	Path              string `json:"path"`
	Text              string `json:"text"`
	Calibration       string `json:"calibration"`
	CalibrationTokens int    `json:"calibration_tokens"`
	Weighted          bool   `json:"weighted"`
	*lowrankbench.Report
	Seconds float64 `json:"seconds"`
}

// check refuses flags that make no sense.
func (c *lowrankCmd) check() error {
	switch {
	case c.Tokens < 0 || c.Tokens == 1:
		return usage("lowrank", "--tokens %d: want 2 or more, or 0 for all", c.Tokens)
	case c.Window < 2:
		return usage("lowrank", "--window %d: want 2 or more", c.Window)
	case c.MaxTokens < 512:
		return usage("lowrank", "--calibrate-tokens %d: want 512 or more", c.MaxTokens)
	case c.Turns < 0:
		return usage("lowrank", "--token-turns %d: want 0 or more", c.Turns)
	case c.Threads < 0:
		return usage("lowrank", "--threads %d: want 0 or more", c.Threads)
	case c.Plot != "" && c.Coded == nil:
		return usage("lowrank", "--plot is for --coded")
	case c.Weighted && c.Coded != nil:
		return usage("lowrank", "--coded: packing weighs tokens anyway; leave --weighted out")
	}
	for _, b := range c.Coded {
		if !(b >= 1 && b <= 8) {
			return usage("lowrank", "--coded %v: want 1 to 8 bits", b)
		}
	}
	for _, k := range c.Keep {
		if !(k > 0 && k < 1) {
			return usage("lowrank", "--keep %v: want more than 0 and less than 1", k)
		}
	}
	if err := canWrite(c.Plot); err != nil {
		return fmt.Errorf("lowrank: %w", err)
	}
	return nil
}

// Run compares ways to replace the matrices of a model by factors, in float32.
func (c *lowrankCmd) Run(a *app) error {
	if err := c.check(); err != nil {
		return err
	}
	if c.Threads == 0 {
		c.Threads = runtime.GOMAXPROCS(0)
	}
	src, err := source.Open(c.Source)
	if err != nil {
		return err
	}
	defer src.Close()
	ids, err := c.text(src)
	if err != nil {
		return err
	}
	var ways []lowrankbench.Way
	for _, w := range lowrankbench.Ways {
		if slices.Contains(c.Ways, w.Name) {
			ways = append(ways, w)
		}
	}
	start := time.Now()
	ctx, stop := a.untilSignal()
	defer stop()
	bar := a.reporter()
	defer bar.close()
	cal, err := calibration(src, c.Calibrate, c.MaxTokens)
	if err != nil {
		return err
	}
	if c.Coded != nil {
		bar.close() // coded has one for each file
		return c.coded(ctx, a, src, cal)
	}
	low, err := pack.NewLowRank(ctx, src, pack.Options{Workers: c.Threads, Calibrate: cal, Progress: func(p pack.Progress) {
		bar.show(step{Phase: p.Phase, Item: p.Tensor, Done: p.Done, Total: p.Total})
	}}, c.Weighted)
	if err != nil {
		return err
	}
	r, err := lowrankbench.Run(ctx, src, low, lowrankbench.Options{
		Keep: c.Keep, Ways: ways, Tokens: ids, Window: min(c.Window, src.Config().MaxContext), Workers: c.Threads, Turns: c.Turns,
		Progress: func(phase, item string, done, total int) {
			bar.show(step{Phase: phase, Item: item, Done: int64(done), Total: int64(total)})
		},
	})
	bar.close()
	if err != nil {
		return err
	}
	report := lowrankReport{c.Source, c.Text, cal.Name, cal.Count(), c.Weighted, r, time.Since(start).Seconds()}
	if c.JSON {
		return a.json(report)
	}
	report.print(a)
	return nil
}

// text reads the tokens to predict.
func (c *lowrankCmd) text(src *source.Source) ([]int32, error) {
	texts, err := readTexts([]string{c.Text})
	if err != nil {
		return nil, err
	}
	tok, err := src.Tokenizer()
	if err != nil {
		return nil, err
	}
	ids, err := tok.Encode(texts[0], token.EncodeOptions{})
	if err != nil {
		return nil, fmt.Errorf("lowrank: text %s: %w", c.Text, err)
	}
	if c.Tokens > 0 {
		if c.Tokens > len(ids) {
			return nil, fmt.Errorf("lowrank: text %s has %d tokens, fewer than the %d asked for", c.Text, len(ids), c.Tokens)
		}
		ids = ids[:c.Tokens]
	}
	if eval.Predictions(len(ids), c.Window) < 1 {
		return nil, fmt.Errorf("lowrank: text %s has %d tokens, nothing to predict", c.Text, len(ids))
	}
	return ids, nil
}

// print writes the table.
func (r *lowrankReport) print(a *app) {
	a.printf("%s on %d tokens of %s, windows of %d; calibrated on %d tokens of %s; %.0f s\n",
		r.Path, r.Source.Tokens, r.Text, r.Source.Window, r.CalibrationTokens, r.Calibration, r.Seconds)
	a.printf("source: perplexity %.4f", r.Source.PPL)
	if r.Token > 0 {
		a.printf(", %.3f ms for one token", r.Token)
	}
	a.printf("\n\n")
	rows := [][]string{{"keep", "kept", "tolerance", "way", "factored", "error", "perplexity", "KL", "top-1 %", "token"}}
	for _, x := range r.Rows {
		eps, e, token := "-", "-", "-"
		if x.Tolerance > 0 {
			eps = fmt.Sprintf("%.4f", x.Tolerance)
		}
		if x.Error > 0 {
			e = fmt.Sprintf("%.4f", x.Error)
		}
		if r.Token > 0 {
			token = fmt.Sprintf("%.2f", x.Token/r.Token)
		}
		rows = append(rows, []string{
			fmt.Sprintf("%.2f", x.Keep), fmt.Sprintf("%.4f", x.Kept), eps, x.Way, fmt.Sprint(x.Factored), e,
			fmt.Sprintf("%.2f", x.PPL), fmt.Sprintf("%.4f", x.KL), fmt.Sprintf("%.1f", 100*x.Top1), token,
		})
	}
	table(a.out, rows, 3)
}
