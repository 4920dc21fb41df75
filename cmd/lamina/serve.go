package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/lamina-llm/lamina/internal/engine"
	"github.com/lamina-llm/lamina/server"
)

type serveCmd struct {
	File string `arg:"" optional:"" placeholder:"FILE" help:"The .lamina file; default: the built-in storyteller."`
	Addr string `default:"127.0.0.1:8080" env:"LAMINA_ADDR" placeholder:"HOST:PORT" help:"Address to listen on."`
	runtimeFlags
	promptCacheFlag
	speculateFlag
	Parallel int    `placeholder:"N" help:"Sequences of full length that the cache holds at once; default: up to 4, as memory allows."`
	Queue    int    `placeholder:"N" default:"64" help:"Requests that may wait; more get status 429."`
	Prefix   bool   `name:"prefix-cache" default:"true" negatable:"" help:"Reuse the cache of prompts that begin like earlier ones."`
	Model    string `name:"model-name" placeholder:"NAME" help:"Model id of the API; default: the name of the file."`

	APIKey         []string      `name:"api-key" env:"LAMINA_API_KEY" placeholder:"KEY" help:"Key that clients must send; may be repeated. Default: no authentication."`
	CORSOrigin     []string      `name:"cors-origin" placeholder:"ORIGIN" help:"Origin that browsers may call from, * for any; may be repeated. Default: none."`
	MaxTokens      int           `placeholder:"N" help:"Default of max_tokens; 0 is 16 for completions and what fits for chat."`
	RequestTimeout time.Duration `placeholder:"DURATION" help:"Longest time for one answer, such as 10m, queueing included; default: no limit."`
	DefaultTimeout time.Duration `placeholder:"DURATION" help:"The same for requests that name no timeout; default: --request-timeout."`
	DrainTimeout   time.Duration `default:"30s" placeholder:"DURATION" help:"Time that running requests have to finish after SIGTERM or Ctrl-C; a second signal ends it."`
}

// Run serves until a signal comes.
func (c *serveCmd) Run(a *app) (err error) {
	o, err := c.options(a, "serve")
	if err != nil {
		return err
	}
	switch {
	case c.Parallel < 0:
		return usage("serve", "--parallel %d: want 0 or more", c.Parallel)
	case c.Queue < 1:
		return usage("serve", "--queue %d: want 1 or more", c.Queue)
	case c.RequestTimeout < 0 || c.DefaultTimeout < 0:
		return usage("serve", "--request-timeout %v --default-timeout %v: want 0 or more", c.RequestTimeout, c.DefaultTimeout)
	case c.MaxTokens < 0:
		return usage("serve", "--max-tokens %d: want 0 or more", c.MaxTokens)
	}
	o.Parallel, o.Queue, o.Speculate = c.Parallel, c.Queue, engine.Speculation(c.Speculate)
	o.NoPrefixCache, o.Serve = !c.Prefix, true
	defer spareProcessors(&o)()
	drain, abort, stop := a.twoSignals()
	defer stop()
	// The port first: whether it is free should not take a model to find out.
	ln, err := net.Listen("tcp", c.Addr)
	if err != nil {
		return fmt.Errorf("serve: %w (--addr takes HOST:PORT of this machine that nobody listens on)", err)
	}
	defer ln.Close()
	m, err := openModel(drain, c.File, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	save, err := c.loadPrompts(a, m)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, save()) }()
	e := engine.Start(m, o)
	// Closing twice is harmless; this one is for errors on the way.
	defer func() { err = errors.Join(err, ignoreCanceled(e.Close(abort))) }()
	s, err := c.server(a, m, e)
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() { failed <- s.Serve(ln) }()
	c.announce(a, m, ln.Addr())
	select {
	case err := <-failed:
		return errors.Join(errors.New("serve: stopped by itself"), err)
	case <-drain.Done():
	}
	a.log.Info("draining; a second signal cuts running requests off", "timeout", c.DrainTimeout)
	ctx, cancel := context.WithTimeout(abort, c.DrainTimeout)
	defer cancel()
	cut := s.Shutdown(ctx)
	if cut != nil {
		cut = fmt.Errorf("serve: running requests were cut off: %s", reason(cut))
	}
	return errors.Join(cut, <-failed)
}

// server puts the API in front of an engine.
func (c *serveCmd) server(a *app, m *engine.Model, e *engine.Engine) (*server.Server, error) {
	o := server.Options{
		Models: []string{c.id(m)}, Version: buildVersion(), Fingerprint: "lamina-" + buildVersion(),
		Context: m.Context(), Sampling: m.Sampling(), MaxTokens: c.MaxTokens,
		Keys: c.APIKey, CORSOrigins: c.CORSOrigin, RequestTimeout: c.RequestTimeout, DefaultTimeout: c.DefaultTimeout,
		Plan: func() any { return e.PlanReport() }, Metrics: e.Metrics(), Logger: a.log,
	}
	o.MaxAnswers = m.HTTPBytes() / 4
	o.MaxConns, o.MaxBody = connections(m.HTTPBytes()-o.MaxAnswers, m.Context())
	if c.File != "" {
		if st, err := os.Stat(c.File); err == nil {
			o.Created = st.ModTime()
		}
	}
	var t server.Templater
	if m.Template() != nil {
		t = templater{m.Template()}
	}
	return server.New(e, text{m.Tokenizer()}, t, o)
}

// connections divides memory for HTTP: how many connections may be open, and
// how large a body may be, so that bodies and buffers of all of them fit. A body
// has room for a prompt of the whole context, generously spelled.
func connections(bytes int64, context int) (conns, body int) {
	const (
		buffers  = 32 << 10 // of a connection, its goroutines included
		most     = 128
		fewest   = 8
		bodyMost = 1 << 20
	)
	least := min(64<<10+32*context, bodyMost)
	conns = min(max(int(bytes)/(least+buffers), fewest), most)
	return conns, min(max(int(bytes)/conns-buffers, least), bodyMost)
}

// id is the model id of the API.
func (c *serveCmd) id(m *engine.Model) string { return cmp.Or(c.Model, modelID(m.Name())) }

// announce prints what is served, how its memory is used, and how to try it.
func (c *serveCmd) announce(a *app, m *engine.Model, addr net.Addr) {
	if len(c.APIKey) == 0 && !loopback(addr) {
		a.log.Warn("everybody who reaches this address may use the model; --api-key restricts it", "addr", addr.String())
	}
	cfg, p := m.Config(), m.Plan()
	a.printf("%s: %d layers, vocabulary %d, context %d, cache %v\n", c.id(m), cfg.Layers, cfg.Vocab, m.Context(), m.KVFormat())
	a.printf("%s", p.String())
	a.printf("listening on %s\n\n%s\n", baseURL(addr), c.curl(m, addr))
}

// curl returns a command line that works when pasted.
func (c *serveCmd) curl(m *engine.Model, addr net.Addr) string {
	type message struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	}
	path, body := "/v1/completions", any(struct {
		Model     string `json:"model"`
		Prompt    string `json:"prompt"`
		MaxTokens int    `json:"max_tokens"`
	}{c.id(m), "Once upon a time", 64})
	if c.File != "" && m.Template() != nil {
		path, body = "/v1/chat/completions", struct {
			Model     string    `json:"model"`
			Messages  []message `json:"messages"`
			MaxTokens int       `json:"max_tokens"`
			// Small models do better than with the API's default of 1.
			Temperature float64 `json:"temperature"`
		}{c.id(m), []message{{"user", "Tell me a short story."}}, 64, 0.6}
	}
	data, err := json.Marshal(body)
	if err != nil {
		return "" // strings always marshal
	}
	key := ""
	if len(c.APIKey) > 0 {
		key = " -H 'Authorization: Bearer YOUR_KEY'"
	}
	return fmt.Sprintf("  curl %s%s -H 'Content-Type: application/json'%s -d %s", baseURL(addr), path, key, quoteArg(string(data)))
}

// baseURL is the address as a client on this machine writes it.
func baseURL(addr net.Addr) string {
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return "http://" + addr.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

func loopback(addr net.Addr) bool {
	t, ok := addr.(*net.TCPAddr)
	return ok && t.IP.IsLoopback()
}

// reason says in plain words why a context ended.
func reason(err error) string {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "the time to drain was over"
	case errors.Is(err, context.Canceled):
		return "a second signal came"
	}
	return err.Error()
}

func ignoreCanceled(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}
