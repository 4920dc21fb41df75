package main

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/lamina-llm/lamina/internal/builtin"
	"github.com/lamina-llm/lamina/internal/engine"
	"github.com/lamina-llm/lamina/model/token"
	"github.com/lamina-llm/lamina/runtime/budget"
)

// runtimeFlags are the flags of every command that runs a model.
type runtimeFlags struct {
	RAM     budget.Size `placeholder:"SIZE" env:"LAMINA_RAM" help:"Memory that the whole process may take, such as 80MiB; default: what the machine and its control group allow."`
	Context int         `placeholder:"N" help:"Tokens of prompt and answer together; default: what the model and the memory allow."`
	Threads int         `short:"t" placeholder:"N" help:"Worker threads; default: one per processor."`
	KV      string      `name:"kv" default:"auto" enum:"auto,q16,f16,q8" placeholder:"FORMAT" help:"Key-value cache: q16, q8 (half the memory) or auto, which is q16 unless that would stream weights or shorten the context."`
}

// options turns the flags into those of an engine.
func (f *runtimeFlags) options(a *app, command string) (engine.Options, error) {
	switch {
	case f.Context < 0:
		return engine.Options{}, usage(command, "--context %d: want 0 or more", f.Context)
	case f.Threads < 0 || f.Threads > maxThreads:
		return engine.Options{}, usage(command, "--threads %d: want 0 to %d", f.Threads, maxThreads)
	}
	threads := f.Threads
	if threads == 0 {
		threads = min(runtime.GOMAXPROCS(0), maxThreads)
	}
	return engine.Options{RAM: int64(f.RAM), Context: f.Context, Threads: threads, KV: engine.KV(f.KV), Logger: a.log}, nil
}

// spareProcessors gives Go more processors than workers, which keep theirs busy
// for whole passes: for connections that have something to say, and for the
// goroutines that read ahead, which sleep in the kernel most of the time. The
// operating system lets them in at once. It returns what puts the old number
// back.
func spareProcessors(o *engine.Options) (restore func()) {
	before := runtime.GOMAXPROCS(max(o.Threads+spare, runtime.GOMAXPROCS(0)))
	return func() { runtime.GOMAXPROCS(before) }
}

// maxThreads bounds the workers that run a model.
const maxThreads = 64

// spare is one for connections and some for reads.
const spare = 3

// speculateFlag is the flag of the commands that answer requests.
type speculateFlag struct {
	Speculate string `enum:"auto,on,off" default:"auto" help:"Guess tokens from what the text repeats and check several in one pass: ${enum}. The answer is the same; auto guesses as long as it pays."`
}

// openModel opens a .lamina file, or the built-in model for an empty path.
func openModel(ctx context.Context, path string, o engine.Options) (*engine.Model, error) {
	if path == "" {
		r, size, name := builtin.Model()
		return engine.OpenReaderAt(ctx, r, size, name, o)
	}
	if isFolder(path) && !holdsCheckpoint(path) {
		return nil, fmt.Errorf("%s is a folder without a checkpoint: give a .lamina file", path)
	}
	if isCheckpoint(path) {
		return nil, fmt.Errorf("%s is a checkpoint: pack it first (lamina pack %s -o %s.lamina --bits 3.5)",
			path, quoteArg(path), quoteArg(modelID(path)))
	}
	return engine.Open(ctx, path, o)
}

// modelID names a model after its file, without folder and extension.
func modelID(path string) string {
	name := filepath.Base(path)
	if whole, err := filepath.Abs(path); err == nil && (name == "." || name == "..") {
		name = filepath.Base(whole)
	}
	for _, ext := range []string{".lamina", ".gguf", ".safetensors.index.json", ".safetensors"} {
		name = strings.TrimSuffix(name, ext)
	}
	return name
}

// text is a tokenizer as package server wants it.
type text struct{ *token.Tokenizer }

// Encode implements server.Text. Tokens that a post-processor would put behind
// the text are left out: the text is to be continued.
func (t text) Encode(s string, addBOS, parseSpecial bool) ([]int32, error) {
	var ids []int32
	if addBOS && t.AddsBOS() {
		ids = append(ids, t.BOS())
	}
	return t.AppendEncode(ids, s, token.EncodeOptions{ParseSpecial: parseSpecial})
}

// Token implements server.Text.
func (t text) Token(id int32) (b []byte, special bool) {
	return t.TokenBytes(id), t.IsSpecial(id)
}
