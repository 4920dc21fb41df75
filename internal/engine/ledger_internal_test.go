package engine

import (
	"errors"
	"strings"
	"testing"

	"github.com/lamina-llm/lamina/internal/builtin"
	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/kv"
	"github.com/lamina-llm/lamina/runtime/budget"
)

// TestLedgerRefuses serves while the ledger has nothing left and while the
// cache, which was leased at the start, has no page left. The former is nothing
// to a request: all that it needs was leased before. The latter is an error that
// says so, for a request that finds nobody who could finish; the engine lives on
// and the next request is right.
func TestLedgerRefuses(t *testing.T) {
	r, size, name := builtin.Model()
	o := Options{RAM: 400 << 20, Context: 256, Parallel: 2, BatchTokens: 32, Threads: 2, KV: KVQ16, NoPrefixCache: true}
	m, err := OpenReaderAt(t.Context(), r, size, name, o)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	e := Start(m, o)
	defer e.Close(t.Context())
	req := model.Request{Prompt: []int32{1, 2, 3, 4, 5}, MaxTokens: 8, Sampling: model.Sampling{TopP: 1, RepeatPenalty: 1}}
	answer := func() (text string, err error) {
		for ev, err := range e.Generate(t.Context(), req) {
			if err != nil {
				return text, err
			}
			text += ev.Text
		}
		return text, nil
	}
	want, err := answer()
	if err != nil || want == "" {
		t.Fatalf("%q, %v", want, err)
	}

	s := m.ledger.Stats()
	rest, err := m.ledger.TryAcquire(budget.Other, s.Limit-s.Used)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.ledger.TryAcquire(budget.KV, 1); !errors.Is(err, budget.ErrOverBudget) {
		t.Fatalf("the ledger still leases: %v", err)
	}
	if got, err := answer(); got != want || err != nil {
		t.Errorf("with nothing left to lease: %q, %v; want %q", got, err, want)
	}

	var held []*kv.Seq
	for {
		seq, err := m.NewSeq(kv.DefaultPageTokens)
		if errors.Is(err, kv.ErrFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, seq)
	}
	for range 3 {
		if got, err := answer(); !errors.Is(err, model.ErrMemory) || !strings.Contains(err.Error(), "pages needed") || got != "" {
			t.Errorf("with no page left: %q, %v", got, err)
		}
	}
	for _, seq := range held {
		seq.Close()
	}
	if got, err := answer(); got != want || err != nil {
		t.Errorf("afterwards: %q, %v; want %q", got, err, want)
	}
	rest.Release()
}
