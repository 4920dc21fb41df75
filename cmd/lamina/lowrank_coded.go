package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/engine"
	"github.com/lamina-llm/lamina/internal/source"
	"github.com/lamina-llm/lamina/pack"
	"github.com/lamina-llm/lamina/pack/report"
)

// codedReport is what lowrank --coded --json prints. Keys stay; others may
// come.
type codedReport struct {
	Path              string       `json:"path"`
	Text              string       `json:"text"`
	Tokens            int          `json:"tokens"`
	Window            int          `json:"window"`
	Calibration       string       `json:"calibration"`
	CalibrationTokens int          `json:"calibration_tokens"`
	PPL               float64      `json:"source_ppl"`
	Coded             []codedPoint `json:"coded"`
}

// codedPoint is one packed file.
type codedPoint struct {
	Name    string  `json:"name"` // dense, factored 0.8, auto
	Target  float64 `json:"target_bits"`
	Bits    float64 `json:"bits_per_weight"`
	Bytes   int64   `json:"file_bytes"`
	PPL     float64 `json:"ppl"`
	KL      float64 `json:"kl"`
	Top1    float64 `json:"top1"`
	Choices string  `json:"choices,omitempty"` // auto: how often dense, factors and a correction won
}

// coded packs the checkpoint at every rate in every representation, and
// measures the files.
func (c *lowrankCmd) coded(ctx context.Context, a *app, src *source.Source, cal *pack.Calibration) error {
	r := &codedReport{Path: c.Source, Text: c.Text, Calibration: cal.Name, CalibrationTokens: cal.Count()}
	dir, err := os.MkdirTemp("", "lamina-lowrank-")
	if err != nil {
		return fmt.Errorf("lowrank: %w", err)
	}
	defer os.RemoveAll(dir)
	var ways []codedPoint
	var options []pack.Options
	add := func(name string, o pack.Options) {
		ways, options = append(ways, codedPoint{Name: name}), append(options, o)
	}
	if slices.Contains(c.Represent, "dense") {
		add("dense", pack.Options{})
	}
	if slices.Contains(c.Represent, "auto") {
		add("auto", pack.Options{Representation: pack.Auto})
	}
	if slices.Contains(c.Represent, "factored") {
		for _, keep := range c.Keep {
			add(fmt.Sprintf("factored %g", keep), pack.Options{Representation: pack.Factors, Keep: keep})
		}
	}
	// Files take minutes: what is measured is shown at once.
	for _, bits := range c.Coded {
		for i, o := range options {
			bar, p := a.reporter(), ways[i]
			p.Target = bits
			o.Bits, o.Mode, o.Workers, o.Calibrate = bits, rans.DQ, c.Threads, cal
			o.Progress = func(x pack.Progress) {
				bar.show(step{Phase: fmt.Sprintf("%s, %g bits: %s", p.Name, bits, x.Phase), Item: x.Tensor, Done: x.Done, Total: x.Total})
			}
			err := c.point(ctx, a, src, filepath.Join(dir, "m.lamina"), o, r, &p)
			bar.close()
			if err != nil {
				return fmt.Errorf("lowrank: %s at %g bits: %w", p.Name, bits, err)
			}
			r.Coded = append(r.Coded, p)
			if !c.JSON {
				r.print(a, len(r.Coded)-1)
			}
			if c.Plot == "" {
				continue
			}
			if err := writeOutput(a, c.Plot, true, r.figure().WritePNG); err != nil {
				return fmt.Errorf("lowrank: plot: %w", err)
			}
		}
	}
	if c.JSON {
		return a.json(r)
	}
	return nil
}

// point packs and measures one file, which it removes.
func (c *lowrankCmd) point(ctx context.Context, a *app, src *source.Source, path string, o pack.Options, r *codedReport, p *codedPoint) error {
	packed, err := pack.Run(ctx, src, path, o)
	if err != nil {
		return err
	}
	defer os.Remove(path)
	if len(packed.Choices) > 0 {
		won := map[string]int{}
		for _, x := range packed.Choices {
			won[x.Chosen]++
		}
		p.Choices = fmt.Sprintf("%d dense, %d factors, %d corrections", won["dense"], won["factors"], won["correction"])
	}
	e := evalCmd{
		Path: path, Text: []string{c.Text}, Reference: c.Source, Tokens: c.Tokens, Window: min(c.Window, src.Config().MaxContext),
		KV: string(engine.KVQ16), Threads: c.Threads,
	}
	m, err := e.measure(ctx, a, "eval")
	if err != nil {
		return err
	}
	p.Bits, p.Bytes, p.PPL, p.KL, p.Top1 = packed.Bits, packed.Bytes, m.PPL, *m.KL, *m.Top1
	r.Tokens, r.Window, r.PPL = m.Tokens, m.Window, *m.RefPPL
	return nil
}

// figure draws perplexity against bytes, a line for each representation.
func (r *codedReport) figure() *report.Figure {
	f := &report.Figure{
		Title: "Dense and factored", X: "MB, whole file", Y: "perplexity", LogY: true,
		Note: fmt.Sprintf("Coded files of %s on %d tokens of %s, windows of %d; calibrated on %d tokens of %s.",
			filepath.Base(r.Path), r.Tokens, filepath.Base(r.Text), r.Window, r.CalibrationTokens, r.Calibration),
	}
	for _, p := range r.Coded {
		i := slices.IndexFunc(f.Series, func(s report.Series) bool { return s.Name == p.Name })
		if i < 0 {
			i = len(f.Series)
			f.Series = append(f.Series, report.Series{Name: p.Name})
		}
		f.Series[i].Points = append(f.Series[i].Points, report.XY{X: float64(p.Bytes) / 1e6, Y: p.PPL})
	}
	for _, s := range f.Series {
		slices.SortFunc(s.Points, func(a, b report.XY) int {
			if a.X < b.X {
				return -1
			}
			return 1
		})
	}
	f.Series = append(f.Series, report.Series{Name: "source", Style: report.Level, Points: []report.XY{{Y: r.PPL}}})
	return f
}

// print writes row i of the table, the first with what stands above it.
func (r *codedReport) print(a *app, i int) {
	if i == 0 {
		a.printf("%s on %d tokens of %s, windows of %d; calibrated on %d tokens of %s\nsource: perplexity %.4f\n\n",
			r.Path, r.Tokens, r.Text, r.Window, r.CalibrationTokens, r.Calibration, r.PPL)
		a.printf("%-14s %11s %10s %10s %7s %7s  %s\n", "matrices", "bits/weight", "bytes", "perplexity", "KL", "top-1 %", "chosen")
	}
	p := r.Coded[i]
	a.printf("%-14s %11.3f %10d %10.2f %7.4f %7.1f  %s\n", p.Name, p.Bits, p.Bytes, p.PPL, p.KL, 100*p.Top1, p.Choices)
}

// codedFigure reads the output of lowrank --coded --json; ok is false if data
// is something else.
func codedFigure(data []byte) (f *report.Figure, ok bool) {
	var r codedReport
	if json.Unmarshal(data, &r) != nil || len(r.Coded) == 0 {
		return nil, false
	}
	return r.figure(), true
}
