package engine_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/lamina-llm/lamina/internal/builtin"
	"github.com/lamina-llm/lamina/internal/engine"
	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/kv"
	"github.com/lamina-llm/lamina/model/token"
	"github.com/lamina-llm/lamina/runtime/plan"
)

// open opens the built-in model; Close comes by itself.
func open(t testing.TB, o engine.Options) *engine.Model {
	t.Helper()
	r, size, name := builtin.Model()
	m, err := engine.OpenReaderAt(context.Background(), r, size, name, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// openWithin opens the built-in model with the budget that ram picks from its
// plan. The process may grow between planning and opening (under the race
// detector by a lot), so it tries again.
func openWithin(t testing.TB, o engine.Options, ram func(plan.Plan) int64) *engine.Model {
	t.Helper()
	r, size, name := builtin.Model()
	for try := 0; ; try++ {
		o.RAM = 0
		probe, err := engine.OpenReaderAt(context.Background(), r, size, name, o)
		if err != nil {
			t.Fatal(err)
		}
		o.RAM = ram(probe.Plan()) + 2<<20
		if err := probe.Close(); err != nil {
			t.Fatal(err)
		}
		m, err := engine.OpenReaderAt(context.Background(), r, size, name, o)
		if errors.Is(err, plan.ErrTooSmall) && try < 8 {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		})
		return m
	}
}

func start(t testing.TB, m *engine.Model, o engine.Options) *engine.Engine {
	t.Helper()
	e := engine.Start(m, o)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := e.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return e
}

func request(t testing.TB, m *engine.Model, prompt string, n int) model.Request {
	t.Helper()
	ids, err := m.Tokenizer().Encode(prompt, token.EncodeOptions{AddSpecial: true})
	if err != nil {
		t.Fatal(err)
	}
	return model.Request{Prompt: ids, MaxTokens: n, Logprobs: -1, Sampling: model.Sampling{TopP: 1, RepeatPenalty: 1}}
}

// result is what came of a request.
type result struct {
	text   string
	tokens []int32
	finish model.FinishReason
	usage  model.Usage
	prompt []model.TokenInfo
	infos  []model.TokenInfo
	err    error
}

func generate(ctx context.Context, e *engine.Engine, r model.Request) (out result) {
	for ev, err := range e.Generate(ctx, r) {
		if err != nil {
			out.err = err
			return out
		}
		if ev.Prompt {
			out.prompt = append(out.prompt, ev.Tokens...)
			continue
		}
		out.text += ev.Text
		for _, k := range ev.Tokens {
			out.tokens, out.infos = append(out.tokens, k.ID), append(out.infos, k)
		}
		if ev.Finish != "" {
			out.finish, out.usage = ev.Finish, *ev.Usage
		}
	}
	return out
}

const opening = "Once upon a time there was a little girl who lived"

// TestRegimes generates the same tokens with everything unpacked, with coded
// weights, with streamed weights, and with another number of workers, for each
// format of the cache.
func TestRegimes(t *testing.T) {
	formats := []engine.KV{engine.KVQ16, engine.KVQ8}
	if testing.Short() {
		formats = formats[:1]
	}
	for _, format := range formats {
		t.Run(string(format), func(t *testing.T) { testRegimes(t, format) })
	}
}

func testRegimes(t *testing.T, format engine.KV) {
	var want result
	seen := ""
	for _, c := range []struct {
		ram     func(p plan.Plan) int64
		coded   bool
		threads int
	}{
		{func(plan.Plan) int64 { return 8 << 30 }, false, 2},
		{func(plan.Plan) int64 { return 8 << 30 }, false, 1},
		{func(plan.Plan) int64 { return 8 << 30 }, true, 2},
		{func(p plan.Plan) int64 { return p.MinBudget }, false, 2},
		{func(p plan.Plan) int64 { return p.MinBudget }, false, 1},
	} {
		o := engine.Options{Context: 256, Parallel: 1, BatchTokens: 32, Threads: c.threads, KV: format, Coded: c.coded}
		m := openWithin(t, o, c.ram)
		if got := m.KVFormat().String(); got != string(format) {
			t.Fatalf("the cache is %s, want %s", got, format)
		}
		e := start(t, m, engine.Options{})
		got := generate(context.Background(), e, request(t, m, opening, 40))
		if got.err != nil {
			t.Fatal(got.err)
		}
		if want.tokens == nil {
			want = got
			t.Logf("%s|%s", opening, got.text)
		}
		seen += string(rune(m.Plan().Regime))
		if !slices.Equal(got.tokens, want.tokens) || got.text != want.text {
			p := m.Plan()
			t.Errorf("%s, %d threads: other tokens: %q", p.Title(), c.threads, got.text)
		}
	}
	for _, r := range "ABC" {
		if !strings.ContainsRune(seen, r) {
			t.Errorf("regime %c was not tried: %s", r, seen)
		}
	}
}

// TestAutoKV finds q16 where there is room, q8 where q16 would stream weights,
// and more room for weights then.
func TestAutoKV(t *testing.T) {
	o := engine.Options{Context: 512, Parallel: 4, BatchTokens: 32, Threads: 2}
	if m := openWithin(t, o, func(plan.Plan) int64 { return 8 << 30 }); m.KVFormat() != kv.Q16 {
		t.Errorf("with 8 GiB the cache is %v", m.KVFormat())
	}
	// A cache of 8 bits takes 12 MiB less. The process shrinks and grows by more than
	// that under the race detector, hence several budgets.
	var formats []kv.Format
	for less := int64(4 << 20); less <= 24<<20 && !slices.Contains(formats, kv.Q8); less += 4 << 20 {
		m := openWithin(t, o, func(p plan.Plan) int64 { return p.ResidentBudget - less })
		formats = append(formats, m.KVFormat())
	}
	if !slices.Contains(formats, kv.Q8) {
		t.Errorf("where q16 does not fit, the caches are %v", formats)
	}
	o.KV = "f32"
	r, size, name := builtin.Model()
	if _, err := engine.OpenReaderAt(context.Background(), r, size, name, o); err == nil {
		t.Error("a format that does not exist was taken")
	}
}

func TestTooSmall(t *testing.T) {
	r, size, name := builtin.Model()
	_, err := engine.OpenReaderAt(context.Background(), r, size, name, engine.Options{RAM: 8 << 20})
	if !errors.Is(err, plan.ErrTooSmall) {
		t.Fatalf("8 MiB: %v, want ErrTooSmall", err)
	}
	if !strings.Contains(err.Error(), "at least") {
		t.Errorf("the error does not name the smallest budget: %v", err)
	}
}

// TestConcurrent runs requests of different lengths and seeds together; each
// gets what it gets alone.
func TestConcurrent(t *testing.T) {
	m := open(t, engine.Options{Context: 256, Parallel: 4, BatchTokens: 48})
	e := start(t, m, engine.Options{})
	prompts := []string{opening, "The captain", "It was a dark and stormy night, and the rain fell in torrents, except at occasional intervals", "\"", "In the forest"}
	reqs := make([]model.Request, len(prompts))
	alone := make([]result, len(prompts))
	for i, p := range prompts {
		reqs[i] = request(t, m, p, 12+5*i)
		reqs[i].Sampling = model.Sampling{Temperature: 0.8, TopP: 0.95, RepeatPenalty: 1.1, Seed: uint64(i)}
		reqs[i].Logprobs = 2
		alone[i] = generate(context.Background(), e, reqs[i])
		if alone[i].err != nil || len(alone[i].tokens) == 0 {
			t.Fatalf("%q: %v", p, alone[i].err)
		}
	}
	for range 2 {
		var wg sync.WaitGroup
		for i := range reqs {
			wg.Go(func() {
				got := generate(context.Background(), e, reqs[i])
				if fmt.Sprint(got) != fmt.Sprint(alone[i]) {
					t.Errorf("%q together:\n%v\nalone:\n%v", prompts[i], got, alone[i])
				}
			})
		}
		wg.Wait()
	}
}

func TestOutput(t *testing.T) {
	m := open(t, engine.Options{Context: 256, Parallel: 1})
	e := start(t, m, engine.Options{})
	full := generate(context.Background(), e, request(t, m, opening, 40))
	if full.finish != model.FinishLength || len(full.tokens) != 40 || full.usage.CompletionTokens != 40 {
		t.Fatalf("40 tokens asked: %+v", full)
	}
	if !utf8.ValidString(full.text) {
		t.Errorf("text is not UTF-8: %q", full.text)
	}
	t.Run("stop", func(t *testing.T) {
		// A stop string that begins inside a token and ends in another one.
		stop := full.text[17:29]
		r := request(t, m, opening, 40)
		r.Stop = []string{"no such thing", stop}
		got := generate(context.Background(), e, r)
		if want := full.text[:strings.Index(full.text, stop)]; got.text != want || got.finish != model.FinishStop {
			t.Errorf("stopped at %q with %q (%s), want %q", stop, got.text, got.finish, want)
		}
	})
	t.Run("logprobs", func(t *testing.T) {
		r := request(t, m, opening, 8)
		r.Logprobs = 3
		got := generate(context.Background(), e, r)
		for _, k := range got.infos {
			if len(k.Top) != 3 || k.Top[0].ID != k.ID || k.Top[0].Logprob != k.Logprob || k.Logprob > 0 {
				t.Errorf("greedy token %+v is not its own likeliest", k)
			}
		}
	})
	t.Run("prompt", func(t *testing.T) {
		// Scoring a text gives each generated token the probability it had when
		// it was generated.
		r := request(t, m, opening, 8)
		r.Logprobs = 1
		made := generate(context.Background(), e, r)
		s := r
		s.Prompt = append(slices.Clone(r.Prompt), made.tokens...)
		s.MaxTokens, s.PromptLogprobs = 0, true
		got := generate(context.Background(), e, s)
		if got.finish != model.FinishLength || len(got.prompt) != len(s.Prompt) || len(got.tokens) != 0 {
			t.Fatalf("%d prompt tokens scored, %d generated, %q", len(got.prompt), len(got.tokens), got.finish)
		}
		if !math.IsNaN(float64(got.prompt[0].Logprob)) {
			t.Error("the first token has a probability")
		}
		for i, k := range made.infos {
			if p := got.prompt[len(r.Prompt)+i]; p.ID != k.ID || p.Logprob != k.Logprob {
				t.Errorf("token %d: scored %v, generated %v", i, p, k)
			}
		}
	})
}

func TestRefusals(t *testing.T) {
	m := open(t, engine.Options{Context: 128, Parallel: 1})
	e := start(t, m, engine.Options{})
	for name, c := range map[string]struct {
		change func(*model.Request)
		want   error
	}{
		"no prompt":   {func(r *model.Request) { r.Prompt = nil }, model.ErrInvalid},
		"bad token":   {func(r *model.Request) { r.Prompt = []int32{1, 8192} }, model.ErrInvalid},
		"negative":    {func(r *model.Request) { r.MaxTokens = -1 }, model.ErrInvalid},
		"too long":    {func(r *model.Request) { r.MaxTokens = 128 }, model.ErrContextLength},
		"temperature": {func(r *model.Request) { r.Sampling.Temperature = -1 }, model.ErrInvalid},
	} {
		r := request(t, m, opening, 8)
		c.change(&r)
		if got := generate(context.Background(), e, r); !errors.Is(got.err, c.want) {
			t.Errorf("%s: %v, want %v", name, got.err, c.want)
		}
	}
}

// TestCancel drops a running and a waiting request; a later one still works
// and the cache is empty at the end.
func TestCancel(t *testing.T) {
	m := open(t, engine.Options{Context: 256, Parallel: 1})
	e := start(t, m, engine.Options{Queue: 2})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	long := request(t, m, opening, 200)
	long.IgnoreEOS = true
	n := 0
	for _, err := range e.Generate(ctx, long) {
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			break
		}
		if n++; n == 3 {
			cancel()
		}
	}
	if n > 80 {
		t.Errorf("%d events after the client had gone at the third", n)
	}
	for ev, err := range e.Generate(context.Background(), long) {
		if err != nil || ev.Finish != "" {
			t.Fatal("ended early", err)
		}
		break // the consumer leaves
	}
	if got := generate(context.Background(), e, request(t, m, opening, 4)); got.err != nil {
		t.Fatal(got.err)
	}
	s, err := m.NewSeq(m.Context())
	if err != nil {
		t.Errorf("pages are missing after everything ended: %v", err)
	} else {
		s.Close()
	}
}

// TestQueue fills the queue, sees the next request refused, and closes with
// the accepted ones finished.
func TestQueue(t *testing.T) {
	m := open(t, engine.Options{Context: 256, Parallel: 1})
	e := engine.Start(m, engine.Options{Queue: 1})
	long := request(t, m, opening, 230)
	long.IgnoreEOS = true
	var wg sync.WaitGroup
	running := make(chan struct{})
	wg.Go(func() {
		once := sync.OnceFunc(func() { close(running) })
		for _, err := range e.Generate(context.Background(), long) {
			if err != nil {
				t.Error(err)
			}
			once()
		}
	})
	<-running
	errs := make(chan error, 8)
	for range 8 {
		wg.Go(func() { errs <- generate(context.Background(), e, long).err })
	}
	busy := 0
	for range 7 {
		err := <-errs
		if !errors.Is(err, model.ErrBusy) {
			t.Errorf("queue of one: %v, want ErrBusy", err)
		}
		busy++
	}
	if err := e.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if err := <-errs; err != nil {
		t.Errorf("the queued request: %v", err)
	}
	wg.Wait()
	if got := generate(context.Background(), e, long); !errors.Is(got.err, model.ErrClosed) {
		t.Errorf("after Close: %v, want ErrClosed", got.err)
	}
}

// TestCloseNow cuts running requests when the context of Close ends.
func TestCloseNow(t *testing.T) {
	m := open(t, engine.Options{Context: 256, Parallel: 1})
	e := engine.Start(m, engine.Options{})
	long := request(t, m, opening, 230)
	long.IgnoreEOS = true
	got := make(chan error)
	go func() { got <- generate(context.Background(), e, long).err }()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := e.Close(ctx); !errors.Is(err, context.Canceled) && err != nil {
		t.Error(err)
	}
	if err := <-got; !errors.Is(err, model.ErrClosed) {
		t.Errorf("cut request: %v, want ErrClosed", err)
	}
}
