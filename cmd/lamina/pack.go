package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/source"
	"github.com/lamina-llm/lamina/model/token"
	"github.com/lamina-llm/lamina/pack"
	"github.com/lamina-llm/lamina/pack/calib"
	"github.com/lamina-llm/lamina/runtime/budget"
)

type packCmd struct {
	Source  string      `arg:"" placeholder:"SRC" help:"Hugging Face directory, .safetensors file or .gguf file."`
	Output  string      `short:"o" xor:"output" required:"" placeholder:"FILE" help:"The .lamina file to write."`
	Bits    float64     `xor:"target" required:"" placeholder:"N" help:"Bits per weight of the whole file, 1 to 8; more than 5 or 6 are out of reach for some models."`
	Size    budget.Size `xor:"target" required:"" placeholder:"SIZE" help:"Size of the whole file, such as 50MB."`
	Even    float64     `name:"tolerance" xor:"target" required:"" placeholder:"E" help:"Relative error of every matrix, more than 0 and less than 1: of its weights, or with --calibrate of its outputs."`
	RAM     budget.Size `xor:"target" required:"" placeholder:"SIZE" help:"The best file that runs in this memory with --context, all weights resident, such as 80MiB; of up to 6 bits per weight, with --calibrate 5."`
	Context int         `placeholder:"N" help:"With --ram: tokens of context; default: what lamina run would take."`
	Codec   string      `enum:"native,vvc" default:"native" help:"Codec: native, or vvc (H.266 pictures: slow to decode, for comparison and exchange)."`
	QP      *float64    `name:"qp" xor:"target" required:"" placeholder:"N" help:"With --codec vvc: quantisation parameter of the layers, 0 to 63; 24 is about 3 bits."`
	Import  string      `xor:"target" required:"" placeholder:"PATH" help:"With --codec vvc: take exported planes that were coded elsewhere; the folder, or all streams in one file beside planes.json."`
	Export  string      `name:"export-planes" xor:"output" required:"" placeholder:"FOLDER" help:"With --codec vvc --qp N: write the planes as raw video and planes.json into FOLDER instead, for --import."`
	Mode    string      `enum:"dq,scalar" default:"dq" help:"Quantiser: dq (dependent quantisation, 0.15 bit per weight smaller) or scalar (decodes faster)."`
	Turn    string      `name:"transform" enum:"none,hadamard" default:"none" help:"Orthogonal transform of the inputs of the layers' matrices: none (which measured best), or hadamard with random signs."`
	Fast    bool        `name:"fast-tables" help:"Decode a tenth faster with AVX-512, for up to 0.01 bit per weight; --mode scalar does so always."`
	Text    string      `name:"calibrate" placeholder:"TEXT" help:"Keep the model exact on text like this file, or with the word default on text that comes with lamina, or with self on text that the model writes itself first; slower, better."`
	Tokens  int         `name:"calibrate-tokens" default:"16384" placeholder:"N" help:"Tokens of the calibration text to use, at most."`
	Grams   budget.Size `name:"calibrate-memory" default:"1GiB" placeholder:"SIZE" help:"Memory for statistics of that text at a time; a large model that needs more reads the text several times. The file stays the same."`
	Drift   bool        `help:"With --calibrate: let each matrix make up for what those before it lost. Best at 2 bits; takes more than twice as long."`
	Tune    int         `placeholder:"N" help:"With --calibrate: let what is not coded yet learn from N tokens of that text to make up for the errors of what is. 1000000 takes hours (about 3 per 100 M weights and core), and 16 bytes of memory per weight."`
	Threads int         `placeholder:"N" help:"Goroutines that quantise; 0 is one per processor."`
	Resume  bool        `help:"Keep what is finished in FILE.resume, which takes as much disk as FILE, and go on from there if the same command was interrupted."`
	Force   bool        `short:"f" help:"Replace FILE if it exists."`
	JSON    bool        `help:"Print the report as JSON."`
	lowrankFlags
	reportFlags
}

type packReport struct {
	Path string `json:"path"`
	*pack.Report
	Peak int64 `json:"peak_rss_bytes"` // of the process
}

// options checks the flags and returns what they say about packing, but for what
// takes the model.
func (c *packCmd) options() (pack.Options, error) {
	o := pack.Options{Bits: c.Bits, Size: int64(c.Size), Error: c.Even, Resume: c.Resume, QP: c.QP, Mode: rans.Scalar, Fast: c.Fast, Workers: c.Threads, Statistics: int64(c.Grams)}
	fail := func(format string, args ...any) (pack.Options, error) { return o, usage("pack", format, args...) }
	if c.Threads < 0 {
		return fail("--threads %d: want 0 or more", c.Threads)
	}
	if c.Turn != string(pack.NoTransform) {
		o.Transform = pack.Transformation(c.Turn)
	}
	if c.Codec == "vvc" {
		o.Codec = pack.VVC
	}
	if c.Import != "" {
		o.Import = &pack.Import{Path: c.Import}
	}
	if c.Mode == "dq" {
		o.Mode = rans.DQ
	}
	if c.RAM != 0 {
		o.Bits = fewestBits // until the model is known
	}
	switch {
	case c.Export != "" && c.QP == nil:
		return fail("--export-planes needs --codec vvc and --qp")
	case o.Codec == pack.VVC && c.Text != "":
		return fail("--codec vvc packs without --calibrate")
	case c.Drift && c.Text == "":
		return fail("--drift needs --calibrate")
	case c.Text != "" && c.Tokens < 512:
		return fail("--calibrate-tokens %d: want 512 or more", c.Tokens)
	case c.Context < 0 || c.Context > 0 && c.RAM == 0:
		return fail("--context %d: want more than 0, with --ram", c.Context)
	case c.Tune != 0 && c.Text == "":
		return fail("--tune needs --calibrate")
	}
	if err := o.Validate(); err != nil {
		return o, usageError{err, "pack"}
	}
	return o, c.set(&o, c.Text != "")
}

// texts gives o the calibration text, and the one to learn from.
func (c *packCmd) texts(src *source.Source, o *pack.Options) (err error) {
	if c.Text == "" {
		return nil
	}
	if o.Calibrate, err = calibration(src, c.Text, c.Tokens); err != nil {
		return err
	}
	o.Drift = c.Drift
	if c.Tune != 0 {
		text, err := calibration(src, c.Text, c.Tune)
		if err != nil {
			return err
		}
		o.Tune = &pack.Tuning{Tokens: c.Tune, Text: text.Tokens, Memory: budget.DetectLimit().Bytes}
	}
	return nil
}

// Run packs a checkpoint.
func (c *packCmd) Run(a *app) error {
	o, err := c.options()
	if err != nil {
		return err
	}
	if c.Export == "" {
		if err := c.checkOutput(); err != nil {
			return err
		}
	}
	if err := c.reportFlags.check(c.Force); err != nil {
		return err
	}
	src, err := source.Open(c.Source)
	if err != nil {
		return err
	}
	defer src.Close()
	if c.RAM != 0 {
		most := mostBits
		if c.Text != "" {
			most = mostCalibrated
		}
		if o.Bits, err = fitMemory(src.Config(), int64(c.RAM), c.Context, 0, most); err != nil {
			return err
		}
	}
	ctx, stop := a.untilSignal()
	defer stop()
	o.Notice = func(s string) { fmt.Fprintf(a.err, "lamina: pack: %s\n", s) }
	bar := a.reporter()
	defer bar.close()
	o.Progress = func(p pack.Progress) {
		bar.show(step{Phase: p.Phase, Item: p.Tensor, Done: p.Done, Total: p.Total})
	}
	if err := c.texts(src, &o); err != nil {
		return err
	}
	if c.Export != "" {
		m, err := pack.ExportPlanes(ctx, src, c.Export, o)
		bar.close()
		return c.exported(a, m, err)
	}
	r, err := pack.Run(ctx, src, c.Output, o)
	bar.close()
	if err != nil {
		return err
	}
	peak := budget.PeakRSS() // before a report measures anything
	if c.Report != "" {
		if err := c.reportFlags.write(ctx, a, c, r); err != nil {
			return fmt.Errorf("pack: %s is packed, but there is no report: %w", c.Output, err)
		}
	}
	return c.packed(a, r, peak)
}

// packed reports what was packed.
func (c *packCmd) packed(a *app, r *pack.Report, peak int64) error {
	if c.JSON {
		return a.json(packReport{c.Output, r, peak})
	}
	least, most := r.Tensors[0].Error, r.Tensors[0].Error
	for _, t := range r.Tensors {
		least, most = min(least, t.Error), max(most, t.Error)
	}
	a.printf("%s: %s weights in %s, %.3f bits per weight (%s), in %.1f s, peak memory %s\n",
		c.Output, count(r.Weights), budget.FormatSize(r.Bytes), r.Bits, r.Mode, r.Seconds, budget.FormatSize(peak))
	a.printf("relative error of the matrices: %.3f to %.3f\n", least, most)
	if c.Even != 0 && c.Text != "" {
		a.printf("relative error of their outputs: %g, estimated\n", c.Even)
	}
	printRanks(a, r)
	if c.Report != "" {
		a.printf("report: %s\n", c.Report)
	}
	a.printf("next: lamina run %s\n", quoteArg(c.Output))
	return nil
}

// exported reports what was exported.
func (c *packCmd) exported(a *app, m *pack.Manifest, err error) error {
	if err != nil {
		return err
	}
	if c.JSON {
		return a.json(m)
	}
	frames := 0
	for _, e := range m.Planes {
		frames += e.Frames
	}
	a.printf("%s: %d frames of %d matrices as raw 8-bit luma, described by %s\n", c.Export, frames, len(m.Planes), pack.ManifestName)
	a.printf("next: code every NAME.yuv to NAME.266, each picture a random access point, then\n")
	a.printf("      lamina pack %s --codec vvc --import %s -o FILE\n", quoteArg(c.Source), quoteArg(c.Export))
	return nil
}

// maxCalibration bounds the calibration text that is read, in bytes.
const maxCalibration = 64 << 20

// calibration reads and tokenises a calibration text: a file, or "default"; for
// "self" the model is to write it.
func calibration(src *source.Source, path string, tokens int) (*pack.Calibration, error) {
	if path == "self" {
		tok, err := src.Tokenizer()
		if err != nil {
			return nil, err
		}
		return &pack.Calibration{Name: path, Own: &pack.OwnText{Tokens: tokens, BOS: tok.BOS(), Seed: 1}}, nil
	}
	text, name := calib.Default(), "default"
	if path != "default" {
		f, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("pack: calibration text: %w", err)
		}
		defer f.Close()
		// About 16 bytes a token are plenty.
		data, err := io.ReadAll(io.LimitReader(f, int64(min(tokens, maxCalibration/16))*16))
		if err != nil {
			return nil, fmt.Errorf("pack: calibration text: %w", err)
		}
		text, name = strings.ToValidUTF8(string(data), ""), filepath.Base(path)
	}
	tok, err := src.Tokenizer()
	if err != nil {
		return nil, err
	}
	ids, err := tok.Encode(text, token.EncodeOptions{ParseSpecial: true})
	if err != nil {
		return nil, fmt.Errorf("pack: calibration text %s: %w", path, err)
	}
	return &pack.Calibration{Name: name, Tokens: ids[:min(len(ids), tokens)]}, nil
}

// checkOutput refuses, before the work and not after it, an output that exists
// or that cannot be.
func (c *packCmd) checkOutput() error {
	if err := checkOutput("output", c.Output, c.Force); err != nil {
		return err
	}
	in, err := os.Stat(c.Source)
	if err != nil {
		return nil // opening it tells more
	}
	if out, err := os.Stat(c.Output); err == nil && os.SameFile(in, out) {
		return fmt.Errorf("pack: %s is the source itself", c.Output)
	}
	return nil
}

// checkOutput does so for one file; what is its part in messages.
func checkOutput(what, path string, force bool) error {
	dir := filepath.Dir(path)
	if st, err := os.Stat(dir); err != nil {
		return fmt.Errorf("pack: %s folder: %w", what, err)
	} else if !st.IsDir() {
		return fmt.Errorf("pack: %s folder %s is a file", what, dir)
	}
	out, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return fmt.Errorf("pack: %s: %w", what, err)
	case out.IsDir():
		return fmt.Errorf("pack: %s %s is a folder", what, path)
	case !force:
		return fmt.Errorf("pack: %s exists (give --force to replace it)", path)
	}
	if err := canWrite(path); err != nil {
		return fmt.Errorf("pack: %s: %w", what, err)
	}
	return nil
}
