package arena

import (
	"fmt"
	"sync"

	"github.com/lamina-llm/lamina/runtime/budget"
)

// Region is address space for slabs that are to lie side by side: what is read
// in order then streams from memory without a break, and slabs smaller than a
// huge page share one. Only slabs are leased; space that no slab was made of
// occupies nothing. A Region is safe for concurrent use.
type Region struct {
	mu     sync.Mutex
	mem    []byte // the mapping; nil once it is gone, and where regions do not exist
	free   []byte // of it, what slabs have not taken
	slabs  int    // that are not freed
	closed bool
}

// Reserve makes a region for slabs whose footprints add up to n bytes at most.
// huge asks for transparent huge pages; they never make a slab that lies fully
// before the end of the others occupy more than was leased.
func Reserve(n int64, huge bool) (*Region, error) {
	if n < 0 || n > maxBytes {
		return nil, fmt.Errorf("arena: impossible region of %d bytes", n)
	}
	r := &Region{}
	if !regions || n == 0 {
		return r, nil
	}
	var err error
	if r.mem, err = mapPages(int(n) + hugePage); err != nil {
		return nil, fmt.Errorf("arena: reserving %s: %w", budget.FormatSize(n), err)
	}
	skip := int(-address(r.mem) & (hugePage - 1))
	r.free = r.mem[skip : skip+int(n) : skip+int(n)]
	if huge {
		adviseHuge(r.free)
	}
	return r, nil
}

// hugePage is what regions are aligned to: the huge page of amd64 and arm64.
const hugePage = 2 << 20

// Alloc is [Alloc] from the region, or beside it if the region is full.
func (r *Region) Alloc(l *budget.Ledger, p budget.Purpose, n, slack int) (*Slab, error) {
	if n < 0 || slack < 0 || int64(n) > maxBytes || int64(slack) > maxBytes {
		return nil, fmt.Errorf("arena: impossible size: %d bytes and %d of slack", n, slack)
	}
	size := int(Footprint(int64(n), int64(slack)))
	r.mu.Lock()
	defer r.mu.Unlock()
	if size == 0 || size > len(r.free) || r.closed {
		return Alloc(l, p, n, slack)
	}
	lease, err := l.TryAcquire(p, int64(size))
	if err != nil {
		return nil, fmt.Errorf("arena: %w", err)
	}
	s := newSlab(r.free[:size:size], n, lease, p)
	s.in, r.free = r, r.free[size:]
	r.slabs++
	return s, nil
}

// Close gives the address space back once the last slab is freed. Further calls
// do nothing.
func (r *Region) Close() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.unmap()
}

// drop takes back a slab's memory. It is not given out again.
func (r *Region) drop(mem []byte) {
	discard(mem)
	protect(mem)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.slabs--
	r.unmap()
}

// unmap ends the mapping if nobody needs it. Called with mu held.
func (r *Region) unmap() {
	if r.closed && r.slabs == 0 && r.mem != nil {
		unmapPages(r.mem)
		r.mem, r.free = nil, nil
	}
}
