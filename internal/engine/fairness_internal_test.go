package engine

import (
	"context"
	"errors"
	"testing"

	"github.com/lamina-llm/lamina/internal/builtin"
	"github.com/lamina-llm/lamina/model"
)

// stepper is an engine that takes one step at a time, so that what happens in
// which step can be counted.
type stepper struct {
	*testing.T
	*Engine
	steps int
}

// newStepper returns one for the built-in model, whose cache holds parallel
// sequences.
func newStepper(t *testing.T, context_, parallel, batch int, o Options) *stepper {
	t.Helper()
	o.Context, o.Parallel, o.BatchTokens, o.Threads = context_, parallel, batch, 1
	o.NoPrefixCache, o.Speculate = true, SpeculateOff
	r, size, name := builtin.Model()
	m, err := OpenReaderAt(t.Context(), r, size, name, o)
	if err != nil {
		t.Fatal(err)
	}
	s := &stepper{T: t, Engine: newEngine(m, o)}
	t.Cleanup(func() {
		s.abandon()
		if free, all := m.cache.Free(), m.cache.Pages(); free != all {
			t.Errorf("%d of %d pages are free at the end", free, all)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// ask puts a request into the queue: a prompt of some tokens, and how many are to
// be generated.
func (s *stepper) ask(ctx context.Context, prompt, tokens int) *job {
	s.Helper()
	ids := make([]int32, prompt)
	for i := range ids {
		ids[i] = int32(100 + i*37%500)
	}
	j, err := s.submit(ctx, model.Request{
		Prompt: ids, MaxTokens: tokens, Logprobs: -1, IgnoreEOS: true, Sampling: model.Sampling{TopP: 1, RepeatPenalty: 1},
	})
	if err != nil {
		s.Fatal(err)
	}
	return j
}

// step does what the loop does in one turn.
func (s *stepper) step() {
	s.Helper()
	s.reap()
	s.admit()
	if !s.compose() {
		s.Fatalf("nothing to do in step %d", s.steps)
	}
	s.Engine.step()
	s.steps++
}

// took empties what a request has for its reader and returns the number of
// tokens, and whether it is over.
func (j *job) took() (tokens int, over bool) {
	for {
		select {
		case ev, ok := <-j.events:
			if !ok {
				return tokens, true
			}
			tokens += len(ev.Tokens)
		default:
			return tokens, false
		}
	}
}

// TestPromptStallsNobody: while a long prompt is read, every generating request
// gets its token in every step, and the prompt all the room that they leave.
func TestPromptStallsNobody(t *testing.T) {
	const batch, prompt = 16, 200
	s := newStepper(t, 256, 4, batch, Options{})
	var talking []*job
	for range 3 {
		talking = append(talking, s.ask(t.Context(), 4, 100))
	}
	s.step() // their prompts, 12 tokens, fit one batch
	for i, j := range talking {
		if n, _ := j.took(); n != 1 {
			t.Fatalf("request %d has %d tokens after its prompt, want 1", i, n)
		}
	}
	long := s.ask(t.Context(), prompt, 8)
	const room = batch - 3
	for step := 1; ; step++ {
		s.step()
		for i, j := range talking {
			if n, _ := j.took(); n != 1 {
				t.Fatalf("step %d of the prompt: request %d got %d tokens, want 1", step, i, n)
			}
		}
		if want := min(step*room, prompt); long.fed != want {
			t.Fatalf("step %d: %d tokens of the prompt are read, want %d", step, long.fed, want)
		}
		n, _ := long.took()
		if last := (prompt + room - 1) / room; step < last && n > 0 || step == last && n != 1 {
			t.Fatalf("step %d: %d tokens after a prompt of %d steps", step, n, last)
		}
		if n > 0 {
			return
		}
	}
}

// TestPromptsInOrder: of two prompts the one that came first is read first.
func TestPromptsInOrder(t *testing.T) {
	s := newStepper(t, 128, 2, 16, Options{})
	first, second := s.ask(t.Context(), 40, 4), s.ask(t.Context(), 20, 4)
	for step, want := range [][2]int{{16, 0}, {32, 0}, {40, 8}, {40, 20}} {
		s.step()
		if got := [2]int{first.fed, second.fed}; got != want {
			t.Errorf("step %d: %v prompt tokens are read, want %v", step+1, got, want)
		}
	}
}

// TestNobodyStarves: sixteen requests of full length, a cache for four. They
// start in the order in which they came, as soon as one before them is done,
// and every one is done after as many steps as its turn says.
func TestNobodyStarves(t *testing.T) {
	const tokens, slots, all = 24, 4, 16
	s := newStepper(t, 32, slots, 64, Options{Queue: all})
	var jobs []*job
	for range all {
		jobs = append(jobs, s.ask(t.Context(), 8, tokens))
	}
	if _, err := s.submit(t.Context(), model.Request{Prompt: []int32{1}, MaxTokens: 1, Sampling: model.Sampling{TopP: 1, RepeatPenalty: 1}}); !errors.Is(err, model.ErrBusy) {
		t.Fatalf("one more than the queue holds: %v, want ErrBusy", err)
	}
	count := make([]int, all)
	for range all / slots * tokens {
		s.step()
		for i, j := range jobs {
			n, over := j.took()
			if count[i] += n; n > 1 || over && count[i] != tokens {
				t.Fatalf("step %d: request %d got %d tokens, %d in all", s.steps, i, n, count[i])
			}
			if want := min(max(s.steps-i/slots*tokens, 0), tokens); count[i] != want {
				t.Fatalf("step %d: request %d has %d tokens, want %d", s.steps, i, count[i], want)
			}
		}
	}
	if s.compose() {
		t.Error("something is left to do")
	}
}

// TestLargeIsNotOvertaken: a request that needs the whole cache waits for those
// before it, and those after it for it.
func TestLargeIsNotOvertaken(t *testing.T) {
	const pages, tokens = 4, 20
	s := newStepper(t, 32*pages, 1, 64, Options{})
	early := []*job{s.ask(t.Context(), 8, tokens), s.ask(t.Context(), 8, tokens)}
	s.step()
	large := s.ask(t.Context(), 8, 32*pages-8)
	var late []*job
	for range tokens - 1 {
		late = append(late, s.ask(t.Context(), 8, tokens))
		s.step()
		if large.seq != nil {
			t.Fatalf("step %d: the large request started beside others", s.steps)
		}
		for i, j := range late {
			if j.seq != nil {
				t.Fatalf("step %d: late request %d overtook the large one", s.steps, i)
			}
		}
	}
	for i, j := range early {
		if n, over := j.took(); n != tokens || !over {
			t.Fatalf("early request %d has %d tokens", i, n)
		}
	}
	if s.step(); large.seq == nil || large.fed != 8 {
		t.Fatal("the large request did not start when its memory was free")
	}
}

// TestDeadlineFreesAtOnce: when its context ends, a request loses its place in
// the queue, or its cache, before the next step.
func TestDeadlineFreesAtOnce(t *testing.T) {
	s := newStepper(t, 64, 1, 64, Options{Queue: 1})
	late, stop := context.WithCancelCause(t.Context())
	running := s.ask(late, 8, 50)
	s.step()
	waiting, leave := context.WithCancelCause(t.Context())
	queued := s.ask(waiting, 8, 50)
	s.step()
	if running.seq == nil || queued.seq != nil {
		t.Fatal("one should run and one wait")
	}
	leave(context.DeadlineExceeded)
	s.step()
	if _, over := queued.took(); !over || len(s.waiting) != 0 {
		t.Error("the queued request is still there")
	}
	next := s.ask(t.Context(), 8, 50)
	s.step()
	stop(context.DeadlineExceeded)
	s.step() // drops one, starts the next
	if _, over := running.took(); !over || next.seq == nil || len(s.running) != 1 {
		t.Error("the next request did not get the memory of the one that was late")
	}
}
