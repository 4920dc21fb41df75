package sched

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// Pool runs parallel loops on a fixed number of workers, the caller among
// them. It implements model.Pool.
type Pool struct {
	workers   int
	followers []*follower // workers 1 to workers-1
	wg        sync.WaitGroup

	mu sync.Mutex // held by the caller whose loop runs

	// The loop. Written by the caller while state is closed and nobody is
	// active, read by those who joined.
	f     func(worker, i int)
	chunk int64
	fail  atomic.Pointer[Panic]
	done  chan struct{} // the last follower to leave wakes a sleeping caller

	shares []share // one per worker

	_     [64]byte // the word below is shared by all and has its cache line
	state atomic.Uint64
	_     [56]byte
}

// share is a contiguous part of a loop. Its worker takes it from the front, so
// that what it reads lies one after another in memory; whoever runs out of work
// helps with the shares of others.
type share struct {
	next atomic.Int64 // first index that nobody has claimed
	end  int64
	_    [48]byte
}

// The state word. The upper half counts loops, so that a follower tells a new
// loop from one it has left already.
const (
	activeMask = 1<<16 - 1 // followers inside the loop
	open       = 1 << 16   // followers may join
	sleeping   = 1 << 17   // the caller sleeps on done
	stopped    = 1 << 18   // the pool is closed; followers exit
	loopShift  = 32
)

// follower is a worker other than the caller.
type follower struct {
	asleep atomic.Bool   // set by the follower, cleared by whoever then sends on wake
	wake   chan struct{} // capacity 1
	_      [40]byte
}

// Panic is the value with which For panics after a call of f has panicked.
type Panic struct {
	Value any    // what f panicked with
	Stack []byte // of the goroutine that ran f
}

// Error shows the value and the stack of the worker.
func (p *Panic) Error() string {
	return fmt.Sprintf("sched: panic in a loop: %v\n\n%s", p.Value, p.Stack)
}

// Unwrap returns the value if it is an error.
func (p *Panic) Unwrap() error {
	err, _ := p.Value.(error)
	return err
}

// New starts a pool of at most workers workers: never more than GOMAXPROCS,
// and that many if workers is below 1.
func New(workers int) *Pool {
	limit := min(runtime.GOMAXPROCS(0), activeMask)
	if workers < 1 || workers > limit {
		workers = limit
	}
	p := &Pool{workers: workers, done: make(chan struct{}, 1), shares: make([]share, workers)}
	for w := 1; w < workers; w++ {
		h := &follower{wake: make(chan struct{}, 1)}
		p.followers = append(p.followers, h)
		p.wg.Go(func() { p.follow(h, w) })
	}
	return p
}

// Workers returns the number of workers, the caller included.
func (p *Pool) Workers() int { return p.workers }

// For calls f(worker, i) for every i in [0, n) and returns when all calls have
// returned. Every worker begins with its own part of the indices, in ascending
// chunks, and then takes chunks from the parts of others. worker is in [0, Workers()) and unique among concurrent calls. f must
// not call For or runtime.Goexit. If a call of f panics, indices not yet begun
// may be left out and For panics with a [*Panic] on the caller's goroutine
// once all workers are out; the pool stays usable. After Close the caller does
// everything itself.
func (p *Pool) For(n int, f func(worker, i int)) {
	if n <= 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.f = f
	// An eighth of a fair share at a time: few claims, short tails.
	p.chunk = max(1, int64(n/(8*p.workers)))
	s := p.state.Load()
	alone := n == 1 || len(p.followers) == 0 || s&stopped != 0
	parts := p.workers
	if alone {
		parts = 1
	}
	for w := range p.shares {
		p.shares[w].next.Store(int64(n * min(w, parts) / parts))
		p.shares[w].end = int64(n * min(w+1, parts) / parts)
	}
	if alone {
		p.work(0)
	} else {
		p.state.Store((s>>loopShift+1)<<loopShift | open)
		p.rouse(min(n-1, len(p.followers)))
		p.share()
	}
	p.f = nil // release what the closure holds
	if fail := p.fail.Swap(nil); fail != nil {
		panic(fail)
	}
}

// rouse wakes up to n followers that sleep.
func (p *Pool) rouse(n int) {
	for _, h := range p.followers[:n] {
		if h.asleep.Load() && h.asleep.CompareAndSwap(true, false) {
			h.wake <- struct{}{}
		}
	}
}

// work claims and runs chunks until none are left or some call has panicked.
func (p *Pool) work(worker int) {
	defer func() {
		if v := recover(); v != nil {
			p.fail.CompareAndSwap(nil, &Panic{Value: v, Stack: debug.Stack()})
			for w := range p.shares {
				p.shares[w].next.Store(p.shares[w].end) // a claim of the same moment may still run
			}
		}
	}()
	chunk, f := p.chunk, p.f
	for k := range p.shares {
		own := &p.shares[(worker+k)%len(p.shares)]
		for own.next.Load() < own.end {
			from := own.next.Add(chunk) - chunk
			for i := from; i < min(from+chunk, own.end); i++ {
				f(worker, int(i))
			}
		}
	}
}

// share is the caller's part. The barrier holds even if f ends the goroutine.
func (p *Pool) share() {
	defer p.join()
	p.work(0)
}

// join closes the loop and waits for the followers that are inside.
func (p *Pool) join() {
	p.state.And(^uint64(open))
	for i := range 400 {
		if p.state.Load()&activeMask == 0 {
			return
		}
		if i < 200 {
			pause(4)
		} else {
			yield()
		}
	}
	for {
		s := p.state.Load()
		if s&activeMask == 0 {
			return
		}
		if p.state.CompareAndSwap(s, s|sleeping) {
			<-p.done
			p.state.And(^uint64(sleeping))
			return
		}
	}
}

// Close stops the followers and waits for them. A loop that runs ends first.
// Further calls do nothing.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state.Or(stopped)
	p.rouse(len(p.followers))
	p.wg.Wait()
}
