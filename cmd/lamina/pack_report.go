package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/lamina-llm/lamina/internal/engine"
	"github.com/lamina-llm/lamina/pack"
	"github.com/lamina-llm/lamina/pack/report"
	"github.com/lamina-llm/lamina/weights"
)

// reportFlags are the flags of pack that belong to its report.
type reportFlags struct {
	Report  string   `placeholder:"FILE" help:"Write a report as one HTML page: tensors, allocation, levels, quality."`
	Measure string   `placeholder:"TEXT" help:"For the report: measure perplexity and KL divergence from the source on this text (see eval)."`
	First   int      `name:"measure-tokens" default:"8192" placeholder:"N" help:"Use the first N tokens of that text, at most; 0 is all of them."`
	Compare []string `sep:"none" placeholder:"FILE" help:"For the report: another .lamina file, which is measured too, or the output of 'eval --json' or 'lowrank --coded --json'; may be repeated."`
}

// check reports flags that make no sense, and outputs that cannot be.
func (c *reportFlags) check(force bool) error {
	switch {
	case c.Report == "" && (c.Measure != "" || len(c.Compare) > 0):
		return usage("pack", "--measure and --compare are for a --report")
	case c.First < 0 || c.First == 1:
		return usage("pack", "--measure-tokens %d: want 2 or more, or 0 for all", c.First)
	case c.Report == "":
		return nil
	}
	for _, path := range append([]string{c.Measure}, c.Compare...) {
		if path == "" {
			continue
		}
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("pack: report: %w", err)
		}
	}
	for _, path := range c.Compare {
		if filepath.Ext(path) == ".json" {
			if _, _, err := readComparison(path); err != nil {
				return err
			}
		} else if c.Measure == "" {
			return usage("pack", "--compare %s: give --measure TEXT, on which it is measured, or the output of 'eval --json'", path)
		}
	}
	return checkOutput("report", c.Report, force)
}

// write makes the page for a file that was packed.
func (c *reportFlags) write(ctx context.Context, a *app, packed *packCmd, r *pack.Report) error {
	p := report.Page{File: packed.Output, Source: packed.Source, Pack: r}
	if err := c.inspect(ctx, &p); err != nil {
		return err
	}
	if err := c.points(ctx, a, packed, &p); err != nil {
		return err
	}
	return writeFile(c.Report, p.Write)
}

// inspect reads what the packed file knows.
func (c *reportFlags) inspect(ctx context.Context, p *report.Page) error {
	f, err := weights.Open(p.File)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := f.Section(weights.SectionProvenance)
	if err != nil {
		return err
	}
	var from struct{ Method, Made string }
	if err := json.Unmarshal(data, &from); err != nil {
		return fmt.Errorf("%s: provenance: %w", p.File, err)
	}
	p.Method, p.Made = from.Method, from.Made
	p.Levels, err = report.Levels(ctx, f)
	return err
}

// points measures the file and those that it is compared with.
func (c *reportFlags) points(ctx context.Context, a *app, packed *packCmd, p *report.Page) error {
	paths := []string{}
	if c.Measure != "" {
		paths = append(paths, packed.Output)
	}
	for _, path := range append(paths, c.Compare...) {
		if filepath.Ext(path) == ".json" {
			point, figure, err := readComparison(path)
			switch {
			case err != nil:
				return err
			case figure != nil:
				p.Figures = append(p.Figures, *figure)
			default:
				p.Points = append(p.Points, point)
			}
			continue
		}
		e := evalCmd{Path: path, Text: []string{c.Measure}, Reference: packed.Source, Tokens: c.First, atMost: true, KV: string(engine.KVQ16), Threads: packed.Threads}
		m, err := e.measure(ctx, a, "measure")
		if err != nil {
			return err
		}
		if path == packed.Output {
			source, err := sizeOf(packed.Source, "")
			if err != nil {
				return err
			}
			own := m.point()
			p.Points = append(p.Points, own, report.Point{
				Name: filepath.Base(packed.Source) + ", the source", Text: own.Text, Source: true,
				Bits: source.Bits, Bytes: source.Bytes, PPL: *m.RefPPL, HasKL: true, Top1: 1,
			})
			continue
		}
		p.Points = append(p.Points, m.point())
	}
	return nil
}

// point is what a report shows of a measurement.
func (r *evalReport) point() report.Point {
	text := fmt.Sprintf("%d tokens of %s, windows of %d", r.Tokens, filepath.Base(r.Text), r.Window)
	p := report.Point{Name: rounded(filepath.Base(r.Path), r.Round), Text: text, Bits: r.Bits, Bytes: r.modelSize.Bytes, PPL: r.PPL}
	if r.KL != nil && r.Top1 != nil {
		p.KL, p.Top1, p.HasKL = *r.KL, *r.Top1, true
	}
	return p
}

// maxPoint bounds the JSON of a measurement, which has a number or two per
// window.
const maxPoint = 64 << 20

// readComparison reads the output of eval --json, a point, or that of lowrank
// --coded --json, a figure.
func readComparison(path string) (report.Point, *report.Figure, error) {
	data, err := readBounded(path, maxPoint)
	if err != nil {
		return report.Point{}, nil, fmt.Errorf("pack: compare: %w", err)
	}
	if f, ok := codedFigure(data); ok {
		return report.Point{}, f, nil
	}
	var r evalReport
	if err := json.Unmarshal(data, &r); err != nil {
		return report.Point{}, nil, fmt.Errorf("pack: compare: %s is not the output of 'eval --json': %w", path, err)
	}
	if !(r.Bits > 0) || !(r.PPL > 0) {
		return report.Point{}, nil, fmt.Errorf(`pack: compare: %s is not the output of 'eval --json': want "bits_per_weight" and "ppl"`, path)
	}
	if r.Path == "" {
		r.Path = path
	}
	return r.point(), nil, nil
}
