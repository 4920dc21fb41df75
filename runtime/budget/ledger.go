package budget

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"
)

// ErrOverBudget is what every refusal wraps; the error itself is an
// [*OverBudgetError].
var ErrOverBudget = errors.New("over the memory budget")

// OverBudgetError says which request for memory was refused, and why.
type OverBudgetError struct {
	Purpose Purpose
	Asked   int64 // bytes
	Free    int64 // bytes that nobody held at that moment
	Limit   int64 // bytes, of the whole ledger
	Waiting int   // requests that came earlier and still wait; they go first
}

// Error names purpose, sizes and what to do.
func (e *OverBudgetError) Error() string {
	s := fmt.Sprintf("budget: %v: asked for %s, %s of %s are free", e.Purpose, FormatSize(e.Asked), FormatSize(e.Free), FormatSize(e.Limit))
	if e.Waiting > 0 {
		s += fmt.Sprintf(" (%d earlier requests wait)", e.Waiting)
	}
	if e.Asked > e.Limit {
		return s + "; this can never fit, raise the limit"
	}
	return s + "; release memory or raise the limit"
}

// Unwrap returns [ErrOverBudget].
func (e *OverBudgetError) Unwrap() error { return ErrOverBudget }

// Ledger hands out leases whose sum never exceeds its limit.
type Ledger struct {
	limit int64

	mu      sync.Mutex
	used    int64
	high    int64
	refused uint64
	by      [numPurposes]Usage
	waiters list.List // of *waiter, oldest first
}

// waiter is one blocked Acquire. Its lease is set and granted is closed in one
// step under the ledger's mutex, after it has left the queue.
type waiter struct {
	p       Purpose
	n       int64
	granted chan struct{}
	lease   *Lease
}

// New makes a ledger of limit bytes. A limit below zero counts as zero.
func New(limit int64) *Ledger { return &Ledger{limit: max(limit, 0)} }

// Limit returns the limit in bytes.
func (l *Ledger) Limit() int64 { return l.limit }

// Free returns the bytes that nobody holds now.
func (l *Ledger) Free() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.limit - l.used
}

// TryAcquire leases n >= 0 bytes or fails at once with an [*OverBudgetError].
// It does not overtake requests that wait in [Ledger.Acquire].
func (l *Ledger) TryAcquire(p Purpose, n int64) (*Lease, error) {
	if err := check(p, n); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if n > l.limit-l.used || l.waiters.Len() > 0 && n > 0 {
		return nil, l.refuse(p, n)
	}
	return l.grant(p, n), nil
}

// Acquire leases n >= 0 bytes and waits until they are free, in order of
// arrival: a large request is not starved by small ones. It fails with an
// [*OverBudgetError] at once if n exceeds the limit, and with the context's
// error when that ends first. Callers bound how many of them wait.
func (l *Ledger) Acquire(ctx context.Context, p Purpose, n int64) (*Lease, error) {
	if err := check(p, n); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("budget: %v: %s: %w", p, FormatSize(n), err)
	}
	l.mu.Lock()
	if n > l.limit {
		defer l.mu.Unlock()
		return nil, l.refuse(p, n)
	}
	if n <= l.limit-l.used && l.waiters.Len() == 0 {
		defer l.mu.Unlock()
		return l.grant(p, n), nil
	}
	w := &waiter{p: p, n: n, granted: make(chan struct{})}
	e := l.waiters.PushBack(w)
	l.mu.Unlock()

	select {
	case <-w.granted:
		return w.lease, nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.lease != nil { // granted in the meantime: the caller does not want it any more
		w.lease.resize(0)
		w.lease.done()
	} else {
		l.waiters.Remove(e)
	}
	l.serve() // those behind may fit now
	return nil, fmt.Errorf("budget: %v: waiting for %s: %w", p, FormatSize(n), ctx.Err())
}

func check(p Purpose, n int64) error {
	if p >= numPurposes || n < 0 {
		return fmt.Errorf("budget: impossible request: %v, %d bytes", p, n)
	}
	return nil
}

// refuse counts and describes a refusal. Called with mu held.
func (l *Ledger) refuse(p Purpose, n int64) error {
	l.refused++
	return &OverBudgetError{Purpose: p, Asked: n, Free: l.limit - l.used, Limit: l.limit, Waiting: l.waiters.Len()}
}

// grant makes a lease of bytes known to be free. Called with mu held.
func (l *Ledger) grant(p Purpose, n int64) *Lease {
	e := &Lease{ledger: l, p: p, live: true}
	l.by[p].Leases++
	e.resize(n)
	return e
}

// serve grants what waits, oldest first, until one does not fit. Called with
// mu held.
func (l *Ledger) serve() {
	for e := l.waiters.Front(); e != nil; e = l.waiters.Front() {
		w := e.Value.(*waiter)
		if w.n > l.limit-l.used {
			return
		}
		l.waiters.Remove(e)
		w.lease = l.grant(w.p, w.n)
		close(w.granted)
	}
}

// Lease is the right to hold some bytes for one purpose. The nil lease holds
// nothing and may be released.
type Lease struct {
	ledger *Ledger
	p      Purpose

	// guarded by ledger.mu
	n    int64
	live bool
}

// Bytes returns the size of the lease, 0 after Release.
func (e *Lease) Bytes() int64 {
	if e == nil {
		return 0
	}
	e.ledger.mu.Lock()
	defer e.ledger.mu.Unlock()
	return e.n
}

// Resize changes the lease to n >= 0 bytes. Shrinking always works. Growing
// takes what is free, ahead of requests that wait (a holder that can go on
// will release sooner than one that cannot), or fails with an
// [*OverBudgetError] and leaves the lease as it was.
func (e *Lease) Resize(n int64) error {
	if e == nil {
		return errors.New("budget: resize of a nil lease")
	}
	if err := check(e.p, n); err != nil {
		return err
	}
	l := e.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	if !e.live {
		return fmt.Errorf("budget: %v: resize of a released lease", e.p)
	}
	if n-e.n > l.limit-l.used {
		return l.refuse(e.p, n-e.n)
	}
	e.resize(n)
	l.serve()
	return nil
}

// Release gives the bytes back. Further calls do nothing.
func (e *Lease) Release() {
	if e == nil {
		return
	}
	l := e.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	if !e.live {
		return
	}
	e.resize(0)
	e.done()
	l.serve()
}

// resize books the difference. Called with ledger.mu held.
func (e *Lease) resize(n int64) {
	l, u := e.ledger, &e.ledger.by[e.p]
	l.used += n - e.n
	u.Used += n - e.n
	e.n = n
	l.high = max(l.high, l.used)
	u.High = max(u.High, u.Used)
}

// done ends the lease. Called with ledger.mu held.
func (e *Lease) done() {
	e.live = false
	e.ledger.by[e.p].Leases--
}

// Usage is the state of one purpose.
type Usage struct {
	Used   int64 `json:"used_bytes"`
	High   int64 `json:"high_bytes"` // the most that was ever leased at once
	Leases int   `json:"leases"`
}

// Stats is a consistent picture of a ledger.
type Stats struct {
	Limit   int64              `json:"limit_bytes"`
	Used    int64              `json:"used_bytes"`
	High    int64              `json:"high_bytes"` // the most that was ever leased at once
	Leases  int                `json:"leases"`
	Waiting int                `json:"waiting"` // blocked Acquire calls
	Refused uint64             `json:"refused"` // requests answered with ErrOverBudget
	By      [numPurposes]Usage `json:"-"`       // indexed by Purpose
}

// Stats returns the state of the ledger at one moment.
func (l *Ledger) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Stats{Limit: l.limit, Used: l.used, High: l.high, Waiting: l.waiters.Len(), Refused: l.refused, By: l.by}
	for _, u := range l.by {
		s.Leases += u.Leases
	}
	return s
}

// Purposes returns every purpose, in table order.
func Purposes() []Purpose {
	ps := make([]Purpose, numPurposes)
	for i := range ps {
		ps[i] = Purpose(i)
	}
	return ps
}
