package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
	"golang.org/x/sync/errgroup"

	"github.com/lamina-llm/lamina/model"
)

// tagged is an event of one choice.
type tagged struct {
	index int
	model.Event
}

// generation is a call being answered: its context, its generators, the
// watcher of its client. Whoever makes one must close it.
type generation struct {
	*progress
	s       *Server
	id      string // request id, for the log
	started time.Time

	ctx    context.Context
	cancel context.CancelCauseFunc
	events chan tagged // closed when all choices have ended; err is set then
	err    error

	cut   bool        // a deadline has ended it, and what there was is the answer
	last  []time.Time // per choice, when its latest token came
	end   func()      // stops watcher and timer, gives back the place in flight
	ended sync.Once
}

// generate starts the generators of a call. conn is watched until close. end
// is called by close.
func (s *Server) generate(c *call, id string, conn net.Conn, end func()) *generation {
	g := &generation{
		progress: newProgress(c), s: s, id: id, started: s.now(),
		events: make(chan tagged, 16), last: make([]time.Time, len(c.jobs)),
	}
	g.ctx, g.cancel = context.WithCancelCause(s.base)
	unwatch := watch(conn, func() { g.cancel(errGone) })
	timer := func() bool { return true }
	if d := c.timeout; d > 0 {
		timer = time.AfterFunc(d, func() { g.cancel(errTimeout) }).Stop
	}
	g.end = func() { timer(); unwatch(); end() }
	go g.run()
	return g
}

// run drives the choices, a few at a time, and closes events.
func (g *generation) run() {
	defer close(g.events)
	group, ctx := errgroup.WithContext(g.ctx)
	group.SetLimit(g.s.o.Parallel)
	started := 0
	for i := range g.call.jobs {
		if ctx.Err() != nil {
			break
		}
		started++
		group.Go(func() error { return g.choice(ctx, i) })
	}
	g.err = group.Wait()
	if cause := context.Cause(g.ctx); cause != nil && (g.err != nil || started < len(g.call.jobs)) {
		g.err = cause // says more than "context canceled"
	}
}

// choice runs one generator. A panic in it is this request's failure alone.
func (g *generation) choice(ctx context.Context, index int) (err error) {
	defer func() {
		if r := recover(); r != nil {
			g.s.m.panics.Inc()
			g.s.log.Error("panic in generator", "id", g.id, "panic", r, "stack", string(debug.Stack()))
			err = fmt.Errorf("server: generator panicked: %v", r)
		}
	}()
	for ev, err := range g.s.gen.Generate(ctx, g.call.jobs[index]) {
		if err != nil {
			return err
		}
		select {
		case g.events <- tagged{index, ev}:
		case <-ctx.Done():
			return ctx.Err()
		}
		if ev.Finish != "" {
			return nil
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.New("server: generator ended without a finish reason")
}

// observe records an event's timing.
func (g *generation) observe(t tagged) {
	if t.Prompt || len(t.Tokens) == 0 {
		return
	}
	now := g.s.now()
	if last := g.last[t.index]; last.IsZero() {
		g.s.m.ttft.Observe(now.Sub(g.started).Seconds())
	} else {
		g.s.m.perToken.Observe(now.Sub(last).Seconds() / float64(len(t.Tokens)))
	}
	g.last[t.index] = now
}

// close cancels what still runs, waits for it, and writes the books. It may be
// called more than once.
func (g *generation) close() {
	g.ended.Do(func() {
		g.cancel(context.Canceled)
		for range g.events {
		}
		g.end()
		u := g.usage()
		g.s.m.promptTokens.Add(float64(u.PromptTokens))
		g.s.m.genTokens.Add(float64(u.CompletionTokens))
		took := g.s.now().Sub(g.started)
		g.s.m.duration.Observe(took.Seconds())
		attrs := []any{"id", g.id, "choices", len(g.call.jobs), "stream", g.call.stream,
			"prompt_tokens", u.PromptTokens, "tokens", u.CompletionTokens, "took", took}
		switch e := g.err; {
		case g.cut || errors.Is(e, errTimeout):
			g.s.m.late.Inc()
			g.s.log.Info("deadline passed", attrs...)
		case e == nil:
			g.s.log.Info("generated", attrs...)
		case errors.Is(e, errGone) || errors.Is(e, context.Canceled):
			g.s.m.gone.Inc()
			g.s.log.Info("client went away", attrs...)
		case toAPI(e).status == fasthttp.StatusInternalServerError:
			g.s.log.Error("generation failed", append(attrs, "err", e)...)
		default:
			g.s.log.Warn("generation ended early", append(attrs, "err", e)...)
		}
	})
}
