package residency

import "context"

// readAhead is the store's goroutine: it fills empty slots with the next
// streamed units, around the loop, until ctx ends.
func (s *Store[T]) readAhead(ctx context.Context) {
	for ctx.Err() == nil {
		r := s.start(ctx)
		if r == nil {
			select {
			case <-s.kick:
			case <-ctx.Done():
			}
			continue
		}
		coded := r.slab.Bytes()[:s.o.Plan.Units[r.unit].CodedBytes]
		coded = coded[: len(coded) : len(coded)+int(s.o.Plan.Slack)]
		err := s.fetch(r.ctx, r.unit, coded)
		if err == nil {
			if r.value, err = s.o.Binder.Bind(r.unit, coded); err != nil {
				err = s.errorf(r.unit, "binding", err)
			}
		}
		r.cancel()
		s.finish(r, err)
	}
}

// start moves a slot from empty to reading, or returns nil if there is none or
// no reason to.
func (s *Store[T]) start(ctx context.Context) *read[T] {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.paused || len(s.free) == 0 {
		return nil
	}
	last := len(s.free) - 1
	r := &read[T]{pos: s.next, unit: s.order[s.next], slab: s.free[last]}
	r.ctx, r.cancel = context.WithCancel(ctx)
	s.free = s.free[:last]
	s.next = (s.next + 1) % len(s.order)
	s.queue = append(s.queue, r)
	return r
}

// finish moves the slot from reading to ready, or back to empty if the read
// has failed or nobody wants it any more.
func (s *Store[T]) finish(r *read[T], err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Reads++
	switch {
	case r.dropped:
		s.free = append(s.free, r.slab)
	case err != nil:
		// r is the last of the queue: nothing is read while it is.
		s.queue = s.queue[:len(s.queue)-1]
		s.free = append(s.free, r.slab)
		s.next, s.paused = r.pos, true
		if s.isClosed() {
			return
		}
		s.stats.Errors++
		if s.waiting == r.unit {
			s.failure = err
		}
		s.log.Warn("reading ahead failed; the next use tries again", "unit", r.unit, "error", err)
	default:
		r.ready = true
		s.stats.BytesRead += uint64(s.o.Plan.Units[r.unit].CodedBytes)
	}
	signal(s.progress)
}
