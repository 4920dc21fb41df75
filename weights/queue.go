package weights

import (
	"sync"
	"time"
)

// Queue reads parts of units side by side without a goroutine, or a thread,
// that waits for each. Submit and Wait may be called at the same time.
type Queue struct {
	f    *File
	ring *ring

	mu      sync.Mutex
	pending map[uint64]part
	own     []end // reads that Submit had to make itself
}

// part is a read under way.
type part struct {
	unit int
	dst  []byte
	off  int64
}

// end is a read that has ended.
type end struct {
	token uint64
	n     int
	err   error
}

// Queue returns a queue for up to depth reads, or nil if system or file have
// none: it takes [File.BypassCache] and reads past the page cache. Whoever calls
// it calls [Queue.Close] before that of f.
func (f *File) Queue(depth int) *Queue {
	if f.past == nil || !f.past.works() {
		return nil
	}
	r := newRing(f.past.direct, depth)
	if r == nil {
		return nil
	}
	return &Queue{f: f, ring: r, pending: make(map[uint64]part, depth)}
}

// Submit begins to read what [File.ReadUnitPart] would, and Wait will tell under
// that token how it ended; until then dst belongs to the queue. A read that
// cannot be queued, for one because depth others are under way, is made at once.
func (q *Queue) Submit(unit int, dst []byte, off int64, token uint64) {
	p := part{unit, dst, off}
	units := q.f.dir.units
	whole, direct := q.f.past.whole(dst)
	if unit >= 0 && unit < len(units) && off >= 0 && off%directAlign == 0 && off <= units[unit].Len-int64(len(dst)) && len(dst) > 0 && direct {
		q.mu.Lock()
		q.pending[token] = p
		q.mu.Unlock()
		if q.ring.submit(whole, units[unit].Off+off, token) {
			return
		}
		q.mu.Lock()
		delete(q.pending, token)
		q.mu.Unlock()
	}
	err := q.read(p)
	q.mu.Lock()
	q.own = append(q.own, end{token, len(dst), err})
	q.mu.Unlock()
}

// Wait tells ended about reads that have ended, of n bytes, and returns their
// number. If there are none it waits until there are, or until d has passed. Errors
// are those of ReadUnitPart.
func (q *Queue) Wait(d time.Duration, ended func(token uint64, n int, err error)) int {
	q.mu.Lock()
	own := q.own
	q.own = nil
	q.mu.Unlock()
	for _, e := range own {
		ended(e.token, e.n, e.err)
	}
	if len(own) > 0 {
		return len(own)
	}
	return q.ring.wait(d, func(token uint64, got int64) {
		n, err := q.settle(token, got)
		ended(token, n, err)
	})
}

// settle tells how a read of the ring ended that brought got bytes.
func (q *Queue) settle(token uint64, got int64) (n int, err error) {
	q.mu.Lock()
	p := q.pending[token]
	delete(q.pending, token)
	q.mu.Unlock()
	if got < int64(len(p.dst)) {
		err = q.read(p)
	}
	return len(p.dst), err // once more, which says what is wrong, or reads what came short
}

func (q *Queue) read(p part) error { return q.f.ReadUnitPart(p.unit, p.dst, p.off) }

// Close waits for reads under way and ends the queue.
func (q *Queue) Close() error { return q.ring.close() }
