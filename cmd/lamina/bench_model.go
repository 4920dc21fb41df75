package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime/pprof"
	"slices"
	"time"

	"github.com/lamina-llm/lamina/internal/engine"
	"github.com/lamina-llm/lamina/internal/kern"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/runtime/budget"
)

type benchModelCmd struct {
	File        string      `arg:"" placeholder:"FILE" help:"The .lamina file."`
	Prompt      int         `short:"p" default:"512" placeholder:"N" help:"Tokens of the prompt; 0 leaves that part out."`
	Gen         int         `short:"n" default:"128" placeholder:"N" help:"Tokens to generate; 0 leaves that part out."`
	Threads     int         `short:"t" placeholder:"N" help:"Worker threads; default: one per processor."`
	KV          string      `name:"kv" default:"q16" enum:"auto,q16,f16,q8" placeholder:"FORMAT" help:"Key-value cache: q16, q8 or auto."`
	Batch       int         `short:"b" default:"1" placeholder:"N" help:"Sequences to generate for at once; above 1 it is compared with one, in turns."`
	Repetitions int         `short:"r" default:"3" placeholder:"N" help:"Repetitions; the median counts."`
	RAM         budget.Size `placeholder:"SIZE" help:"Memory that the whole process may take."`
	Coded       bool        `help:"Keep all weights coded even where there is room to unpack them (regime B)."`
	CPUProfile  string      `name:"cpu-profile" type:"path" placeholder:"FILE" help:"Write a profile of the measured runs, for go tool pprof."`
	JSON        bool        `help:"Print JSON."`
}

type benchModelReport struct {
	Path        string  `json:"path"`
	Threads     int     `json:"threads"`
	Repetitions int     `json:"repetitions"`
	Regime      string  `json:"regime"` // "A", "B" or "C"
	Plan        string  `json:"plan"`
	Prompt      int     `json:"prompt_tokens"`
	PromptSpeed float64 `json:"prompt_tokens_per_s"` // median; 0 if not measured
	Gen         int     `json:"gen_tokens"`
	GenSpeed    float64 `json:"gen_tokens_per_s"` // median; 0 if not measured
	Batch       int     `json:"batch"`
	BatchSpeed  float64 `json:"batch_tokens_per_s"` // of all sequences together, median; 0 if not measured
	BatchGain   float64 `json:"batch_gain"`         // median of the ratios to the runs of one sequence beside them
	Read        float64 `json:"read_bytes_per_s"`   // of streamed weights while one sequence generates; 0 if none are
	ReadToken   float64 `json:"read_bytes_per_token"`
	Load        float64 `json:"load_seconds"`
	Peak        int64   `json:"peak_rss_bytes"`
}

// check refuses flags that make no sense.
func (c *benchModelCmd) check() error {
	switch {
	case c.Prompt < 0 || c.Gen < 0 || c.Prompt+c.Gen == 0:
		return usage("bench model", "-p %d -n %d: nothing to measure", c.Prompt, c.Gen)
	case c.Batch < 1 || c.Batch > 32:
		return usage("bench model", "-b %d: want 1 to 32", c.Batch)
	case c.Repetitions < 1:
		return usage("bench model", "-r %d: want 1 or more", c.Repetitions)
	}
	return nil
}

// Run measures the model alone: no sampling, no server, one sequence.
func (c *benchModelCmd) Run(a *app) error {
	if err := c.check(); err != nil {
		return err
	}
	flags := runtimeFlags{RAM: c.RAM, Context: max(c.Prompt, c.Gen+1), Threads: c.Threads, KV: c.KV}
	o, err := flags.options(a, "bench model")
	if err != nil {
		return err
	}
	defer spareProcessors(&o)()
	o.Parallel, o.Coded = c.Batch, c.Coded
	ctx, stop := a.untilSignal()
	defer stop()
	start := time.Now()
	m, err := openModel(ctx, c.File, o)
	if err != nil {
		return err
	}
	defer m.Close()
	p := m.Plan()
	r := benchModelReport{
		Path: c.File, Threads: o.Threads, Repetitions: c.Repetitions, Regime: p.Regime.String(), Plan: p.Title(),
		Prompt: c.Prompt, Gen: c.Gen, Batch: c.Batch, Load: time.Since(start).Seconds(),
	}
	stopProfile, err := profile(c.CPUProfile)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	defer stopProfile()
	bar := a.reporter()
	defer bar.close()
	if err := c.measure(ctx, m, bar, &r); err != nil {
		return err
	}
	bar.close()
	r.Peak = budget.PeakRSS()
	if c.JSON {
		return a.json(r)
	}
	c.print(a, &r)
	return nil
}

// measure runs what was asked for, each Repetitions times after one that warms up,
// and fills in the speeds.
func (c *benchModelCmd) measure(ctx context.Context, m *engine.Model, bar *reporter, r *benchModelReport) (err error) {
	speed := func(phase string, tokens int, run func() (time.Duration, error)) (float64, error) {
		if tokens == 0 {
			return 0, nil
		}
		var speeds []float64
		for i := range c.Repetitions + 1 {
			d, err := run()
			if err != nil {
				return 0, fmt.Errorf("bench: %s: %w", phase, err)
			}
			if i > 0 {
				speeds = append(speeds, float64(tokens)/d.Seconds())
			}
			bar.show(step{Phase: phase, Done: int64(i + 1), Total: int64(c.Repetitions + 1)})
		}
		return median(speeds), nil
	}
	if r.PromptSpeed, err = speed("prompt", c.Prompt, func() (time.Duration, error) { return benchPrompt(ctx, m, c.Prompt) }); err != nil {
		return err
	}
	before, began := m.BytesRead(), time.Now()
	if r.GenSpeed, err = speed("generate", c.Gen, func() (time.Duration, error) { return benchGen(ctx, m, c.Gen, 1) }); err != nil {
		return err
	}
	if c.Gen > 0 {
		read := float64(m.BytesRead() - before)
		r.Read, r.ReadToken = read/time.Since(began).Seconds(), read/float64(c.Gen*(c.Repetitions+1))
	}
	if c.Gen > 0 && c.Batch > 1 {
		var gains []float64
		var one time.Duration
		if r.BatchSpeed, err = speed(fmt.Sprintf("generate for %d", c.Batch), c.Batch*c.Gen, func() (d time.Duration, err error) {
			if one, err = benchGen(ctx, m, c.Gen, 1); err == nil {
				d, err = benchGen(ctx, m, c.Gen, c.Batch)
			}
			gains = append(gains, float64(c.Batch)*one.Seconds()/d.Seconds())
			return d, err
		}); err != nil {
			return err
		}
		r.BatchGain = median(gains[1:])
	}
	return nil
}

// print writes the table.
func (c *benchModelCmd) print(a *app, r *benchModelReport) {
	a.printf("%s, %d threads, median of %d\n%s\n", r.Path, r.Threads, r.Repetitions, r.Plan)
	rows := [][]string{{"test", "tokens/s"}}
	if c.Prompt > 0 {
		rows = append(rows, []string{fmt.Sprintf("prompt of %d", c.Prompt), fmt.Sprintf("%.1f", r.PromptSpeed)})
	}
	if c.Gen > 0 {
		rows = append(rows, []string{fmt.Sprintf("generate %d", c.Gen), fmt.Sprintf("%.1f", r.GenSpeed)})
	}
	if r.BatchSpeed > 0 {
		rows = append(rows, []string{fmt.Sprintf("generate %d for %d", c.Gen, c.Batch), fmt.Sprintf("%.1f", r.BatchSpeed)})
	}
	table(a.out, rows, 0)
	if r.BatchSpeed > 0 {
		a.printf("%d sequences together are %.2f times as fast as one\n", c.Batch, r.BatchGain)
	}
	if r.Read > 0 {
		a.printf("read %s a token, %.2f GB/s\n", budget.FormatSize(int64(r.ReadToken)), r.Read/1e9)
	}
	a.printf("loaded in %.2f s, peak RSS %s\n", r.Load, budget.FormatSize(r.Peak))
}

// benchPrompt times a prompt of n random tokens.
func benchPrompt(ctx context.Context, m *engine.Model, n int) (time.Duration, error) {
	random := rand.New(rand.NewPCG(1, 1))
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(random.IntN(m.Config().Vocab))
	}
	seq, err := m.NewSeq(n)
	if err != nil {
		return 0, err
	}
	defer seq.Close()
	start := time.Now()
	for first := 0; first < n; first += m.BatchTokens() {
		last := min(first+m.BatchTokens(), n)
		s := llama.Seq{Tokens: ids[first:last], KV: seq}
		if last == n {
			s.Want = llama.Last
		}
		if err := m.Forward(ctx, []llama.Seq{s}, func(int, int, []float32) error { return nil }); err != nil {
			return 0, err
		}
	}
	return time.Since(start), nil
}

// benchGen times n tokens for each of some sequences together, one token a pass,
// always the likeliest, from an empty context.
func benchGen(ctx context.Context, m *engine.Model, n, sequences int) (time.Duration, error) {
	batch := make([]llama.Seq, sequences)
	for i := range batch {
		seq, err := m.NewSeq(n)
		if err != nil {
			return 0, err
		}
		defer seq.Close()
		first := int32(i)
		if i == 0 {
			first = max(m.Config().BOS, 0)
		}
		batch[i] = llama.Seq{Tokens: []int32{first}, KV: seq, Want: llama.Last}
	}
	start := time.Now()
	for range n {
		err := m.Forward(ctx, batch, func(i, _ int, logits []float32) error {
			next, _ := kern.MaxIndex(logits)
			batch[i].Tokens[0] = int32(next)
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	return time.Since(start), nil
}

// profile samples the processor time of what runs until the returned function
// is called. An empty path is for none.
func profile(path string) (stop func(), err error) {
	if path == "" {
		return func() {}, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		f.Close()
		return nil, err
	}
	return func() {
		pprof.StopCPUProfile()
		f.Close()
	}, nil
}

// median returns the middle of v, which it sorts.
func median(v []float64) float64 {
	slices.Sort(v)
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}
