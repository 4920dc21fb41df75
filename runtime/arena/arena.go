package arena

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"sync"

	"github.com/lamina-llm/lamina/runtime/budget"
)

// Alignment is the least alignment of a slab's first byte: a cache line, and
// the widest vector register.
const Alignment = 64

// maxBytes bounds n and slack, so that their sum fits an int everywhere.
const maxBytes = min(1<<46, math.MaxInt/4)

// PageSize returns the unit in bytes that slabs are rounded up to.
func PageSize() int { return os.Getpagesize() }

// Footprint returns the bytes that Alloc leases for a slab of n bytes with the
// given slack: the sum in whole pages.
func Footprint(n, slack int64) int64 {
	page := int64(PageSize())
	return (n + slack + page - 1) / page * page
}

// Slab is one block of memory outside the Go heap.
type Slab struct {
	mu    sync.Mutex
	mem   []byte // the whole block; nil once freed
	n     int
	lease *budget.Lease
	in    *Region // nil: the block is a mapping of its own
}

// Alloc leases and allocates n zeroed bytes for purpose p. Up to slack bytes
// past the end may be read and written too: vector kernels read whole
// registers. It fails with the ledger's error before anything is allocated if
// the ledger refuses. The first byte is aligned to [Alignment].
func Alloc(l *budget.Ledger, p budget.Purpose, n, slack int) (*Slab, error) {
	if n < 0 || slack < 0 || int64(n) > maxBytes || int64(slack) > maxBytes {
		return nil, fmt.Errorf("arena: impossible size: %d bytes and %d of slack", n, slack)
	}
	size := Footprint(int64(n), int64(slack))
	lease, err := l.TryAcquire(p, size)
	if err != nil {
		return nil, fmt.Errorf("arena: %w", err)
	}
	mem := []byte{}
	if size > 0 {
		if mem, err = mapPages(int(size)); err != nil {
			lease.Release()
			return nil, fmt.Errorf("arena: allocating %s for %v: %w", budget.FormatSize(size), p, err)
		}
	}
	return newSlab(mem, n, lease, p), nil
}

func newSlab(mem []byte, n int, lease *budget.Lease, p budget.Purpose) *Slab {
	s := &Slab{n: n, lease: lease, mem: mem}
	if invariants {
		runtime.SetFinalizer(s, func(s *Slab) {
			if s.mem != nil {
				panic(fmt.Sprintf("arena: a slab of %d bytes for %v was not freed", s.n, p))
			}
		})
	}
	return s
}

// Bytes returns the n bytes of the slab; its capacity is all that was leased, so
// the slack and what rounding up to pages added. It is nil after Free.
func (s *Slab) Bytes() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mem == nil {
		return nil
	}
	return s.mem[:s.n]
}

// AdviseHuge asks for transparent huge pages, which save address translation
// when many megabytes are read in order. It never makes the slab occupy more
// than it leased. Where there are none, and for small slabs, it does nothing.
func (s *Slab) AdviseHuge() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.mem) >= 4<<20 {
		adviseHuge(s.mem)
	}
}

// Discard gives the pages that lie wholly within bytes [from, to) back to the
// system, keeping the slab and its lease. Their contents are undefined then;
// writing brings the pages back. A range outside the slab is cut to it.
func (s *Slab) Discard(from, to int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	page := PageSize()
	from = (max(from, 0) + page - 1) / page * page
	if to >= s.n { // nothing but slack follows
		to = len(s.mem)
	}
	if to = to / page * page; from < to {
		discard(s.mem[from:to])
	}
}

// Free returns the memory to the system and then releases its lease. Further
// calls do nothing.
func (s *Slab) Free() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mem == nil {
		return
	}
	if s.in != nil {
		s.in.drop(s.mem)
	} else if len(s.mem) > 0 {
		unmapPages(s.mem)
	}
	s.mem = nil
	s.lease.Release()
}
