package residency

import "time"

// glance is how long a visitor waits for a queue between two looks at its context.
const glance = 20 * time.Millisecond

// flights are the blocks that a queue reads.
type flights[T any] struct {
	last  uint64 // token given out
	under map[uint64]flight[T]
}

// flight is one of them.
type flight[T any] struct {
	r *read[T]
	b block
}

// submit begins as many blocks as there is room for. Called with mu held.
func (s *Store[T]) submit() {
	f := &s.flights
	for len(f.under) < s.o.Depth && !s.isClosed() {
		r, b := s.start()
		if r == nil {
			return
		}
		if f.under == nil {
			f.under = map[uint64]flight[T]{}
		}
		f.last++
		f.under[f.last] = flight[T]{r, b}
		s.o.Queue.Submit(r.unit, b.dst, b.off, f.last)
	}
}

// collect takes note of the blocks that have been read, or if there are none waits
// up to d for some, and verifies what the visitor wants. Units behind that wait
// for their turn. Called with mu and the turn held; mu is let go meanwhile.
func (s *Store[T]) collect(d time.Duration) {
	if len(s.flights.under) > 0 {
		s.mu.Unlock()
		s.o.Queue.Wait(d, s.landed)
		s.mu.Lock()
		s.submit()
	}
	if len(s.queue) > 0 {
		s.advance(s.queue[0])
	}
}

// landed takes note of a block of the queue.
func (s *Store[T]) landed(token uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fl := s.flights.under[token]
	delete(s.flights.under, token)
	if err != nil {
		err = s.errorf(fl.r.unit, "reading", err)
	}
	s.arrive(fl.r, fl.b, err)
	if fl.r.err != nil || fl.r.dropped {
		s.advance(fl.r)
	}
}

// drain waits for the reads of a closed store's queue, and for the visitor that
// waits for them; there will be no other.
func (s *Store[T]) drain() {
	if s.o.Queue == nil {
		return
	}
	s.turn <- struct{}{}
	for n := 1; n > 0; {
		s.o.Queue.Wait(glance, s.landed)
		s.mu.Lock()
		n = len(s.flights.under)
		s.mu.Unlock()
	}
}
