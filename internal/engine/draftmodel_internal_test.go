package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/lamina-llm/lamina/internal/builtin"
	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/runtime/budget"
	"github.com/lamina-llm/lamina/runtime/plan"
	"github.com/lamina-llm/lamina/weights"
	"github.com/lamina-llm/lamina/weights/weightstest"
)

// draftFile writes the built-in model again with its norms raised to a power:
// 1 leaves it as it is, others make it worse.
func draftFile(t *testing.T, power float64, tokenizer func([]byte) []byte) string {
	t.Helper()
	r, size, name := builtin.Model()
	f, err := weights.OpenReaderAt(r, size, name)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), fmt.Sprintf("draft%v.lamina", power))
	weightstest.Copy(t, f, path, weightstest.Edit{
		Section: func(name string, data []byte) []byte {
			if name == weights.SectionTokenizer && tokenizer != nil {
				return tokenizer(data)
			}
			return data
		},
		Span: func(x *weights.Tensor, _ int, data []byte) []byte {
			for i := 0; x.Codec == "f32" && i < len(data); i += 4 {
				v := float64(math.Float32frombits(binary.LittleEndian.Uint32(data[i:])))
				v = math.Copysign(math.Pow(math.Abs(v), power), v)
				binary.LittleEndian.PutUint32(data[i:], math.Float32bits(float32(v)))
			}
			return data
		},
	})
	return path
}

// openDrafted opens the built-in model with a draft model, in regime A or with
// the least memory that works.
func openDrafted(t *testing.T, draft string, regime plan.Regime) *Model {
	t.Helper()
	r, size, name := builtin.Model()
	o := Options{Context: 256, Parallel: 3, BatchTokens: 64, Threads: 2, KV: KVQ16, Draft: draft, NoPrefixCache: true}
	if regime == plan.C {
		o.RAM = 24 << 20
	}
	for {
		m, err := OpenReaderAt(t.Context(), r, size, name, o)
		if errors.Is(err, plan.ErrTooSmall) && o.RAM != 0 && o.RAM < 256<<20 {
			o.RAM += 512 << 10
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Plan().Regime; got != regime {
			t.Fatalf("regime %v, want %v", got, regime)
		}
		return m
	}
}

// never looks nothing up.
type never struct{}

func (never) extend(...int32)                                       {}
func (never) chance() float64                                       { return 0 }
func (never) propose(_ context.Context, dst []int32, _ int) []int32 { return dst }
func (never) close()                                                {}

// TestDraftModelExact runs requests of every kind without guesses and with
// those of a draft model, alone and together: the events are the same to the
// last bit. A draft model that is the model itself is always right, also about
// what is sampled.
func TestDraftModelExact(t *testing.T) {
	if testing.Short() {
		t.Skip("compares numbers at length; the concurrency is in other tests, too")
	}
	for _, c := range []struct {
		power  float64
		regime plan.Regime
	}{{1, plan.A}, {0.5, plan.C}} {
		t.Run(fmt.Sprintf("power %v, regime %v", c.power, c.regime), func(t *testing.T) {
			if testing.Short() && c.regime == plan.C {
				t.Skip("streams for long")
			}
			m := openDrafted(t, draftFile(t, c.power, nil), c.regime)
			defer m.Close()
			requests := speculationRequests(t, m)
			if c.regime == plan.C {
				requests = requests[:2]
			}
			want := make([]string, len(requests))
			run := func(mode Speculation, alone bool, f func(e *Engine, i int)) *Engine {
				e := Start(m, Options{Speculate: mode, NoPrefixCache: true})
				if alone {
					make := e.spec.newDrafter
					e.spec.newDrafter = func(r model.Request) drafter {
						d := make(r)
						if d, ok := d.(*modelDrafter); ok {
							d.lookup = never{}
						} else {
							t.Error("the draft model's cache is full")
						}
						return d
					}
				}
				var wg sync.WaitGroup
				for i := range requests {
					if alone {
						f(e, i)
					} else {
						wg.Go(func() { f(e, i) })
					}
				}
				wg.Wait()
				if err := e.Close(t.Context()); err != nil {
					t.Error(err)
				}
				for _, p := range []*Model{m, m.second} {
					if free, pages := p.cache.Free(), p.cache.Pages(); free != pages {
						t.Errorf("%s: %d of %d cache pages are free at the end", p.Name(), free, pages)
					}
				}
				return e
			}
			run(SpeculateOff, true, func(e *Engine, i int) { _, want[i] = answer(e, requests[i]) })
			for mode, alone := range map[Speculation]bool{SpeculateOn: true, SpeculateAuto: false} {
				e := run(mode, alone, func(e *Engine, i int) {
					if _, got := answer(e, requests[i]); got != want[i] {
						t.Errorf("request %d, speculation %s:\n%s\nwithout guesses:\n%s", i, mode, got, want[i])
					}
				})
				guessed, right := e.stats.guessed.Load(), e.stats.guessedRight.Load()
				t.Logf("%s, alone %v: %d of %d guesses right", mode, alone, right, guessed)
				if mode == SpeculateOn && (right == 0 || c.power != 1 && right == guessed) {
					t.Errorf("%d of %d guesses right: not both kinds were seen", right, guessed)
				}
			}
			if c.power != 1 {
				return
			}
			// Penalties on guesses that are not certain yet, and what comes after the
			// end of an answer, are all that it cannot know.
			requests = slices.DeleteFunc(requests, func(r model.Request) bool {
				return r.Sampling.RepeatPenalty != 1 || len(r.Stop) > 0
			})
			for i := range requests {
				requests[i].IgnoreEOS = true
			}
			e := run(SpeculateOn, true, func(e *Engine, i int) { answer(e, requests[i]) })
			if guessed, right := e.stats.guessed.Load(), e.stats.guessedRight.Load(); guessed == 0 || right != guessed {
				t.Errorf("%d of %d guesses of the model itself were right", right, guessed)
			}
		})
	}
}

// TestDraftModelMemory: the draft model is paid for from the same ledger.
func TestDraftModelMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("compares numbers at length; the concurrency is in other tests, too")
	}
	path := draftFile(t, 1, nil)
	plain := openDrafted(t, "", plan.C)
	least := plain.Plan().MinBudget
	if err := plain.Close(); err != nil {
		t.Fatal(err)
	}
	m := openDrafted(t, path, plan.C)
	p, size := m.Plan(), m.second.Plan().Total
	if p.MinBudget < least+size/2 {
		t.Errorf("%d bytes are enough with a draft model of %d, without it %d are", p.MinBudget, size, least)
	}
	if got := m.ledger.Stats().By[budget.Coded].Used; got < size {
		t.Errorf("%d coded bytes are leased, the draft model alone has %d", got, size)
	}
	if used, limit := m.ledger.Stats().Used, p.Budget; used > limit {
		t.Errorf("%d bytes are leased of %d", used, limit)
	}
	ledger := m.ledger
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if n := ledger.Stats().Used; n != 0 {
		t.Errorf("%d bytes are still leased", n)
	}
}

func TestDraftModelRefused(t *testing.T) {
	r, size, name := builtin.Model()
	other := draftFile(t, 1, func(b []byte) []byte { b = bytes.Clone(b); b[len(b)-1] ^= 1; return b })
	for path, want := range map[string]string{
		other: "tokenizer",
		filepath.Join(t.TempDir(), "none.lamina"): "none.lamina",
	} {
		m, err := OpenReaderAt(t.Context(), r, size, name, Options{Context: 64, Draft: path})
		if err == nil {
			m.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one about %s", err, want)
		}
	}
}
