package engine

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lamina-llm/lamina/internal/builtin"
	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/token"
	"github.com/lamina-llm/lamina/runtime/plan"
)

// answer is all that a reader sees of a request.
func answer(e *Engine, r model.Request) (tokens []int32, seen string) {
	var b strings.Builder
	for ev, err := range e.Generate(context.Background(), r) {
		if err != nil {
			return nil, "error: " + err.Error()
		}
		for _, k := range ev.Tokens {
			tokens = append(tokens, k.ID)
		}
		fmt.Fprintf(&b, "%q %+v %s %v\n", ev.Text, ev.Tokens, ev.Finish, ev.Usage)
	}
	return tokens, b.String()
}

// psychic guesses the right continuation, but for one token in four.
type psychic struct {
	known  map[string][]int32 // by prompt: the answer
	random *rand.Rand
	answer []int32
	at     int
}

func (p *psychic) extend(ids ...int32) {
	if p.answer == nil {
		p.answer = p.known[fmt.Sprint(ids)]
		return
	}
	p.at += len(ids)
}

func (p *psychic) chance() float64 { return 0.9 }

func (p *psychic) propose(_ context.Context, dst []int32, n int) []int32 {
	for i := range n {
		switch at := p.at + i; {
		case at >= len(p.answer) || p.random.IntN(4) == 0:
			dst = append(dst, p.random.Int32N(8192))
		default:
			dst = append(dst, p.answer[at])
		}
	}
	return dst
}

func (p *psychic) close() {}

// TestSpeculationExact runs requests of every kind without guesses, and with
// right, wrong and looked-up ones, alone and together: the events are the
// same to the last bit.
func TestSpeculationExact(t *testing.T) {
	for _, regime := range []plan.Regime{plan.A, plan.C} {
		t.Run(regime.String(), func(t *testing.T) {
			m := openRegime(t, regime)
			defer m.Close()
			requests := speculationRequests(t, m)
			if testing.Short() || regime == plan.C {
				requests = requests[:2]
			}
			known := map[string][]int32{}
			want := make([]string, len(requests))
			with := func(mode Speculation, f func(e *Engine)) (guessed, right int64) {
				e := Start(m, Options{Speculate: mode})
				f(e)
				if err := e.Close(context.Background()); err != nil {
					t.Error(err)
				}
				if free, pages := m.cache.Free(), m.cache.Pages(); free != pages {
					t.Errorf("%d of %d cache pages are free at the end", free, pages)
				}
				return e.stats.guessed.Load(), e.stats.guessedRight.Load()
			}
			guessed, _ := with(SpeculateOff, func(e *Engine) {
				for i, r := range requests {
					var ids []int32
					ids, want[i] = answer(e, r)
					known[fmt.Sprint(r.Prompt)] = ids
				}
			})
			if guessed != 0 {
				t.Errorf("%d guesses while speculation is off", guessed)
			}
			check := func(e *Engine, i int, how string) {
				if _, got := answer(e, requests[i]); got != want[i] {
					t.Errorf("request %d %s:\n%s\nwithout guesses:\n%s", i, how, got, want[i])
				}
			}
			for _, kind := range []string{"psychic", "look-up"} {
				for _, mode := range []Speculation{SpeculateOn, SpeculateAuto} {
					if kind == "psychic" && mode == SpeculateAuto {
						continue // its chance is a lie, so nothing more is learnt
					}
					guessed, right := with(mode, func(e *Engine) {
						if kind == "psychic" {
							e.spec.newDrafter = func(model.Request) drafter {
								return &psychic{known: known, random: rand.New(rand.NewPCG(1, 2))}
							}
						}
						if kind != "psychic" {
							for i := range requests {
								check(e, i, kind+" alone")
							}
						}
						var wg sync.WaitGroup
						for i := range requests {
							wg.Go(func() { check(e, i, kind+" together") })
						}
						wg.Wait()
					})
					t.Logf("%s, %s: %d guesses, %d right", mode, kind, guessed, right)
					if mode == SpeculateOn && (right == 0 || right == guessed) {
						t.Errorf("%s: %d of %d guesses right: not both kinds were seen", kind, right, guessed)
					}
				}
			}
		})
	}
}

// openRegime opens the built-in model in a regime. The process may grow between
// planning and opening, so it tries again.
func openRegime(t *testing.T, want plan.Regime) *Model {
	t.Helper()
	r, size, name := builtin.Model()
	o := Options{Context: 512, Parallel: 3, BatchTokens: 64, Threads: 2}
	return openAs(t, want, 0, o, func(o Options) (*Model, error) { return OpenReaderAt(t.Context(), r, size, name, o) })
}

// speculationRequests have something to look up, and use all that sampling
// and output offer.
func speculationRequests(t *testing.T, m *Model) []model.Request {
	t.Helper()
	text := "The cat sat on the mat. The dog sat on the mat. The bird sat on the mat. The cat sat on"
	base := model.Request{MaxTokens: 24, Logprobs: -1, Sampling: model.Sampling{TopP: 1, RepeatPenalty: 1}}
	var all []model.Request
	add := func(start string, change func(r *model.Request)) {
		r := base
		ids, err := m.tok.Encode(start+text, token.EncodeOptions{AddSpecial: true})
		if err != nil {
			t.Fatal(err)
		}
		r.Prompt = ids
		change(&r)
		all = append(all, r)
	}
	add("", func(*model.Request) {})
	add("One. ", func(r *model.Request) {
		r.Sampling = model.Sampling{Temperature: 0.9, TopP: 0.9, RepeatPenalty: 1.1, FrequencyPenalty: 0.3, PresencePenalty: 0.2, Seed: 5}
		r.Logprobs = 2
	})
	add("Two. ", func(r *model.Request) { r.Stop = []string{"mat.", "xyz"} })
	add("Three. ", func(r *model.Request) { r.IgnoreEOS, r.MaxTokens = true, 50 })
	add("Four. ", func(r *model.Request) { r.MaxTokens = 1 })
	add("Five. ", func(r *model.Request) { r.MaxTokens, r.PromptLogprobs, r.Logprobs = 2, true, 1 })
	add("Six. ", func(r *model.Request) {
		r.Sampling = model.Sampling{Temperature: 0.5, TopP: 1, TopK: 5, RepeatPenalty: 1, Seed: 9, LogitBias: map[int32]float32{7: 3}}
		r.MaxTokens = 50
	})
	return all
}

// TestDivide compares the guesses given with the best of all ways to give them.
func TestDivide(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 3).Draw(t, "requests")
		var c costs
		first := rapid.Float64Range(0.5, 4).Draw(t, "first")
		row := rapid.Float64Range(0, 2).Draw(t, "row")
		step := rapid.Float64Range(0, 2).Draw(t, "step")
		for i := range maxRows * leastSamples {
			i = i%maxRows + 1
			s := first + row*float64(i)
			if i > 1 {
				s += step
			}
			c.pass(i, time.Duration(s*1e9))
		}
		shares := make([]share, n)
		for i := range shares {
			shares[i] = share{
				chance: rapid.SampledFrom([]float64{0, 0.3, 0.6, 0.9}).Draw(t, "chance"),
				most:   rapid.IntRange(0, 3).Draw(t, "most"),
				purse:  math.Inf(1),
			}
		}
		room := rapid.IntRange(0, 6).Draw(t, "room")
		rate := func(given []int) float64 {
			tokens, rows := 0.0, 0
			for i, g := range given {
				tokens++
				p := 1.0
				for range g {
					p *= shares[i].chance
					tokens += p
				}
				rows += 1 + g
			}
			return tokens / c.of(rows)
		}
		best := 0.0
		given := make([]int, n)
		var try func(i, left int)
		try = func(i, left int) {
			if i == n {
				best = max(best, rate(given))
				return
			}
			for g := 0; g <= min(left, max(shares[i].most, 0)); g++ {
				given[i] = g
				try(i+1, left-g)
			}
			given[i] = 0
		}
		try(0, room)
		total := c.divide(shares, room)
		got, sum := make([]int, n), 0
		for i, s := range shares {
			if s.n < 0 || s.n > s.most || s.n > 0 && s.chance == 0 {
				t.Fatalf("share %+v", s)
			}
			got[i] = s.n
			sum += s.n
		}
		if sum != total || total > room {
			t.Fatalf("%d guesses in the shares, %d returned, room for %d", sum, total, room)
		}
		if r := rate(got); r < best/leastWin*(1-1e-9) {
			t.Fatalf("rate %v with %v, the best is %v", r, got, best)
		}
	})
}

// TestCosts checks what is assumed where nothing was measured.
func TestCosts(t *testing.T) {
	var c costs
	pass := func(n int, d time.Duration) {
		for range leastSamples {
			c.pass(n, d)
		}
	}
	if got := c.of(3); got != 0 {
		t.Errorf("nothing known: %v", got)
	}
	c.pass(1, time.Second)
	if got := c.of(1); got != 0 {
		t.Errorf("one measurement counts already: %v", got)
	}
	pass(1, time.Second)
	if got := c.of(5); got != 1+4*hope {
		t.Errorf("beyond the only size that is known: %v", got)
	}
	if got := c.dear(1, 5); got != 1+4*fear {
		t.Errorf("the same for a stake: %v", got)
	}
	c.pass(1, 10*time.Second)
	if got := c.of(1); got != 1 {
		t.Errorf("after a pass that was disturbed: %v", got)
	}
	pass(5, 3*time.Second)
	if got := c.of(3); got != 2 {
		t.Errorf("between 1 s and 3 s: %v", got)
	}
	if got := c.dear(1, 7); got != 4 {
		t.Errorf("a stake beyond them: %v", got)
	}
	pass(4, time.Second/2)
	if got := c.of(4); got < 1 {
		t.Errorf("four rows for less than one: %v", got)
	}
	for range samples {
		c.pass(1, 2*time.Second)
	}
	if got := c.of(1); got != 2 {
		t.Errorf("when all of the latest took longer: %v", got)
	}
	for range stale + 1 {
		c.pass(1, time.Second)
	}
	if got := c.of(5); got != 1+4*hope {
		t.Errorf("a stale measurement counts: %v", got)
	}
}

// TestLookup compares the drafter with a plain search, token by token.
func TestLookup(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tokens := rapid.SliceOfN(rapid.Int32Range(0, 3), 1, 60).Draw(t, "tokens")
		prompt := rapid.IntRange(1, len(tokens)).Draw(t, "prompt")
		l := newLookup(model.Request{Prompt: tokens}).(*lookup)
		l.extend(tokens[:prompt]...)
		for n := prompt; ; n++ {
			// The latest tokens' earlier occurrences, most recent first.
			at, match, steps := 0, 0, 0
			for i := n - 1; i >= leastMatch && steps < chainSteps; i-- {
				m := 0
				for m < min(mostMatch, i) && tokens[i-1-m] == tokens[n-1-m] {
					m++
				}
				if m >= leastMatch {
					steps++
					if m > match {
						at, match = i, m
					}
				}
			}
			if l.match != match || match > 0 && l.at != at {
				t.Fatalf("after %v: match of %d at %d, want %d at %d", tokens[:n], l.match, l.at, match, at)
			}
			guess := l.propose(context.Background(), []int32{99}, 5)
			if p := l.chance(); (p > 0) != (match > 0) || p > 1 || (len(guess) > 1) != (match > 0) || guess[0] != 99 {
				t.Fatalf("chance %v, guesses %v with a match of %d", p, guess, match)
			}
			if match > 0 {
				whole := slices.Clone(tokens[:n])
				for i := range 5 {
					whole = append(whole, whole[at+i])
				}
				if !slices.Equal(guess[1:], whole[n:]) {
					t.Fatalf("guesses %v, want %v", guess[1:], whole[n:])
				}
			}
			if n == len(tokens) {
				return
			}
			l.extend(tokens[n])
		}
	})
}
