package engine_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/lamina-llm/lamina/internal/engine"
	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/runtime/plan"
)

const story = "Once upon a time there was a little girl who lived in a small house at the edge of a great forest. " +
	"Every morning she went to the well to fetch water for her mother, and every evening she sat by the fire and listened " +
	"to the stories that her grandmother told. One day the old woman said to her: my child, tomorrow you must go to the town. "

// told returns the same story with another end, so that requests share a
// prefix of several pages.
func told(t testing.TB, m *engine.Model, end string, n int) model.Request {
	t.Helper()
	r := request(t, m, story+end, n)
	r.Sampling = model.Sampling{Temperature: 0.9, TopP: 0.95, RepeatPenalty: 1.1, Seed: uint64(len(end))}
	r.Logprobs, r.IgnoreEOS = 1, true
	return r
}

// sameAs reports a result that differs from want in anything but what was cached.
func sameAs(t *testing.T, what string, got, want result) {
	t.Helper()
	if got.err != nil {
		t.Fatalf("%s: %v", what, got.err)
	}
	if !slices.Equal(got.tokens, want.tokens) || got.text != want.text || got.finish != want.finish {
		t.Errorf("%s:\n%v %q\nwant\n%v %q", what, got.tokens, got.text, want.tokens, want.text)
	}
	for i := range min(len(got.infos), len(want.infos)) {
		if got.infos[i].Logprob != want.infos[i].Logprob {
			t.Fatalf("%s: token %d has log-probability %v, want %v", what, i, got.infos[i].Logprob, want.infos[i].Logprob)
		}
	}
}

// TestPrefixes asks for the same things without shared prefixes, then with
// them: with hits and without, alone and together, with either format of the
// cache and in every regime. Whatever was found, tokens and probabilities are the same.
func TestPrefixes(t *testing.T) {
	ends := []string{"The girl answered", "The mother was afraid, and", "But it rained"}
	formats := []engine.KV{engine.KVQ16, engine.KVQ8}
	if testing.Short() {
		formats = formats[1:]
	}
	for _, format := range formats {
		var want []result
		for _, c := range []struct {
			name string
			ram  func(plan.Plan) int64
			off  bool
		}{
			{"off", func(plan.Plan) int64 { return 8 << 30 }, true},
			{"A", func(plan.Plan) int64 { return 8 << 30 }, false},
			{"B", func(p plan.Plan) int64 { return p.ResidentBudget }, false},
			{"C", func(p plan.Plan) int64 { return p.MinBudget }, false},
		} {
			t.Run(string(format)+"/"+c.name, func(t *testing.T) {
				m := openWithin(t, engine.Options{Context: 256, Parallel: 4, BatchTokens: 40, Threads: 2, KV: format}, c.ram)
				e := start(t, m, engine.Options{NoPrefixCache: c.off})
				var alone []result
				for _, end := range ends {
					alone = append(alone, generate(context.Background(), e, told(t, m, end, 24)))
				}
				if want == nil {
					want = alone
				}
				for i, got := range alone {
					sameAs(t, ends[i], got, want[i])
					if hit := got.usage.CachedTokens; c.off && hit != 0 || !c.off && i > 0 && hit < 64 {
						t.Errorf("%q: %d of %d tokens from the cache", ends[i], hit, got.usage.PromptTokens)
					}
				}
				var wg sync.WaitGroup
				for range 2 {
					for i, end := range ends {
						wg.Go(func() { sameAs(t, end+", together", generate(context.Background(), e, told(t, m, end, 24)), want[i]) })
					}
				}
				wg.Wait()
			})
		}
	}
}

// TestConversation continues an answer: what was generated is found again too.
func TestConversation(t *testing.T) {
	m := open(t, engine.Options{Context: 256, Parallel: 2})
	e := start(t, m, engine.Options{})
	r := told(t, m, "The girl answered", 40)
	first := generate(context.Background(), e, r)
	next := r
	next.Prompt = append(append(slices.Clone(r.Prompt), first.tokens...), r.Prompt[1:5]...)
	got := generate(context.Background(), e, next)
	if want := (len(r.Prompt) + 39) / 32 * 32; got.usage.CachedTokens != want {
		t.Errorf("%d tokens from the cache, want %d", got.usage.CachedTokens, want)
	}
	fresh := start(t, open(t, engine.Options{Context: 256, Parallel: 1}), engine.Options{NoPrefixCache: true})
	sameAs(t, "second turn", got, generate(context.Background(), fresh, next))
}

// TestPrefixMemory fills the cache with prefixes of requests that are over, or
// whose client went away: none of them keeps a new request waiting.
func TestPrefixMemory(t *testing.T) {
	m := open(t, engine.Options{Context: 256, Parallel: 1})
	e := start(t, m, engine.Options{})
	for i := range 6 {
		r := told(t, m, strings.Repeat("She went on. ", i), 8)
		r.Prompt[0] = int32(100 + i) // no two begin alike
		ctx, cancel := context.WithCancel(context.Background())
		for _, err := range e.Generate(ctx, r) {
			if i%2 == 0 {
				cancel()
			}
			if err != nil && i%2 == 1 {
				t.Fatal(err)
			}
		}
		cancel()
	}
	whole := request(t, m, opening, 0)
	whole.MaxTokens, whole.IgnoreEOS = m.Context()-len(whole.Prompt), true
	if got := generate(context.Background(), e, whole); got.err != nil || len(got.tokens) != whole.MaxTokens {
		t.Errorf("a request of the whole context: %d tokens, %v", len(got.tokens), got.err)
	}
}
