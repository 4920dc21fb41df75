package main

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/source"
	"github.com/lamina-llm/lamina/pack"
)

type benchTransformCmd struct {
	Source    string    `arg:"" placeholder:"SRC" help:"Hugging Face directory, .safetensors file or .gguf file."`
	Text      string    `required:"" placeholder:"TEXT" help:"Text that errors of the outputs are measured on."`
	Calibrate string    `default:"default" placeholder:"TEXT" help:"Text that transforms and error feedback are trained on; default: the one that comes with lamina; self: the model writes it."`
	Tokens    int       `default:"4096" placeholder:"N" help:"Tokens of each text."`
	Bits      []float64 `default:"2,3" placeholder:"N,..." help:"Bits per weight of a matrix."`
	Layers    []int     `placeholder:"N,..." help:"Layers; default: one early, one in the middle, one late."`
	Threads   int       `placeholder:"N" help:"Goroutines; 0 is one per processor."`
	JSON      bool      `help:"Print results as JSON."`
}

// Run compares transforms of inputs.
func (c *benchTransformCmd) Run(a *app) error {
	if c.Tokens < 512 {
		return usage("bench transform", "--tokens %d: want 512 or more", c.Tokens)
	}
	for _, b := range c.Bits {
		if !(b >= 1 && b <= 6) {
			return usage("bench transform", "--bits %v: want 1 to 6", b)
		}
	}
	src, err := source.Open(c.Source)
	if err != nil {
		return err
	}
	defer src.Close()
	layers := c.Layers
	if n := src.Config().Layers; layers == nil {
		layers = slices.Compact([]int{n / 6, n / 2, n - 1 - n/6})
	}
	o := pack.Options{Mode: rans.DQ, Workers: c.Threads}
	if o.Calibrate, err = calibration(src, c.Calibrate, c.Tokens); err != nil {
		return err
	}
	test, err := calibration(src, c.Text, c.Tokens)
	if err != nil {
		return err
	}
	ctx, stop := a.untilSignal()
	defer stop()
	bar := a.reporter()
	defer bar.close()
	o.Progress = func(p pack.Progress) { bar.show(step{Phase: p.Phase, Item: p.Tensor, Done: p.Done, Total: p.Total}) }
	s, err := pack.StudyTransforms(ctx, src, o, test, layers, c.Bits)
	bar.close()
	if err != nil {
		return err
	}
	if c.JSON {
		return a.json(s)
	}
	a.printf("%s, layers %v: relative error of outputs on %d tokens of %s, trained on %d tokens of %s;\n", c.Source, layers, s.TestTokens, c.Text, s.Tokens, s.Calibration)
	a.printf("geometric means over layers, the transform's own bits counted (not those of \"full\")\n\n")
	table(a.out, transformRows(s), 0)
	return nil
}

// transformRows makes a table: a line per kind of matrix, rate and feedback, a
// column per way.
func transformRows(s *pack.TransformStudy) [][]string {
	type line struct {
		kind string
		bits float64
		fed  bool
	}
	type cell struct{ sum, n float64 }
	var lines []line
	var ways []string
	cells := map[line]map[string]*cell{}
	for _, r := range s.Results {
		l := line{r.Matrix[strings.LastIndexByte(r.Matrix, '.')+1:], r.Bits, r.Feedback}
		if cells[l] == nil {
			cells[l] = map[string]*cell{}
			lines = append(lines, l)
		}
		if !slices.Contains(ways, r.Way) {
			ways = append(ways, r.Way)
		}
		if r.Error > 0 {
			if cells[l][r.Way] == nil {
				cells[l][r.Way] = &cell{}
			}
			cells[l][r.Way].sum += math.Log(r.Error)
			cells[l][r.Way].n++
		}
	}
	out := [][]string{append([]string{"matrix", "bits", "feedback"}, ways...)}
	for _, l := range lines {
		row := []string{l.kind, fmt.Sprint(l.bits), map[bool]string{false: "no", true: "yes"}[l.fed]}
		for _, w := range ways {
			text := "-"
			if c := cells[l][w]; c != nil {
				text = fmt.Sprintf("%.4f", math.Exp(c.sum/c.n))
			}
			row = append(row, text)
		}
		out = append(out, row)
	}
	return out
}
