// Command lamina packs LLaMA models into small files and runs them in little
// memory, from the terminal or as an OpenAI-style server.
//
// There is one file per verb: flags become options of a package, and the
// package does the work. Nothing here knows formats or arithmetic. Reports go
// to standard output, as text or with --json as JSON with stable keys; progress
// and the log go to standard error.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	os.Exit(execute(os.Args[1:], &app{
		in: os.Stdin, out: os.Stdout, err: os.Stderr, signals: signals,
		interactive: isTerminal(os.Stdin) && isTerminal(os.Stdout), bars: isTerminal(os.Stderr),
	}))
}
