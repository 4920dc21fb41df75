package residency

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lamina-llm/lamina/runtime/budget"
	"github.com/lamina-llm/lamina/runtime/plan"
)

var errDisk = errors.New("disk on fire")

// content is what a source must deliver for a unit.
func content(unit int, n int64) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(unit*31 + i*7 + 1)
	}
	return b
}

// source is a disk: it takes time, fails on request and obeys its context.
type source struct {
	delay time.Duration
	bind  time.Duration // of the binder behind it

	mu    sync.Mutex
	fail  map[int]int   // by unit: reads that fail from now on
	short map[int]int   // by unit: reads that end early from now on
	reads map[int]int   // by unit: reads begun
	bytes map[int]int64 // by unit: bytes delivered

	flip atomic.Int64 // unit+1 that is found damaged once
}

func (s *source) Read(ctx context.Context, unit int, dst []byte, off int64) error {
	s.mu.Lock()
	if s.reads == nil {
		s.reads, s.bytes = map[int]int{}, map[int]int64{}
	}
	if off == 0 {
		s.reads[unit]++
	}
	fail, short := s.fail[unit] > 0, s.short[unit] > 0
	if fail {
		s.fail[unit]--
	} else if short {
		s.short[unit]--
	}
	s.mu.Unlock()
	for i := range dst[:cap(dst)] {
		dst[:cap(dst)][i] = 0xee // whatever was there is gone from now on
	}
	if s.delay > 0 {
		select {
		case <-time.After(s.delay):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	want := content(unit, off+int64(len(dst)))[off:]
	switch {
	case fail:
		return errDisk
	case short:
		copy(dst, want[:len(dst)/2])
		return fmt.Errorf("%d of %d bytes: %w", len(dst)/2, len(dst), errDisk)
	}
	copy(dst, want)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes[unit] += int64(len(dst))
	return nil
}

// Check finds flipped bytes and whatever was not read.
func (s *source) Check(unit int, coded []byte, from, to int64) error {
	if s.flip.CompareAndSwap(int64(unit)+1, 0) {
		coded[to-1] ^= 1
	}
	if !bytes.Equal(coded[from:to], content(unit, to)[from:]) {
		return errDisk
	}
	return nil
}

func (s *source) count(unit int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads[unit]
}

// value is a bound unit; its data is borrowed from the store.
type value struct {
	unit     int
	unpacked bool
	data     []byte
}

// binder "decodes" by inverting the bytes and repeating them.
type binder struct {
	p     *plan.Plan
	fail  map[int]bool // fixed before use
	delay time.Duration
	busy  []atomic.Bool // by unit
}

func (b binder) Bind(unit int, coded []byte) (value, error) {
	if b.fail[unit] {
		return value{}, errDisk
	}
	if !b.busy[unit].CompareAndSwap(false, true) {
		return value{}, fmt.Errorf("unit %d: bound twice at a time", unit)
	}
	defer b.busy[unit].Store(false)
	time.Sleep(b.delay)
	if int64(len(coded)) != b.p.Units[unit].CodedBytes || int64(cap(coded)-len(coded)) < b.p.Slack {
		return value{}, fmt.Errorf("unit %d: bound with len %d cap %d", unit, len(coded), cap(coded))
	}
	return value{unit: unit, data: coded}, nil
}

func (b binder) Unpack(unit int, coded, dst []byte) (value, error) {
	if _, err := b.Bind(unit, coded); err != nil {
		return value{}, err
	}
	for i := range dst {
		dst[i] = ^coded[i%len(coded)]
	}
	return value{unit: unit, unpacked: true, data: dst}, nil
}

// check compares the bytes behind v with what they must be.
func (b binder) check(v value, unit int) error {
	u := b.p.Units[unit]
	want := content(unit, u.CodedBytes)
	if u.Placement == plan.Unpacked {
		full := make([]byte, u.UnpackedBytes)
		for i := range full {
			full[i] = ^want[i%len(want)]
		}
		want = full
	}
	if v.unit != unit || v.unpacked != (u.Placement == plan.Unpacked) || !bytes.Equal(v.data, want) {
		return fmt.Errorf("unit %d: wrong value: unit %d, unpacked %v, %d bytes", unit, v.unit, v.unpacked, len(v.data))
	}
	return nil
}

// rig is a store with all that surrounds it.
type rig struct {
	p      plan.Plan
	ledger *budget.Ledger
	src    *source
	bind   binder
	store  *Store[value]

	depth int   // reads at a time; 0 is the default
	block int64 // bytes of a read; 0 is the default
}

// newRig opens a store on the plan for in; the ledger allows exactly the
// budget of the plan.
func newRig(t testing.TB, in plan.Input, src *source) *rig {
	t.Helper()
	return newDeepRig(t, in, src, 0, 0)
}

// newDeepRig is newRig with so many reads of so many bytes at a time.
func newDeepRig(t testing.TB, in plan.Input, src *source, depth int, block int64) *rig {
	t.Helper()
	p, err := plan.Make(in)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{p: p, ledger: budget.New(p.Budget), src: src, depth: depth, block: block}
	r.bind.p = &r.p
	if err := r.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) open(ctx context.Context) (err error) {
	r.bind.delay, r.bind.busy = r.src.bind, make([]atomic.Bool, len(r.p.Units))
	r.store, err = Open(ctx, Options[value]{Plan: r.p, Ledger: r.ledger, Source: r.src, Binder: r.bind, Depth: r.depth, Block: r.block})
	return err
}

// close closes the store, which must leave nothing behind.
func (r *rig) close(t testing.TB) {
	t.Helper()
	if err := r.store.Close(); err != nil {
		t.Error(err)
	}
	r.checkEmpty(t)
	if st := r.store.Stats(); st.Refs != 0 || st.InUse != 0 {
		t.Errorf("after Close: %+v", st)
	}
}

func (r *rig) checkEmpty(t testing.TB) {
	t.Helper()
	if st := r.ledger.Stats(); st.Used != 0 || st.Leases != 0 || st.High > st.Limit {
		t.Errorf("ledger: %+v", st)
	}
}

// pass visits every unit as a forward pass does and checks what it gets,
// before and after a pause of d.
func (r *rig) pass(ctx context.Context, upto int, d time.Duration) error {
	for unit := range upto {
		v, release, err := r.store.Acquire(ctx, unit)
		if err != nil {
			return err
		}
		err = r.bind.check(v, unit)
		if err == nil && d > 0 {
			time.Sleep(d)
			err = r.bind.check(v, unit)
		}
		release()
		if err != nil {
			return err
		}
	}
	return nil
}

// picture draws the slots: those in use, then the queue, then the empty ones.
func (s *Store[T]) picture() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, r := range s.held {
		fmt.Fprintf(&b, "[%d in use] ", r.unit)
	}
	for _, r := range s.queue {
		state := "reading"
		if r.ready {
			state = "ready"
		}
		fmt.Fprintf(&b, "[%d %s] ", r.unit, state)
	}
	free := 0
	s.window.gaps(s.window.live, func(_ int, g piece) { free += g.n / s.window.page })
	b.WriteString(strings.Repeat("[ ] ", free))
	return strings.TrimSpace(b.String())
}
