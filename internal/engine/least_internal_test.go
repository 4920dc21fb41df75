package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/lamina-llm/lamina/internal/builtin"
	"github.com/lamina-llm/lamina/loader"
	"github.com/lamina-llm/lamina/runtime/plan"
)

func TestAround(t *testing.T) {
	for _, n := range []int64{0, 1, 28 << 20, 33<<20 + 1, 40 << 20, 62 << 20, 62<<20 + 1, 64 << 20, 100<<20 + 7, 1 << 30, 3968 << 20, 3968<<20 + 1, 1 << 40} {
		for _, o := range []Options{{}, {Serve: true}} {
			at := o.around(n)
			if at-o.reserve(at) < n || (at-1)-o.reserve(at-1) >= n {
				t.Errorf("%d: %d leaves %d, a byte less %d", n, at, at-o.reserve(at), at-1-o.reserve(at-1))
			}
		}
	}
}

// TestLeast takes the least budget that a plan names, whatever budget the plan
// was made for, and finds that it works, and that a byte less is refused with
// an error that names the same.
func TestLeast(t *testing.T) {
	r, size, name := builtin.Model()
	f, err := loader.OpenReaderAt(r, size, name, loader.Options{Layout: layout})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, err := newDraft(context.Background(), f, Options{RAM: 1 << 30}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	untied := d.cfg
	untied.Tied = false
	t.Run("tied", func(t *testing.T) { testLeast(t, d) })
	t.Run("untied", func(t *testing.T) { testLeast(t, estimated(untied, 3)) })
}

func testLeast(t *testing.T, d *draft) {
	const base = 13<<20 + 12345 // what the process takes
	at := func(limit int64, o Options) (plan.Plan, error) {
		d.limit = limit
		err := d.chooseAbove(o, base)
		return d.plan, err
	}
	for _, o := range []Options{
		{}, {Serve: true}, {Serve: true, KV: KVQ16}, {Serve: true, KV: KVQ8, Context: 512, Parallel: 2, BatchTokens: 64},
		{Context: 1024, Threads: 2}, {Serve: true, Parallel: 3, Threads: 2}, {Serve: true, Coded: true}, {Serve: true, BatchTokens: 256},
	} {
		t.Run(fmt.Sprintf("%+v", o), func(t *testing.T) {
			if o.Threads == 0 {
				o.Threads = 1
			}
			roomy, err := at(22<<30, o)
			if err != nil {
				t.Fatal(err)
			}
			for _, limit := range []int64{200 << 20, 80 << 20, roomy.MinBudget} {
				if p, err := at(limit, o); err != nil || p.MinBudget != roomy.MinBudget {
					t.Errorf("at %d bytes %d are the least, at 22 GiB %d: %v", limit, p.MinBudget, roomy.MinBudget, err)
				}
			}
			p, err := at(roomy.MinBudget-1, o)
			var small *plan.TooSmallError
			if !errors.As(err, &small) || small.MinBudget != roomy.MinBudget || p.MinBudget != roomy.MinBudget {
				t.Errorf("%d bytes are one too few: %v", roomy.MinBudget-1, err)
			}
			// What people read is in whole MiB.
			named := (roomy.MinBudget + 1<<20 - 1) >> 20
			if _, err := at(named<<20, o); err != nil {
				t.Errorf("the %d MiB that were named: %v", named, err)
			}
			if _, err := at((named-1)<<20, o); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("at least %d MiB", named)) {
				t.Errorf("a MiB less than the %d that were named: %v", named, err)
			}
			// Above the least nothing is refused: settings shrink instead.
			step := int64(1 << 20)
			if testing.Short() {
				step *= 8
			}
			for limit := roomy.MinBudget; limit < 300<<20; limit += step {
				p, err := at(limit, o)
				if err != nil {
					t.Errorf("%d bytes: %v", limit, err)
				}
				// Prompts in small pieces come before weights from the disk.
				small := o
				small.BatchTokens = cmp.Or(o.BatchTokens, leastBatch)
				if q, err := at(limit, small); err == nil && q.Regime != plan.C && p.Regime == plan.C {
					t.Errorf("%d bytes: streamed, though a smaller batch leaves room", limit)
				}
			}
			if p, err := at(roomy.ResidentBudget, o); err != nil || o.Context*o.Parallel*o.BatchTokens > 0 && p.Regime == plan.C {
				t.Errorf("from %d bytes on nothing is streamed, it was said: %v, %v", roomy.ResidentBudget, p.Title(), err)
			}
		})
	}
}

// TestLeastStarts opens the model in the budget that a refusal names.
func TestLeastStarts(t *testing.T) {
	r, size, name := builtin.Model()
	o := Options{RAM: 8 << 20, Threads: 2, Serve: true}
	for range 8 {
		m, err := OpenReaderAt(t.Context(), r, size, name, o)
		var small *plan.TooSmallError
		if errors.As(err, &small) {
			o.RAM = (small.MinBudget + 1<<20 - 1) &^ (1<<20 - 1) // again where the process has grown
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if p := m.Plan(); p.Peak > o.RAM || p.MinBudget > o.RAM {
			t.Errorf("opened with %d bytes: least %d, peak %d", o.RAM, p.MinBudget, p.Peak)
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("%d bytes, named by the refusal before, are refused", o.RAM)
}
