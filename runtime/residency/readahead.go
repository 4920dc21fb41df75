package residency

import (
	"context"

	"github.com/lamina-llm/lamina/runtime/arena"
)

// read is the passage of one streamed unit through a slot.
type read[T any] struct {
	pos   int // position in order
	unit  int
	coded []byte // its part of the window, with all the capacity that there is
	value T
	refs  int
	ready bool
	ended bool // finish was called

	asked   int64 // bytes whose reading has begun
	flight  int   // blocks being read
	got     int64 // bytes that have arrived
	binding bool
	err     error // the first thing that went wrong

	dropped bool               // nobody wants it any more
	ctx     context.Context    // of its reads
	cancel  context.CancelFunc // ends ctx
}

// idle reports whether no goroutine works on r. Called with mu held.
func (r *read[T]) idle() bool { return r.flight == 0 && !r.binding }

// block is a part of a unit.
type block struct {
	off int64
	dst []byte
}

// readAhead is what each of the store's goroutines does: it reads the next block
// of the next streamed unit, around the loop, until ctx ends. Blocks are begun
// in order, so that the unit that is wanted first is there first, and units
// follow each other without a break as long as there are slots.
func (s *Store[T]) readAhead() {
	for s.run.Err() == nil {
		s.mu.Lock()
		r, b := s.start()
		s.mu.Unlock()
		if r == nil {
			select {
			case <-s.kick:
			case <-s.run.Done():
			}
			continue
		}
		signal(s.kick) // there may be more for others
		arena.Evict(b.dst)
		err := s.read(r.ctx, r.unit, b)
		s.mu.Lock()
		s.arrive(r, b, err)
		s.mu.Unlock()
	}
}

// start begins the next block, and if it is the first of its unit, moves a slot
// from empty to reading. It returns nil if there is no slot, or no reason to.
// Called with mu held.
func (s *Store[T]) start() (*read[T], block) {
	if s.paused {
		return nil, block{}
	}
	if n := len(s.queue); n > 0 {
		switch r := s.queue[n-1]; {
		case r.err != nil:
			return nil, block{}
		case r.asked < int64(len(r.coded)):
			return r, s.ask(r)
		}
	}
	unit := s.order[s.next]
	if s.binds[unit] { // for a read that was dropped: once that has finished
		return nil, block{}
	}
	coded := s.window.take(s.o.Plan.Units[unit].CodedBytes, s.o.Plan.Slack)
	if coded == nil {
		return nil, block{}
	}
	r := &read[T]{pos: s.next, unit: unit, coded: coded}
	r.ctx, r.cancel = context.WithCancel(s.run)
	s.next = (s.next + 1) % len(s.order)
	s.queue = append(s.queue, r)
	return r, s.ask(r)
}

// ask takes the next block of r. Called with mu held.
func (s *Store[T]) ask(r *read[T]) block {
	b := s.block(r.coded, int(r.asked/s.o.Block))
	r.asked += int64(len(b.dst))
	r.flight++
	return b
}

func (s *Store[T]) blocks(n int) int { return int((int64(n) + s.o.Block - 1) / s.o.Block) }

// block returns a part of coded. All but the last end where the next begins.
func (s *Store[T]) block(coded []byte, i int) block {
	off := int64(i) * s.o.Block
	if end := off + s.o.Block; end < int64(len(coded)) {
		return block{off, coded[off:end:end]}
	}
	return block{off, coded[off:]}
}

// arrive takes note of a block that was read, or not, and binds the unit once all
// are there. Called with mu held, which is let go meanwhile.
func (s *Store[T]) arrive(r *read[T], b block, err error) {
	r.flight--
	r.fail(err)
	if err == nil {
		r.got += int64(len(b.dst))
		s.stats.BytesRead += uint64(len(b.dst))
	}
	whole := r.got == int64(len(r.coded))
	if whole && r.err == nil && !r.dropped {
		r.binding, s.binds[r.unit] = true, true
		s.mu.Unlock()
		value, err := s.o.Binder.Bind(r.unit, s.bindable(r.coded))
		if err != nil {
			err = s.errorf(r.unit, "binding", err)
		}
		s.mu.Lock()
		r.binding, s.binds[r.unit] = false, false
		r.value = value
		r.fail(err)
	}
	if !r.ended && r.idle() && (r.err != nil || r.dropped || whole) {
		s.finish(r)
	}
}

// fail keeps the first error of r and breaks the rest of its reads off. Called
// with mu held.
func (r *read[T]) fail(err error) {
	if err != nil && r.err == nil {
		r.err = err
		r.cancel()
	}
}

// finish moves the slot from reading to ready, or back to empty if the read has
// failed or nobody wants it any more. Called with mu held, once r is idle.
func (s *Store[T]) finish(r *read[T]) {
	r.cancel()
	r.ended = true
	s.stats.Reads++
	switch {
	case r.dropped:
		s.window.give(r.coded)
	case r.err != nil:
		s.undo(r)
	default:
		r.ready = true
	}
	signal(s.kick)
	signal(s.progress)
}

// undo takes a failed read, and what was read behind it, out of the queue. It
// is read again when somebody asks. Called with mu held.
func (s *Store[T]) undo(r *read[T]) {
	for last := len(s.queue) - 1; s.queue[last] != r; last-- {
		s.drop(s.queue[last])
		s.queue = s.queue[:last]
	}
	s.queue = s.queue[:len(s.queue)-1]
	s.window.give(r.coded)
	s.next, s.paused = r.pos, true
	if s.isClosed() {
		return
	}
	s.stats.Errors++
	if s.waiting == r.unit {
		s.failure = r.err
	}
	s.log.Warn("reading ahead failed; the next use tries again", "unit", r.unit, "error", r.err)
}
