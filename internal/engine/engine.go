package engine

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/kv"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/model/sample"
)

// Engine serves concurrent requests with one model. One goroutine runs the
// forward passes: at every step it lets new requests in, advances every
// running one by a token (or a chunk of its prompt), and drops those whose
// client has gone. One pass over the weights serves all of them.
type Engine struct {
	m     *Model
	opt   Options
	ctx   context.Context // ends when the engine is told to stop at once
	stop  context.CancelFunc
	done  chan struct{} // closed when the loop has ended
	wake  chan struct{} // something happened: a request, a reader, Close
	stats counters

	mu      sync.Mutex
	waiting []*job // in order of arrival, at most opt.Queue; guarded by mu
	closed  bool   // no new requests; guarded by mu

	running []*job      // the loop's own
	batch   []llama.Seq // the loop's own, reused
	inBatch []*job
}

// Start runs an engine on m, which it owns until Close.
func Start(m *Model, o Options) *Engine {
	ctx, stop := context.WithCancel(context.Background())
	e := &Engine{m: m, opt: o.withDefaults(), ctx: ctx, stop: stop, done: make(chan struct{}), wake: make(chan struct{}, 1)}
	e.stats.started = time.Now()
	go e.loop()
	return e
}

// Close refuses new requests, lets the accepted ones finish until ctx ends,
// stops the loop and waits for it. It does not close the model.
func (e *Engine) Close(ctx context.Context) error {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.nudge()
	select {
	case <-e.done:
		return nil
	case <-ctx.Done():
		e.stop()
		<-e.done
		return ctx.Err()
	}
}

// eventRoom is how many events a reader may lag behind; a request whose reader
// lags further pauses, and the others go on.
const eventRoom = 64

// job is one request on its way through the engine.
type job struct {
	ctx    context.Context
	req    model.Request
	events chan model.Event // closed at the end
	err    error            // valid once events is closed
	asked  time.Time

	seq    *kv.Seq
	fed    int // prompt tokens already in the cache, or in this batch
	last   [1]int32
	out    *output
	first  time.Time // of the first generated token
	chunk  int       // prompt tokens in the running batch
	paused bool
}

// Generate implements server.Generator: it queues the request and yields its
// events. Errors wrap those of package model.
func (e *Engine) Generate(ctx context.Context, r model.Request) iter.Seq2[model.Event, error] {
	return func(yield func(model.Event, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		j, err := e.submit(ctx, r)
		if err != nil {
			yield(model.Event{}, err)
			return
		}
		for ev := range j.events {
			e.nudge() // a paused request may go on
			if !yield(ev, nil) {
				return
			}
		}
		if j.err != nil {
			yield(model.Event{}, j.err)
		}
	}
}

// submit checks a request and puts it into the queue.
func (e *Engine) submit(ctx context.Context, r model.Request) (*job, error) {
	cfg := e.m.cfg
	switch {
	case len(r.Prompt) == 0:
		return nil, fmt.Errorf("%w: the prompt is empty", model.ErrInvalid)
	case r.MaxTokens < 0:
		return nil, fmt.Errorf("%w: max_tokens is %d", model.ErrInvalid, r.MaxTokens)
	case len(r.Prompt)+r.MaxTokens > e.m.context:
		return nil, fmt.Errorf("%w: %d prompt tokens and %d to generate exceed the context of %d",
			model.ErrContextLength, len(r.Prompt), r.MaxTokens, e.m.context)
	}
	for i, id := range r.Prompt {
		if id < 0 || int(id) >= cfg.Vocab {
			return nil, fmt.Errorf("%w: prompt token %d is %d, the vocabulary has %d", model.ErrInvalid, i, id, cfg.Vocab)
		}
	}
	s, err := sample.New(r.Sampling, r.Prompt, cfg.Vocab)
	if err != nil {
		return nil, err
	}
	j := &job{ctx: ctx, req: r, events: make(chan model.Event, eventRoom), asked: time.Now(), out: newOutput(e.m, r, s)}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.closed:
		return nil, model.ErrClosed
	case len(e.waiting) >= e.opt.Queue:
		e.stats.refused.Add(1)
		return nil, fmt.Errorf("%w: %d requests are waiting", model.ErrBusy, len(e.waiting))
	}
	e.waiting = append(e.waiting, j)
	e.nudge()
	return j, nil
}

func (e *Engine) nudge() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// loop is the engine's goroutine.
func (e *Engine) loop() {
	defer close(e.done)
	for {
		e.reap()
		e.admit()
		if e.ctx.Err() != nil || e.finished() {
			e.abandon()
			return
		}
		if !e.compose() {
			select {
			case <-e.wake:
			case <-e.ctx.Done():
			case <-time.After(200 * time.Millisecond): // clients may have gone
			}
			continue
		}
		e.step()
	}
}

// finished reports whether Close was called and no request is left.
func (e *Engine) finished() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.closed && len(e.waiting) == 0 && len(e.running) == 0
}

// abandon fails what is left when the engine stops at once.
func (e *Engine) abandon() {
	e.mu.Lock()
	rest := append(e.running, e.waiting...)
	e.running, e.waiting, e.closed = nil, nil, true
	e.mu.Unlock()
	for _, j := range rest {
		e.end(j, model.ErrClosed)
	}
}

// reap ends the requests whose client has gone.
func (e *Engine) reap() {
	gone := func(j *job) bool {
		err := j.ctx.Err()
		if err != nil {
			e.end(j, err)
			e.stats.cancelled.Add(1)
		}
		return err != nil
	}
	e.running = slices.DeleteFunc(e.running, gone)
	e.mu.Lock()
	e.waiting = slices.DeleteFunc(e.waiting, gone)
	e.stats.waiting.Store(int64(len(e.waiting)))
	e.mu.Unlock()
	e.stats.running.Store(int64(len(e.running)))
}

// admit starts waiting requests, oldest first, while the cache has room for
// all that they may become.
func (e *Engine) admit() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.waiting) > 0 && len(e.running) < e.m.batch {
		j := e.waiting[0]
		seq, err := e.m.NewSeq(len(j.req.Prompt) + j.req.MaxTokens)
		switch {
		case errors.Is(err, kv.ErrFull) && len(e.running) > 0:
			return // someone will finish
		case errors.Is(err, kv.ErrFull):
			err = fmt.Errorf("%w: %v", model.ErrMemory, err)
		}
		e.waiting = e.waiting[1:]
		if err != nil {
			e.end(j, err)
			continue
		}
		j.seq = seq
		e.running = append(e.running, j)
	}
}

// compose fills the batch: one token for every generating request, then chunks
// of prompts in order of arrival. It reports false if there is nothing to do.
func (e *Engine) compose() bool {
	e.batch, e.inBatch = e.batch[:0], e.inBatch[:0]
	room := e.m.batch
	for _, j := range e.running {
		j.paused = len(j.events) >= eventRoom-2
		if j.paused || j.fed < len(j.req.Prompt) || room == 0 {
			continue
		}
		e.add(j, llama.Seq{Tokens: j.last[:], KV: j.seq, Want: llama.Last}, 0)
		room--
	}
	for _, j := range e.running {
		left := len(j.req.Prompt) - j.fed
		if j.paused || left <= 0 || room == 0 {
			continue
		}
		n := min(left, room)
		want := llama.None
		if j.req.PromptLogprobs {
			// Every scored token is an event, so the reader sets the pace.
			n, want = min(n, eventRoom-2-len(j.events)), llama.All
		} else if n == left && j.req.MaxTokens > 0 {
			want = llama.Last
		}
		e.add(j, llama.Seq{Tokens: j.req.Prompt[j.fed : j.fed+n], KV: j.seq, Want: want}, n)
		room -= n
	}
	return len(e.batch) > 0
}

func (e *Engine) add(j *job, s llama.Seq, chunk int) {
	j.chunk = chunk
	e.batch, e.inBatch = append(e.batch, s), append(e.inBatch, j)
}

// step runs one forward pass and delivers what came of it.
func (e *Engine) step() {
	start := time.Now()
	tokens := 0
	for i := range e.batch {
		tokens += len(e.batch[i].Tokens)
	}
	err := e.m.Forward(e.ctx, e.batch, func(seq, tok int, logits []float32) error {
		j := e.inBatch[seq]
		if j.err == nil {
			j.err = e.advance(j, tok, logits)
		}
		return nil
	})
	e.stats.step(tokens, len(e.batch), time.Since(start))
	if err != nil {
		e.opt.Logger.Error("forward pass failed", "error", err)
	}
	for _, j := range e.inBatch {
		switch {
		case err != nil:
			j.err = err
			if e.ctx.Err() != nil {
				j.err = model.ErrClosed
			}
		case j.chunk > 0:
			j.fed += j.chunk
			if j.fed == len(j.req.Prompt) && j.req.MaxTokens == 0 && j.err == nil {
				e.deliver(j, j.out.finish(model.FinishLength))
			}
		}
	}
	e.running = slices.DeleteFunc(e.running, func(j *job) bool {
		over := j.err != nil || j.out.done
		if over {
			e.end(j, j.err)
		}
		return over
	})
}

// advance handles one row of logits of a request.
func (e *Engine) advance(j *job, tok int, logits []float32) error {
	if j.chunk > 0 && j.req.PromptLogprobs {
		at := j.fed + tok // position that these logits follow
		if at == 0 {
			e.deliver(j, j.out.prompt(nil, 0))
		}
		if at+1 < len(j.req.Prompt) {
			info, err := sample.Logprobs(logits, j.req.Prompt[at+1], max(j.req.Logprobs, 0))
			if err != nil {
				return err
			}
			e.deliver(j, j.out.prompt(&info, at+1))
			return nil
		}
	}
	if j.req.MaxTokens == 0 {
		return nil
	}
	info, err := j.out.sampler.Next(logits, j.req.Logprobs)
	if err != nil {
		return err
	}
	if j.first.IsZero() {
		j.first = time.Now()
	}
	e.stats.generated.Add(1)
	j.last[0] = info.ID
	e.deliver(j, j.out.token(info))
	return nil
}

// deliver hands an event to the reader. compose made sure of the room.
func (e *Engine) deliver(j *job, ev model.Event) { j.events <- ev }

// end closes a request's account: its cache pages are free at once.
func (e *Engine) end(j *job, err error) {
	if j.seq != nil {
		j.seq.Close()
		j.seq = nil
	}
	j.err = err
	close(j.events)
	e.stats.finished.Add(1)
}

// counters are what the collector reads while the loop runs.
type counters struct {
	started                                 time.Time
	waiting, running                        atomic.Int64
	finished, cancelled, refused, generated atomic.Int64
	steps, tokens, sequences, nanos         atomic.Int64
}

func (c *counters) step(tokens, sequences int, d time.Duration) {
	c.steps.Add(1)
	c.tokens.Add(int64(tokens))
	c.sequences.Add(int64(sequences))
	c.nanos.Add(int64(d))
}
