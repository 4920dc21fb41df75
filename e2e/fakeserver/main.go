// Command fakeserver is "lamina serve" around the deterministic model of
// server/servertest, to try the client tests without weights:
//
//	LAMINA_BIN="go run ./e2e/fakeserver" e2e/run.sh
package main

import (
	"context"
	"flag"
	"log"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/lamina-llm/lamina/server"
	"github.com/lamina-llm/lamina/server/servertest"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 2 || os.Args[1] != "serve" {
		log.Fatal("usage: fakeserver serve [--addr HOST:PORT] [--step DURATION]")
	}
	flags := flag.NewFlagSet("serve", flag.ExitOnError)
	addr := flags.String("addr", "127.0.0.1:8080", "where to listen")
	step := flags.Duration("step", time.Millisecond, "time for a token")
	if err := flags.Parse(os.Args[2:]); err != nil {
		log.Fatal(err)
	}
	if err := run(*addr, *step); err != nil {
		log.Fatal(err)
	}
}

func run(addr string, step time.Duration) error {
	o := server.Options{
		Models: []string{"fake"}, Context: 2048,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
	s, err := server.New(&servertest.Model{Context: 2048, Step: step}, servertest.Text{}, servertest.Template{}, o)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	patience, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return s.Shutdown(patience)
}
