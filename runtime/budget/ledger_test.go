package budget_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lamina-llm/lamina/runtime/budget"
)

func must(t *testing.T) func(*budget.Lease, error) *budget.Lease {
	return func(e *budget.Lease, err error) *budget.Lease {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
}

func TestLeaseLife(t *testing.T) {
	l := budget.New(100)
	a := must(t)(l.TryAcquire(budget.KV, 60))
	_, err := l.TryAcquire(budget.HTTP, 41)
	var over *budget.OverBudgetError
	if !errors.As(err, &over) || !errors.Is(err, budget.ErrOverBudget) {
		t.Fatalf("got %v", err)
	}
	if want := (budget.OverBudgetError{Purpose: budget.HTTP, Asked: 41, Free: 40, Limit: 100}); *over != want {
		t.Errorf("refusal %+v, want %+v", *over, want)
	}
	if s := err.Error(); !strings.Contains(s, "http: asked for 41 B, 40 B of 100 B are free") {
		t.Errorf("message %q", s)
	}
	b := must(t)(l.TryAcquire(budget.HTTP, 40))
	if err := a.Resize(61); !errors.Is(err, budget.ErrOverBudget) || a.Bytes() != 60 {
		t.Errorf("grow beyond the limit: %v, lease %d", err, a.Bytes())
	}
	if err := a.Resize(10); err != nil || l.Free() != 50 {
		t.Errorf("shrink: %v, free %d", err, l.Free())
	}
	a.Release()
	a.Release()
	if err := a.Resize(1); err == nil {
		t.Error("resize of a released lease worked")
	}
	s := l.Stats()
	if s.Used != 40 || s.High != 100 || s.Leases != 1 || s.Refused != 2 ||
		s.By[budget.KV] != (budget.Usage{High: 60}) || s.By[budget.HTTP] != (budget.Usage{Used: 40, High: 40, Leases: 1}) {
		t.Errorf("stats %+v", s)
	}
	b.Release()
	if _, err := l.TryAcquire(budget.KV, -1); err == nil {
		t.Error("a negative size was leased")
	}
	if _, err := l.Acquire(t.Context(), budget.KV, 101); !errors.Is(err, budget.ErrOverBudget) {
		t.Errorf("more than the limit: %v", err)
	}
	(*budget.Lease)(nil).Release()
}

// A large request that waits is not overtaken, and a cancelled one lets those
// behind it through.
func TestAcquireOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := budget.New(100)
		first := must(t)(l.TryAcquire(budget.KV, 60))
		ctx, cancel := context.WithCancel(t.Context())
		var order, refused []string // granted and cancelled, each in order of arrival
		var mu sync.Mutex
		ask := func(ctx context.Context, name string, n int64) {
			go func() {
				e, err := l.Acquire(ctx, budget.KV, n)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					if !errors.Is(err, context.Canceled) || e != nil {
						t.Errorf("%s: %v", name, err)
					}
					refused = append(refused, name)
					return
				}
				order = append(order, name)
			}()
			synctest.Wait()
		}
		expect := func(want string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if got := strings.Join(order, ","); got != want {
				t.Errorf("order %q, want %q", got, want)
			}
		}
		ask(ctx, "large", 90)
		ask(t.Context(), "small", 30)
		expect("")
		if _, err := l.TryAcquire(budget.KV, 1); !errors.Is(err, budget.ErrOverBudget) {
			t.Errorf("TryAcquire overtook the queue: %v", err)
		}
		if s := l.Stats(); s.Waiting != 2 {
			t.Errorf("%d wait, want 2", s.Waiting)
		}
		cancel()
		expect("small")
		if got := strings.Join(refused, ","); got != "large" {
			t.Errorf("cancelled %q, want large", got)
		}
		ask(t.Context(), "third", 70)
		first.Release()
		expect("small,third")
		if s := l.Stats(); s.Used != 100 || s.Waiting != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

// Many goroutines lease, grow, shrink, give up and release; the holders' own
// count of what they hold never exceeds the limit.
func TestNeverOverLimit(t *testing.T) {
	const limit = 1000
	l := budget.New(limit)
	var held atomic.Int64
	take := func(n int64) {
		if h := held.Add(n); h > limit {
			t.Errorf("%d bytes held of %d", h, limit)
		}
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(g)))
			for range 400 {
				n := r.Int64N(limit / 3)
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(r.IntN(300))*time.Microsecond)
				var e *budget.Lease
				var err error
				if r.IntN(2) == 0 {
					e, err = l.Acquire(ctx, budget.Purpose(g), n)
				} else {
					e, err = l.TryAcquire(budget.Purpose(g), n)
				}
				cancel()
				if err != nil {
					continue
				}
				take(n)
				if more := n + r.Int64N(limit/3); e.Resize(more) == nil {
					take(more - n)
					n = more
				}
				held.Add(-n)
				e.Release()
			}
		})
	}
	wg.Wait()
	if s := l.Stats(); s.Used != 0 || s.Leases != 0 || s.Waiting != 0 || s.High > limit {
		t.Errorf("left over: %+v", s)
	}
}

func BenchmarkTryAcquire(b *testing.B) {
	l := budget.New(1 << 30)
	b.ReportAllocs()
	for b.Loop() {
		e, err := l.TryAcquire(budget.KV, 1)
		if err != nil {
			b.Fatal(err)
		}
		e.Release()
	}
}
