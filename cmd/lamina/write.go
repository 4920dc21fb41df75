package main

import (
	"fmt"
	"io"

	"github.com/lamina-llm/lamina/internal/source"
	"github.com/lamina-llm/lamina/pack"
)

type writeCmd struct {
	Source  string `arg:"" placeholder:"SRC" help:"Hugging Face directory, .safetensors file or .gguf file."`
	Output  string `short:"o" required:"" placeholder:"FILE" help:"The text file to write."`
	Tokens  int    `default:"65536" placeholder:"N" help:"Tokens to write."`
	Seed    uint64 `default:"1" placeholder:"N" help:"Seed of all draws."`
	Threads int    `placeholder:"N" help:"Goroutines that compute; 0 is one per processor."`
	Force   bool   `short:"f" help:"Replace FILE if it exists."`
}

// maxWrite bounds the tokens of a text.
const maxWrite = 1 << 24

// Run has a checkpoint write text, in documents that begin as the tokenizer's do, special
// tokens included as they are spelt: pack --calibrate FILE reads it.
func (c *writeCmd) Run(a *app) error {
	if c.Tokens < 1 || c.Tokens > maxWrite {
		return usage("write", "--tokens %d: want 1 to %d", c.Tokens, maxWrite)
	}
	if c.Threads < 0 {
		return usage("write", "--threads %d: want 0 or more", c.Threads)
	}
	if err := checkOutput("output", c.Output, c.Force); err != nil {
		return err
	}
	src, err := source.Open(c.Source)
	if err != nil {
		return err
	}
	defer src.Close()
	tok, err := src.Tokenizer()
	if err != nil {
		return err
	}
	ctx, stop := a.untilSignal()
	defer stop()
	bar := a.reporter()
	defer bar.close()
	ids, err := pack.WriteText(ctx, src, pack.OwnText{Tokens: c.Tokens, BOS: tok.BOS(), Seed: c.Seed}, c.Threads, func(done, total int) {
		bar.show(step{Phase: "write", Done: int64(done), Total: int64(total)})
	})
	bar.close()
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	text := tok.Decode(ids, false)
	if err := writeFile(c.Output, func(w io.Writer) error { _, err := io.WriteString(w, text); return err }); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	a.printf("%s: %d tokens, %d bytes\n", c.Output, len(ids), len(text))
	return nil
}
