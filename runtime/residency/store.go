package residency

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/lamina-llm/lamina/runtime/arena"
	"github.com/lamina-llm/lamina/runtime/plan"
)

// Store holds the units of one model. Make it with [Open].
type Store[T any] struct {
	o   Options[T]
	log *slog.Logger

	// Fixed once Open has returned.
	resident []resident[T] // by unit; empty for streamed ones
	order    []int         // streamed units in visiting order
	ahead    []int         // by unit: position in order of the first streamed unit from there on, around the loop
	slots    *arena.Slab   // nil if nothing is streamed
	regions  []*arena.Region

	run      context.Context    // of the read-ahead
	cancel   context.CancelFunc // stops it
	wg       sync.WaitGroup     // the read-ahead
	done     chan struct{}      // closed by Close
	kick     chan struct{}      // capacity 1: there may be something to read
	progress chan struct{}      // capacity 1: a read has ended
	turn     chan struct{}      // capacity 1: filled by the Acquire that waits
	closing  sync.Once
	closeErr error

	mu      sync.Mutex
	window  window     // of slots
	queue   []*read[T] // reading or ready, in visiting order; of all but the last every block is asked for
	held    []*read[T] // in use
	next    int        // position in order that is read next
	binds   []bool     // by unit: it is being bound, for a read that may have been dropped
	paused  bool       // a read has failed and nobody has asked since
	waiting int        // unit that the holder of turn waits for, or -1
	failure error      // how reading that unit ended
	refs    int        // acquired and not released
	stopped bool       // the read-ahead has ended; the last release frees the memory
	stats   Stats
}

// resident is a unit that stays.
type resident[T any] struct {
	value T
	slab  *arena.Slab
}

// Open loads what the plan keeps in memory and starts to read ahead. ctx bounds
// the loading only. On error nothing stays allocated.
func Open[T any](ctx context.Context, o Options[T]) (*Store[T], error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o.Workers, o.Depth, o.Block = cmp.Or(o.Workers, 2), cmp.Or(o.Depth, DefaultDepth), cmp.Or(o.Block, DefaultBlock)
	s := &Store[T]{
		o: o, log: o.Logger,
		resident: make([]resident[T], len(o.Plan.Units)),
		ahead:    make([]int, len(o.Plan.Units)),
		binds:    make([]bool, len(o.Plan.Units)),
		done:     make(chan struct{}), kick: make(chan struct{}, 1),
		progress: make(chan struct{}, 1), turn: make(chan struct{}, 1),
		waiting: -1,
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.order = s.placed(plan.Streamed)
	for i, u := range o.Plan.Units {
		s.stats.count(u)
		pos := s.stats.Streamed
		if u.Placement == plan.Streamed {
			pos-- // itself
		}
		if pos < len(s.order) { // else around to 0
			s.ahead[i] = pos
		}
	}
	if err := s.load(ctx); err != nil {
		s.freeAll()
		return nil, err
	}
	s.run, s.cancel = context.WithCancel(context.Background())
	if len(s.order) > 0 {
		for range o.Depth {
			s.wg.Go(s.readAhead)
		}
	}
	return s, nil
}

// Acquire returns unit, which stays valid until release is called; further
// calls of release do nothing. Resident units come at once. For a streamed one
// Acquire waits until it has been read, or ctx ends, or reading it fails; the
// next Acquire then tries again. The caller releases one streamed unit before
// it acquires another, or at any rate leaves room for it in the slots: otherwise
// Acquire fails with [ErrInUse].
func (s *Store[T]) Acquire(ctx context.Context, unit int) (value T, release func(), err error) {
	var none T
	if unit < 0 || unit >= len(s.resident) {
		return none, nil, fmt.Errorf("residency: no unit %d, there are %d", unit, len(s.resident))
	}
	if err := ctx.Err(); err != nil {
		return none, nil, s.errorf(unit, "acquiring", err)
	}
	if s.o.Plan.Units[unit].Placement == plan.Streamed {
		r, err := s.await(ctx, unit)
		if err != nil {
			return none, nil, err
		}
		return r.value, s.releaser(r), nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isClosed() {
		return none, nil, s.errorf(unit, "acquiring", ErrClosed)
	}
	s.refs++
	s.stats.Hits++
	if len(s.order) > 0 {
		select {
		case s.turn <- struct{}{}:
			s.steer(unit)
			<-s.turn
		default: // another visitor waits for its own unit
		}
	}
	return s.resident[unit].value, s.releaser(nil), nil
}

// await takes the turn and waits for a streamed unit.
func (s *Store[T]) await(ctx context.Context, unit int) (*read[T], error) {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, s.errorf(unit, "acquiring", ctx.Err())
	case <-s.done:
		return nil, s.errorf(unit, "acquiring", ErrClosed)
	}
	defer func() { <-s.turn }()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.held {
		if r.unit == unit && !s.isClosed() {
			r.refs++
			s.refs++
			s.stats.Hits++
			return r, nil
		}
	}
	if !s.isClosed() && !s.fits(unit) {
		return nil, s.errorf(unit, "acquiring", fmt.Errorf("%w: all %d slots, release one first", ErrInUse, s.o.Plan.Slots))
	}
	s.steer(unit)
	s.waiting, s.failure = unit, nil
	defer func() { s.waiting = -1 }()
	for waited := false; ; waited = true {
		switch {
		case s.isClosed():
			return nil, s.errorf(unit, "acquiring", ErrClosed)
		case s.failure != nil:
			return nil, s.failure
		case len(s.queue) > 0 && s.queue[0].ready: // steer has seen to it that this is the unit
			if !waited {
				s.stats.Hits++
			}
			return s.take(), nil
		}
		if !waited {
			s.stats.Waits++
		}
		start := time.Now()
		err := s.wait(ctx)
		s.stats.WaitTime += time.Since(start)
		if err != nil {
			return nil, s.errorf(unit, "acquiring", err)
		}
	}
}

// wait waits until a read has ended, or the store or ctx has. Called with mu and
// the turn held; mu is let go meanwhile.
func (s *Store[T]) wait(ctx context.Context) error {
	s.mu.Unlock()
	defer s.mu.Lock()
	select {
	case <-s.progress:
	case <-s.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// fits reports whether the window has room for a unit beside those in use. Called
// with mu held.
func (s *Store[T]) fits(unit int) bool {
	w := window{mem: s.window.mem, page: s.window.page}
	for _, p := range s.window.live {
		if slices.ContainsFunc(s.held, func(r *read[T]) bool { return &r.coded[0] == &w.mem[p.off] }) {
			w.live = append(w.live, p)
		}
	}
	return w.take(s.o.Plan.Units[unit].CodedBytes, s.o.Plan.Slack) != nil
}

// take moves the front of the queue into use. Called with mu held.
func (s *Store[T]) take() *read[T] {
	r := s.queue[0]
	s.queue = append(s.queue[:0], s.queue[1:]...)
	s.held = append(s.held, r)
	r.refs = 1
	s.refs++
	return r
}

// steer points the read-ahead to the first streamed unit from unit on: reads
// of other units are dropped, and a read-ahead that failed is allowed to try
// again. While the visitor keeps to the order nothing is dropped. Called with
// mu and the turn held.
func (s *Store[T]) steer(unit int) {
	want := s.ahead[unit]
	moved := false
	for len(s.queue) > 0 && s.queue[0].pos != want {
		s.drop(s.queue[0])
		s.queue = append(s.queue[:0], s.queue[1:]...)
		moved = true
	}
	if len(s.queue) == 0 {
		s.next = want
	}
	if moved || s.paused {
		s.paused = false
		signal(s.kick)
	}
}

// drop gives up a read of the queue. Called with mu held.
func (s *Store[T]) drop(r *read[T]) {
	s.stats.Dropped++
	r.dropped = true
	r.cancel()
	if r.ready || r.idle() { // else whoever works on it frees the slot
		s.window.give(r.coded)
	}
}

// releaser returns the function that ends one reference, to r or, if r is nil,
// to a resident unit.
func (s *Store[T]) releaser(r *read[T]) func() {
	released := false
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if released {
			return
		}
		released = true
		s.refs--
		if r != nil {
			s.put(r)
		}
		if s.stopped && s.refs == 0 {
			s.freeAll()
		}
	}
}

// put ends one use of a streamed unit; the last one empties its slot. Called
// with mu held.
func (s *Store[T]) put(r *read[T]) {
	if r.refs--; r.refs > 0 {
		return
	}
	for i := range s.held {
		if s.held[i] == r {
			s.held = append(s.held[:i], s.held[i+1:]...)
			break
		}
	}
	s.window.give(r.coded)
	signal(s.kick)
}

// Close stops the read-ahead, ends waiting calls with [ErrClosed] and frees the
// memory. If units are still acquired it returns [ErrInUse] and the memory is
// freed by their last release. Further calls return the same.
func (s *Store[T]) Close() error {
	s.closing.Do(func() {
		close(s.done)
		s.cancel()
		s.wg.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.stopped = true
		if s.refs > 0 {
			s.closeErr = fmt.Errorf("residency: %w: %d references at Close", ErrInUse, s.refs)
			return
		}
		s.freeAll()
	})
	return s.closeErr
}

// freeAll frees every slab. Nothing may be in use.
func (s *Store[T]) freeAll() {
	for i := range s.resident {
		s.resident[i].slab.Free()
		s.resident[i] = resident[T]{}
	}
	s.slots.Free()
	for _, region := range s.regions {
		region.Close()
	}
	s.window, s.queue = window{}, nil
}

func (s *Store[T]) isClosed() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// signal fills a channel of capacity 1 unless it is full already.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
