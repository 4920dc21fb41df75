package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lamina-llm/lamina/internal/engine"
	"github.com/lamina-llm/lamina/runtime/budget"
)

type benchStreamCmd struct {
	File        string      `arg:"" placeholder:"FILE" help:"The .lamina file."`
	RAM         budget.Size `required:"" placeholder:"SIZE" help:"Memory of the process while weights are streamed: too little for all of them."`
	Gen         int         `short:"n" default:"8" placeholder:"N" help:"Tokens of each run."`
	Threads     int         `short:"t" placeholder:"N" help:"Worker threads; default: one per processor."`
	Repetitions int         `short:"r" default:"3" placeholder:"N" help:"Rounds; the medians count."`
	JSON        bool        `help:"Print JSON."`
}

type benchStreamReport struct {
	Path        string  `json:"path"`
	Threads     int     `json:"threads"`
	Repetitions int     `json:"repetitions"`
	Plan        string  `json:"plan"`
	PerPass     int64   `json:"streamed_bytes_per_pass"`
	Blind       float64 `json:"blind_bytes_per_s"`   // of the same reads with nobody who looks at the data
	Disk        float64 `json:"disk_bytes_per_s"`    // with every byte looked at once
	BlindPass   float64 `json:"blind_pass_seconds"`  // that they take for one pass
	DiskPass    float64 `json:"disk_pass_seconds"`   //
	DecodePass  float64 `json:"decode_pass_seconds"` // with all coded bytes in memory
	BothPass    float64 `json:"both_pass_seconds"`   // the two side by side, neither waiting for the other
	Pass        float64 `json:"pass_seconds"`        // streamed
	Rate        float64 `json:"bytes_per_s"`         // read while streaming
	BlindRatio  float64 `json:"blind_ratio"`         // the slower of blind reads and decoding to what was achieved; median of the rounds
	Ratio       float64 `json:"ratio"`               // the same with data looked at
	BothRatio   float64 `json:"both_ratio"`          // the same for the two side by side
}

// Run compares passes over streamed weights with what bounds them: the disk
// alone, the decoding alone, and both at once without a bond, in turns.
func (c *benchStreamCmd) Run(a *app) (err error) {
	if c.Gen < 1 || c.Repetitions < 1 {
		return usage("bench stream", "-n %d -r %d: want 1 or more", c.Gen, c.Repetitions)
	}
	flags := runtimeFlags{RAM: c.RAM, Context: c.Gen + 1, Threads: c.Threads, KV: string(engine.KVQ16)}
	o, err := flags.options(a, "bench stream")
	if err != nil {
		return err
	}
	defer spareProcessors(&o)()
	o.Parallel = 1
	ctx, stop := a.untilSignal()
	defer stop()
	streamed, err := openModel(ctx, c.File, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, streamed.Close()) }()
	p := streamed.Plan()
	if p.PerPass == 0 {
		return usage("bench stream", "--ram %s: nothing is streamed; less than %s is wanted", budget.FormatSize(int64(c.RAM)), budget.FormatSize(p.ResidentBudget))
	}
	o.RAM, o.Coded = 0, true
	coded, err := openModel(ctx, c.File, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, coded.Close()) }()
	r := benchStreamReport{Path: c.File, Threads: o.Threads, Repetitions: c.Repetitions, Plan: p.Title(), PerPass: p.PerPass}
	var blind, disk, decode, both, pass, blindRatio, ratio, bothRatio []float64
	for i := range c.Repetitions + 1 {
		var d [2]float64
		for k := range d {
			if d[k], err = diskPasses(ctx, streamed, c.Gen, k == 1); err != nil {
				return fmt.Errorf("bench: disk: %w", err)
			}
		}
		var t [2]float64
		for k, m := range []*engine.Model{coded, streamed} {
			took, err := benchGen(ctx, m, c.Gen, 1)
			if err != nil {
				return fmt.Errorf("bench: generate: %w", err)
			}
			t[k] = took.Seconds() / float64(c.Gen)
		}
		b, err := bothPasses(ctx, streamed, coded, c.Gen)
		if err != nil {
			return fmt.Errorf("bench: %w", err)
		}
		if i > 0 { // the first one warms up
			blind, disk, decode, both, pass = append(blind, d[0]), append(disk, d[1]), append(decode, t[0]), append(both, b), append(pass, t[1])
			blindRatio, ratio, bothRatio = append(blindRatio, max(d[0], t[0])/t[1]), append(ratio, max(d[1], t[0])/t[1]), append(bothRatio, b/t[1])
		}
	}
	r.BlindPass, r.BlindRatio = median(blind), median(blindRatio)
	r.DiskPass, r.DecodePass, r.BothPass, r.Pass = median(disk), median(decode), median(both), median(pass)
	r.Ratio, r.BothRatio = median(ratio), median(bothRatio)
	r.Blind, r.Disk, r.Rate = float64(p.PerPass)/r.BlindPass, float64(p.PerPass)/r.DiskPass, float64(p.PerPass)/r.Pass
	if c.JSON {
		return a.json(r)
	}
	a.printf("%s, %d threads, median of %d\n%s\n", r.Path, r.Threads, r.Repetitions, r.Plan)
	ms := func(s float64) string { return fmt.Sprintf("%.1f", 1000*s) }
	table(a.out, [][]string{
		{"", "ms a pass", "GB/s"},
		{"disk alone, nobody looks at the data", ms(r.BlindPass), fmt.Sprintf("%.2f", r.Blind/1e9)},
		{"disk alone, every byte looked at", ms(r.DiskPass), fmt.Sprintf("%.2f", r.Disk/1e9)},
		{"decoding alone", ms(r.DecodePass), ""},
		{"both side by side", ms(r.BothPass), fmt.Sprintf("%.2f", float64(p.PerPass)/r.BothPass/1e9)},
		{"streaming", ms(r.Pass), fmt.Sprintf("%.2f", r.Rate/1e9)},
	}, 0)
	a.printf("%.2f of the slower of disk and decoding (%.2f if nobody looks at the data), %.2f of both side by side\n", r.Ratio, r.BlindRatio, r.BothRatio)
	return nil
}

// bothPasses returns the seconds of a pass of coded while the disk reads what a
// pass of streamed does, though nobody waits for that: what the machine does of
// both at once, if reading takes processors, memory or time slices too.
func bothPasses(ctx context.Context, streamed, coded *engine.Model, n int) (float64, error) {
	start := time.Now()
	var g errgroup.Group
	g.Go(func() error { _, err := diskPasses(ctx, streamed, n, false); return err })
	_, err := benchGen(ctx, coded, n, 1)
	err = errors.Join(err, g.Wait())
	return time.Since(start).Seconds() / float64(n), err
}

// diskPasses returns the seconds that the disk alone takes for what one pass of m
// streams, the mean of n; every byte is looked at if look is set.
func diskPasses(ctx context.Context, m *engine.Model, n int, look bool) (float64, error) {
	var sum time.Duration
	for range n {
		_, took, err := m.ReadStreamed(ctx, look)
		if err != nil {
			return 0, err
		}
		sum += took
	}
	return sum.Seconds() / float64(n), nil
}
