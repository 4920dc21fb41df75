package sched

import "time"

// A follower that found no work goes on looking for between leastSpin and
// mostSpin, letting others have the processor now and then, and then sleeps. The gaps
// within a token are as long as the last part of a loop that somebody else runs, up
// to some 100 us.
const (
	leastSpin = 2 * time.Microsecond
	mostSpin  = 200 * time.Microsecond
	looks     = 16 // between two glances at the clock; a look takes 0.05 to 0.2 us
)

// follow is the life of one follower.
func (p *Pool) follow(me *follower, worker int) {
	last := uint64(0) // the latest loop this follower was in
	spin := mostSpin
	for {
		loop, ok := p.await(last, spin)
		if !ok {
			asleep := time.Now()
			if loop, ok = p.sleep(me, last); !ok {
				return
			}
			if time.Since(asleep) < mostSpin {
				spin = min(mostSpin, 4*spin) // a little more patience would have found it
			} else {
				spin = max(leastSpin, spin/2) // leave an idle or crowded machine alone
			}
		} else {
			spin = min(mostSpin, spin*2)
		}
		last = loop
		p.assist(worker)
	}
}

// assist runs chunks of the loop that the follower has joined, then leaves.
func (p *Pool) assist(worker int) {
	defer func() {
		if s := p.state.Add(^uint64(0)); s&activeMask == 0 && s&sleeping != 0 {
			p.done <- struct{}{}
		}
	}()
	p.work(worker)
}

// tryJoin enters the loop that is open, unless it is the one numbered last.
func (p *Pool) tryJoin(last uint64) (loop uint64, ok bool) {
	for {
		s := p.state.Load()
		if loop = s >> loopShift; s&open == 0 || loop == last {
			return 0, false
		}
		if p.state.CompareAndSwap(s, s+1) {
			return loop, true
		}
	}
}

// await looks for a new loop without sleeping.
func (p *Pool) await(last uint64, spin time.Duration) (loop uint64, ok bool) {
	for begun := time.Now(); ; {
		for range looks {
			if loop, ok = p.tryJoin(last); ok {
				return loop, true
			}
			pause(4)
		}
		if time.Since(begun) >= spin {
			return 0, false
		}
		yield()
	}
}

// sleep blocks until there is a new loop, which it joins, or the pool stops.
func (p *Pool) sleep(me *follower, last uint64) (loop uint64, ok bool) {
	for {
		// Announce first, look again second: a loop that opens after the look
		// finds the follower asleep.
		me.asleep.Store(true)
		loop, ok = p.tryJoin(last)
		if ok || p.state.Load()&stopped != 0 {
			if !me.asleep.CompareAndSwap(true, false) {
				<-me.wake // somebody has already sent for us
			}
			return loop, ok
		}
		<-me.wake
		if loop, ok = p.tryJoin(last); ok {
			return loop, true
		}
		if p.state.Load()&stopped != 0 {
			return 0, false
		}
		// Woken for a loop that the others have finished already.
	}
}
