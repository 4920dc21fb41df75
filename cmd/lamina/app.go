package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	"github.com/vbauerster/mpb/v8/cwriter"
)

// Exit statuses.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

// cli is the grammar.
type cli struct {
	LogLevel  string `enum:"auto,debug,info,warn,error" default:"auto" env:"LAMINA_LOG_LEVEL" help:"Least level that is logged: ${enum}. Auto is info for serve and warn elsewhere."`
	LogFormat string `enum:"text,json" default:"text" env:"LAMINA_LOG_FORMAT" help:"Form of the log on standard error: ${enum}."`
	Progress  string `enum:"auto,bar,json,none" default:"auto" help:"Progress on standard error: ${enum}. Auto is bars on a terminal and JSON lines elsewhere."`

	Serve   serveCmd   `cmd:"" help:"Serve a model over an OpenAI-style HTTP API."`
	Run     runCmd     `cmd:"" help:"Chat with a model, or let it continue a text, in the terminal."`
	Pack    packCmd    `cmd:"" help:"Pack a checkpoint into a .lamina file."`
	Write   writeCmd   `cmd:"" help:"Have a checkpoint write text, for pack --calibrate."`
	Show    showCmd    `cmd:"" help:"Describe a .lamina file or a checkpoint: tensors, sizes, memory plan."`
	Verify  verifyCmd  `cmd:"" help:"Check every byte of a .lamina file and decode all of it."`
	Pull    pullCmd    `cmd:"" help:"Download a model from a Hugging Face hub or a URL."`
	Eval    evalCmd    `cmd:"" help:"Measure the perplexity of a text, and the distance from the source model."`
	Lowrank lowrankCmd `cmd:"" help:"Compare ways to replace the matrices of a checkpoint by factors."`
	Bench   benchCmd   `cmd:"" help:"Measure speed and memory."`
	Codecs  codecsCmd  `cmd:"" help:"Compare codecs on the weights of a checkpoint: rate, error, perplexity, speed."`
	VVC     vvcCmd     `cmd:"" name:"vvc" help:"Decode and encode H.266 streams."`
	Version versionCmd `cmd:"" help:"Print version and processor."`
}

// app is the world as a command sees it. Tests make their own.
type app struct {
	in          io.Reader
	out, err    io.Writer
	interactive bool // a person sits at in and out
	bars        bool // err is a terminal
	signals     <-chan os.Signal
	progress    string // auto, bar, json or none
	log         *slog.Logger
}

// usageError marks errors of the command line.
type usageError struct {
	error
	command string // for the hint
}

func usage(command, format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...), command}
}

// execute runs one command line and returns the exit status.
func execute(args []string, a *app) int {
	var c cli
	exited := -1
	out := &output{Writer: a.out}
	a.out = out
	parser, err := kong.New(&c, kong.Name("lamina"), kong.Writers(a.out, a.err),
		kong.Description("Runs LLaMA models in little memory. Without a file, serve and run use the built-in storyteller."),
		kong.ValueFormatter(helpOf), kong.Help(printHelp), kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
		kong.Exit(func(code int) { exited = max(exited, code) }))
	if err != nil {
		return a.fail(err)
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	ctx, err := parser.Parse(args)
	if exited >= 0 { // --help has been given
		return exited
	}
	if err != nil {
		command := ""
		var p *kong.ParseError
		if errors.As(err, &p) {
			command = p.Context.Command()
		}
		return a.fail(usageError{err, command})
	}
	if err := a.setup(&c, ctx.Command()); err != nil {
		return a.fail(err)
	}
	err = ctx.Run(a)
	if err == nil && out.err != nil { // a report that did not arrive is no success
		err = fmt.Errorf("standard output: %w", out.err)
	}
	return a.fail(err)
}

// output remembers the first error of writing, which nobody looks at after each
// line of a report.
type output struct {
	io.Writer
	err error
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	n, err := o.Writer.Write(p)
	if err != nil && o.err == nil {
		o.err = err
	}
	return n, err
}

// setup applies the common flags.
func (a *app) setup(c *cli, command string) error {
	tiers := []string{"", "generic", "avx2", "avx512", "neon"}
	if name := os.Getenv("LAMINA_CPU"); !slices.Contains(tiers, name) {
		return usage(command, "LAMINA_CPU=%s: want %s", name, strings.Join(tiers[1:], ", "))
	}
	level := slog.LevelWarn
	switch {
	case c.LogLevel != "auto":
		if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
			return err
		}
	case verb(command) == "serve":
		level = slog.LevelInfo
	}
	o := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		a.log = slog.New(slog.NewJSONHandler(a.err, o))
	} else {
		a.log = slog.New(slog.NewTextHandler(a.err, o))
	}
	a.progress = c.Progress
	return nil
}

// fail prints err as one line and returns the exit status.
func (a *app) fail(err error) int {
	if err == nil {
		return exitOK
	}
	text, status := strings.ReplaceAll(err.Error(), "\n", "; "), exitError // joined errors come as lines
	var u usageError
	switch {
	case errors.Is(err, context.Canceled):
		text = "interrupted"
	case errors.Is(err, syscall.ENOSPC) && !strings.Contains(text, "free some"):
		text += " (free some or write elsewhere)"
	case errors.As(err, &u):
		text, status = text+" (see '"+strings.TrimSpace("lamina "+words(u.command))+" --help')", exitUsage
	}
	fmt.Fprintln(a.err, "lamina: "+text)
	return status
}

// words returns a kong command path without its arguments.
func words(command string) string {
	i := strings.IndexAny(command, "<[")
	if i < 0 {
		return command
	}
	return strings.TrimSpace(command[:i])
}

// verb returns the first word of a kong command path.
func verb(command string) string {
	word, _, _ := strings.Cut(command, " ")
	return word
}

// untilSignal returns a context that ends at the first signal. From then on,
// or after stop, a further signal ends the process as if nobody had listened.
func (a *app) untilSignal() (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-a.signals:
			signal.Reset(os.Interrupt, syscall.SIGTERM)
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		cancel()
		<-done
	}
}

// twoSignals returns contexts that end at the first and at the second signal.
func (a *app) twoSignals() (first, second context.Context, stop func()) {
	first, cancelFirst := context.WithCancel(context.Background())
	second, cancelSecond := context.WithCancel(context.Background())
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for _, cancel := range []func(){cancelFirst, cancelSecond} {
			select {
			case <-a.signals:
				cancel()
			case <-quit:
				return
			}
		}
		signal.Reset(os.Interrupt, syscall.SIGTERM)
	}()
	return first, second, func() {
		close(quit)
		<-done
		cancelFirst()
		cancelSecond()
	}
}

// json prints v on standard output, indented and with a newline.
func (a *app) json(v any) error {
	e := json.NewEncoder(a.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func (a *app) printf(format string, args ...any) { fmt.Fprintf(a.out, format, args...) }

func isTerminal(f *os.File) bool { return cwriter.IsTerminal(int(f.Fd())) }
