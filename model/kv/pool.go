// Package kv is the key-value cache of attention: integers of 16 or 8 bits with a
// scale per head and token, cut into pages of a fixed number of tokens, after the
// paged attention of Kwon et al. (SOSP 2023).
//
// A [Pool] cuts one block of memory, which the caller leased and keeps alive,
// into pages; a [Seq] is one sequence's list of pages. A sequence reserves all
// pages it can ever need when it is made, so a request that was admitted never
// runs out of cache half-way. Pages are reference-counted: [Seq.Fork] shares
// the full pages of a prefix between sequences, copying on write, and
// [Pool.NewSeqFor] finds those that [Seq.Publish] made known.
//
// In a page, keys and values of one layer and one head lie together:
//
//	page   = layer 0, layer 1, ...
//	layer  = head 0, head 1, ...
//	head   = scales of the keys, of the values (PageTokens float32 each),
//	         keys (PageTokens x RowElements), values (as many)
//
// Which element of them is whose is up to the caller: kernels want tokens interleaved.
// The package computes nothing: it never looks inside an element.
//
// Pool and its sequences may be used from many goroutines; one sequence is
// for one goroutine at a time. Sequences that share pages count as separate.
package kv

import (
	"errors"
	"fmt"
	"sync"
)

// ErrFull: the pool has fewer free pages than were asked for.
var ErrFull = errors.New("kv cache is full")

// FullError says how many pages a refused reservation needed. It matches
// [ErrFull] with errors.Is.
type FullError struct {
	Need int // pages that were asked for
	Free int // pages that were free
}

// Missing returns how many more pages must come free for the reservation.
func (e *FullError) Missing() int { return e.Need - e.Free }

// Error names the number of missing pages.
func (e *FullError) Error() string {
	return fmt.Sprintf("kv: %v: %d pages needed, %d free, %d missing", ErrFull, e.Need, e.Free, e.Missing())
}

// Unwrap returns ErrFull.
func (e *FullError) Unwrap() error { return ErrFull }

// Pool owns the pages of one cache.
type Pool struct {
	geometry Geometry
	memory   []byte // pages one after another

	mu   sync.Mutex
	free []int32 // page numbers that hold nothing; the last one is given out next
	refs []int32 // sequences that hold each page

	prefix prefixes // pages that can be found by their tokens
}

// New cuts memory into pages. memory must be aligned to 4 bytes (64 is best)
// and stay valid until the last sequence is closed; bytes beyond a whole
// number of pages stay unused. Nothing is written until tokens are.
func New(g Geometry, memory []byte) (*Pool, error) {
	if g.PageTokens == 0 {
		g.PageTokens = DefaultPageTokens
	}
	if err := g.Validate(); err != nil {
		return nil, err
	}
	if err := aligned(memory); err != nil {
		return nil, err
	}
	n := int(int64(len(memory)) / g.PageBytes())
	if n < 1 {
		return nil, fmt.Errorf("kv: %d bytes of memory do not hold one page of %d bytes", len(memory), g.PageBytes())
	}
	if n > 1<<30 {
		return nil, fmt.Errorf("kv: %d bytes of memory are too many pages of %d bytes", len(memory), g.PageBytes())
	}
	p := &Pool{geometry: g, memory: memory, free: make([]int32, n), refs: make([]int32, n), prefix: newPrefixes(n)}
	for i := range p.free {
		p.free[i] = int32(n - 1 - i) // page 0 goes first: untouched memory stays untouched
	}
	return p, nil
}

// Geometry returns the shape, with PageTokens filled in.
func (p *Pool) Geometry() Geometry { return p.geometry }

// Pages returns the number of pages, free or not.
func (p *Pool) Pages() int { return len(p.refs) }

// Free returns the number of pages that no sequence holds: those that hold
// nothing, and those that are kept only to be found again.
func (p *Pool) Free() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.free) + p.prefix.idle
}

// NewSeq returns an empty sequence that has room for maxTokens tokens, or a
// [*FullError] that says how many pages are missing.
func (p *Pool) NewSeq(maxTokens int) (*Seq, error) {
	if maxTokens < 0 {
		return nil, fmt.Errorf("kv: sequence of %d tokens", maxTokens)
	}
	pages, err := p.take(nil, p.geometry.Pages(maxTokens))
	if err != nil {
		return nil, err
	}
	return &Seq{pool: p, pages: pages}, nil
}

// take shares the given pages and adds n free ones, all or nothing.
func (p *Pool) take(shared []int32, n int) ([]int32, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.takeLocked(shared, n)
}

func (p *Pool) takeLocked(shared []int32, n int) ([]int32, error) {
	free := len(p.free) + p.prefix.idle
	for _, i := range shared {
		if p.refs[i] == 0 {
			free-- // idle, but about to be held
		}
	}
	if n > free { // checked before any allocation: n is bounded by the pool
		return nil, &FullError{Need: n, Free: free}
	}
	pages := make([]int32, 0, len(shared)+n)
	pages = append(pages, shared...)
	for _, i := range shared {
		if p.refs[i]++; p.refs[i] == 1 {
			p.prefix.rouse(i)
		}
	}
	for range n {
		var page int32
		if last := len(p.free) - 1; last >= 0 {
			page, p.free = p.free[last], p.free[:last]
		} else {
			page = p.prefix.evict()
		}
		p.refs[page] = 1
		pages = append(pages, page)
	}
	return pages, nil
}

// drop gives up one reference to each page, the last page first.
func (p *Pool) drop(pages []int32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(pages) - 1; i >= 0; i-- {
		page := pages[i]
		if p.refs[page]--; p.refs[page] > 0 {
			continue
		}
		if p.prefix.entries[page].id != 0 {
			p.prefix.rest(page)
		} else {
			p.free = append(p.free, page)
		}
	}
}

// private makes a page that one sequence holds alone its own to write, and
// reports whether it did: false is a page that others hold too.
func (p *Pool) private(page int32) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refs[page] > 1 {
		return false
	}
	p.prefix.withdraw(page)
	return true
}

// page returns the bytes of one page.
func (p *Pool) page(i int32) []byte {
	n := int(p.geometry.PageBytes())
	return p.memory[int(i)*n : (int(i)+1)*n : (int(i)+1)*n]
}
