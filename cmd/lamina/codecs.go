package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lamina-llm/lamina/internal/codecs"
	"github.com/lamina-llm/lamina/internal/extcodec"
	"github.com/lamina-llm/lamina/internal/source"
	"github.com/lamina-llm/lamina/model/token"
	"github.com/lamina-llm/lamina/pack/report"
)

type codecsCmd struct {
	Source   string   `arg:"" placeholder:"SRC" help:"Checkpoint whose layers are coded."`
	Text     string   `placeholder:"FILE" help:"Text for perplexity, UTF-8; without it only rate and error are measured."`
	Tokens   int      `default:"2048" placeholder:"N" help:"Use the first N tokens of the text."`
	Window   int      `default:"256" placeholder:"N" help:"Tokens per window; every window starts afresh."`
	Layers   int      `placeholder:"N" help:"Code the first N layers alone; 0 is all of them."`
	Points   int      `default:"3" placeholder:"N" help:"Settings per codec, 1 to 3."`
	Only     []string `placeholder:"CODEC,..." help:"Compare these alone: native, VVC, H.264, HEVC, AV1, JPEG, WebP, 'JPEG XL'."`
	External bool     `default:"true" negatable:"" help:"Also run ffmpeg, cjxl and djxl, if they are installed."`
	Threads  int      `short:"t" placeholder:"N" help:"Goroutines of our codecs; default: one per processor."`
	CSV      string   `name:"csv" placeholder:"FILE" help:"Write the points as CSV."`
	Plot     string   `placeholder:"DIR" help:"Write plots as PNG into DIR."`
	HTML     string   `name:"html" placeholder:"FILE" help:"Write table and plots as one HTML page."`
	JSON     bool     `help:"Print JSON."`
}

// Run compares codecs.
func (c *codecsCmd) Run(a *app) error {
	switch {
	case c.Tokens < 2 || c.Window < 2:
		return usage("codecs", "--tokens %d --window %d: want 2 or more", c.Tokens, c.Window)
	case c.Points < 1 || c.Points > 3:
		return usage("codecs", "--points %d: want 1 to 3", c.Points)
	case c.Layers < 0:
		return usage("codecs", "--layers %d: want 0 or more", c.Layers)
	case c.Threads < 0:
		return usage("codecs", "--threads %d: want 0 or more", c.Threads)
	}
	if err := canWrite(c.CSV, c.HTML); err != nil {
		return fmt.Errorf("codecs: %w", err)
	}
	src, err := source.Open(c.Source)
	if err != nil {
		return err
	}
	defer src.Close()
	ctx, stop := a.untilSignal()
	defer stop()
	o := codecs.Options{Layers: c.Layers, Points: c.Points, Window: c.Window, Workers: c.Threads}
	if c.External {
		o.External = extcodec.Find(ctx)
	}
	if len(c.Only) > 0 {
		o.Only = func(name, _ string) bool {
			return slices.ContainsFunc(c.Only, func(want string) bool { return strings.EqualFold(want, name) })
		}
	}
	if o.Tokens, err = c.tokens(src); err != nil {
		return err
	}
	bar := a.reporter()
	defer bar.close()
	o.Progress = func(done, total int, what string) {
		bar.show(step{Phase: "codecs", Item: what, Done: int64(done), Total: int64(total)})
	}
	r, err := codecs.Run(ctx, src, o)
	bar.close()
	if err != nil {
		return err
	}
	if err := c.files(a, r); err != nil {
		return fmt.Errorf("codecs: %w", err)
	}
	if c.JSON {
		return a.json(r)
	}
	a.printf("%s: %s weights, as 8-bit planes with a scale per row\n", r.Model, count(r.Weights))
	if r.Tokens > 0 {
		a.printf("perplexity of %d tokens, windows of %d; of the source in float32: %.3f\n", r.Tokens, r.Window, r.FloatPPL)
	}
	a.printf("\n")
	table(a.out, append([][]string{codecsHead}, codecRows(r)...), 0, 1, 2, 3)
	for _, s := range r.Skipped {
		a.printf("left out: %s\n", s)
	}
	return nil
}

// tokens reads the text; nil without one.
func (c *codecsCmd) tokens(src *source.Source) ([]int32, error) {
	if c.Text == "" {
		return nil, nil
	}
	data, err := os.ReadFile(c.Text)
	if err != nil {
		return nil, fmt.Errorf("codecs: text: %w", err)
	}
	tok, err := src.Tokenizer()
	if err != nil {
		return nil, err
	}
	ids, err := tok.Encode(string(data), token.EncodeOptions{})
	if err == nil && len(ids) < c.Tokens {
		err = fmt.Errorf("%d tokens, fewer than the %d asked for", len(ids), c.Tokens)
	}
	if err != nil {
		return nil, fmt.Errorf("codecs: text %s: %w", c.Text, err)
	}
	return ids[:c.Tokens], nil
}

var codecsHead = []string{"codec", "profile", "program", "setting", "bits/weight", "NMSE", "above the bound", "perplexity", "enc Mw/s", "dec Mw/s"}

// codecRows writes the points as cells.
func codecRows(r *codecs.Report) (rows [][]string) {
	for _, p := range r.Points {
		ppl := ""
		if p.PPL > 0 {
			ppl = fmt.Sprintf("%.3f", p.PPL)
		}
		rows = append(rows, []string{p.Codec, p.Profile, p.Program, p.Setting, fmt.Sprintf("%.3f", p.Bits), fmt.Sprintf("%.5f", p.NMSE),
			fmt.Sprintf("%.3f", p.Gap), ppl, fmt.Sprintf("%.3g", p.Encode), fmt.Sprintf("%.3g", p.Decode)})
	}
	return rows
}

// files writes what was asked for.
func (c *codecsCmd) files(a *app, r *codecs.Report) error {
	if c.CSV != "" {
		err := writeOutput(a, c.CSV, true, func(w io.Writer) error {
			return csv.NewWriter(w).WriteAll(append([][]string{codecsHead}, codecRows(r)...))
		})
		if err != nil {
			return err
		}
	}
	figures := codecFigures(r)
	if c.Plot != "" {
		if err := os.MkdirAll(c.Plot, 0o755); err != nil {
			return err
		}
		for i, name := range []string{"rate-distortion", "perplexity", "encoding", "decoding"} {
			if len(figures[i].Series) == 0 {
				continue
			}
			if err := writeOutput(a, filepath.Join(c.Plot, name+".png"), true, figures[i].WritePNG); err != nil {
				return err
			}
		}
	}
	if c.HTML == "" {
		return nil
	}
	s := report.Sheet{Title: "Codecs on the weights of " + r.Model, Head: codecsHead, Rows: codecRows(r), Left: 4, Figures: figures, Notes: []string{
		fmt.Sprintf("%d weights of layers. Codecs of pictures get the same 8-bit planes, one scale per row; the native codec gets the weights. Rates count streams and row scales.", r.Weights),
		"Above the bound: bits more than 0.5 log2(1/NMSE), what a Gaussian source needs. Speeds are wall time of all processors; those of other programs include their start and files.",
	}}
	if r.Tokens > 0 {
		s.Notes = append(s.Notes, fmt.Sprintf("Perplexity of %d tokens in windows of %d with the decoded matrices in float32; the source has %.3f.", r.Tokens, r.Window, r.FloatPPL))
	}
	for _, skip := range r.Skipped {
		s.Notes = append(s.Notes, "Left out: "+skip)
	}
	return writeOutput(a, c.HTML, true, s.Write)
}

// codecFigures draws error, perplexity and speeds over the rate.
func codecFigures(r *codecs.Report) []report.Figure {
	const rate = "bits per weight"
	list := []report.Figure{
		{Title: "Rate and distortion", X: rate, Y: "NMSE", LogY: true},
		{Title: "Perplexity", X: rate, Y: "perplexity", Note: "Points above three times the source's are left out.", LogY: true},
		{Title: "Encoding", X: rate, Y: "million weights per second", LogY: true},
		{Title: "Decoding", X: rate, Y: "million weights per second", LogY: true},
	}
	add := func(f *report.Figure, name string, x, y float64) {
		i := slices.IndexFunc(f.Series, func(s report.Series) bool { return s.Name == name })
		if i < 0 {
			i = len(f.Series)
			f.Series = append(f.Series, report.Series{Name: name})
		}
		f.Series[i].Points = append(f.Series[i].Points, report.XY{X: x, Y: y})
	}
	for _, p := range r.Points {
		name := p.Codec + " " + p.Profile
		add(&list[0], name, p.Bits, p.NMSE)
		if p.PPL > 0 && p.PPL < 3*r.FloatPPL { // the rest is no language
			add(&list[1], name, p.Bits, p.PPL)
		}
		add(&list[2], name, p.Bits, p.Encode)
		add(&list[3], name, p.Bits, p.Decode)
	}
	if r.FloatPPL > 0 {
		list[1].Series = append(list[1].Series, report.Series{Name: "source, float32", Style: report.Level, Points: []report.XY{{Y: r.FloatPPL}}})
	}
	return list
}
