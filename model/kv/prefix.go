package kv

import (
	"fmt"
	"slices"
)

// Full pages can be found again by the tokens that led to them, so that a
// sequence that begins like an earlier one takes its pages over instead of
// computing them. A published page is known by its tokens and by the page
// before it, so pages form a tree of prefixes; a hash of both finds it, and the
// tokens themselves are compared, so a collision costs a miss and no more.
//
// Published pages that no sequence holds stay where they are until memory is
// wanted: then the one that was held longest ago goes first. A sequence gives up its last
// pages first, so prefixes outlive what follows them.

// prefixKey finds a published page: the identity of the page before it, 0 for
// none, and a hash of its tokens.
type prefixKey struct{ parent, hash uint64 }

// prefixEntry is what the index knows of a page.
type prefixEntry struct {
	key        prefixKey
	id         uint64 // never used again; 0 is a page that is not published
	prev, next int32  // in the list of idle pages, or none
}

// none ends a list of pages.
const none = int32(-1)

// prefixes is the index of published pages. Guarded by Pool.mu.
type prefixes struct {
	pages   map[prefixKey]int32
	entries []prefixEntry // of every page
	tokens  []int32       // of every page; made with the first publication
	lastID  uint64

	oldest, newest int32 // idle pages: published, and held by no sequence
	idle           int

	hits, evicted int64 // tokens taken over, pages given up
}

func newPrefixes(pages int) prefixes {
	return prefixes{pages: map[prefixKey]int32{}, entries: make([]prefixEntry, pages), oldest: none, newest: none}
}

// PrefixStats counts what the shared prefixes of a pool did.
type PrefixStats struct {
	HitTokens int64 // tokens that sequences took over instead of computing them
	Evicted   int64 // idle pages that were given up for others
	Idle      int   // pages that no sequence holds now and that can be found
}

// Prefixes returns the counters.
func (p *Pool) Prefixes() PrefixStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return PrefixStats{HitTokens: p.prefix.hits, Evicted: p.prefix.evicted, Idle: p.prefix.idle}
}

// NewSeqFor returns a sequence with room for maxTokens tokens that begins with
// as many published pages as match the prompt, but never all of it: one token
// at least is left to compute. [Seq.Len] says how many were found. The error is
// that of [Pool.NewSeq].
func (p *Pool) NewSeqFor(prompt []int32, maxTokens int) (*Seq, error) {
	if maxTokens < len(prompt) {
		return nil, fmt.Errorf("kv: sequence of %d tokens for a prompt of %d", maxTokens, len(prompt))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	per := p.geometry.PageTokens
	s := &Seq{pool: p}
	var found []int32
	var parent uint64
	for (len(found)+1)*per < len(prompt) {
		page, ok := p.prefix.find(parent, prompt[len(found)*per:(len(found)+1)*per])
		if !ok {
			break
		}
		parent = p.prefix.entries[page].id
		found, s.ids = append(found, page), append(s.ids, parent)
	}
	pages, err := p.takeLocked(found, p.geometry.Pages(maxTokens)-len(found))
	if err != nil {
		return nil, err
	}
	s.pages, s.len = pages, len(found)*per
	p.prefix.hits += int64(s.len)
	return s, nil
}

// Publish lets later sequences find the full pages of s, whose first tokens are
// tokens. It is for tokens that stay: a page that is written again is
// withdrawn. Pages that equal published ones are left alone.
func (s *Seq) Publish(tokens []int32) {
	p, per := s.pool, s.pool.geometry.PageTokens
	full := min(len(tokens), s.len) / per
	if len(s.ids) >= full {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(s.ids); i < full; i++ {
		var parent uint64
		if i > 0 {
			parent = s.ids[i-1]
		}
		t := tokens[i*per : (i+1)*per]
		page, ok := p.prefix.find(parent, t)
		if !ok {
			page = s.pages[i]
			if !p.prefix.add(page, parent, t) {
				return
			}
		}
		s.ids = append(s.ids, p.prefix.entries[page].id)
	}
}

// find returns the published page that holds tokens after page parent.
func (x *prefixes) find(parent uint64, tokens []int32) (int32, bool) {
	page, ok := x.pages[prefixKey{parent, hash(tokens)}]
	if !ok || !slices.Equal(x.of(page, len(tokens)), tokens) {
		return 0, false
	}
	return page, true
}

// add publishes a page and reports whether it did: a page of the same hash but
// other tokens keeps its place.
func (x *prefixes) add(page int32, parent uint64, tokens []int32) bool {
	if x.tokens == nil {
		x.tokens = make([]int32, len(x.entries)*len(tokens))
	}
	key := prefixKey{parent, hash(tokens)}
	if _, taken := x.pages[key]; taken {
		return false
	}
	x.withdraw(page)
	x.lastID++
	x.pages[key] = page
	x.entries[page] = prefixEntry{key: key, id: x.lastID, prev: none, next: none}
	copy(x.of(page, len(tokens)), tokens)
	return true
}

// of returns the tokens of a page.
func (x *prefixes) of(page int32, per int) []int32 {
	return x.tokens[int(page)*per : (int(page)+1)*per]
}

// withdraw makes a page that is not idle private again.
func (x *prefixes) withdraw(page int32) {
	if e := &x.entries[page]; e.id != 0 {
		delete(x.pages, e.key)
		*e = prefixEntry{}
	}
}

// rest appends a published page that nobody holds any more to the idle list.
func (x *prefixes) rest(page int32) {
	e := &x.entries[page]
	e.prev, e.next = x.newest, none
	if x.newest != none {
		x.entries[x.newest].next = page
	} else {
		x.oldest = page
	}
	x.newest = page
	x.idle++
}

// rouse takes a page off the idle list.
func (x *prefixes) rouse(page int32) {
	e := &x.entries[page]
	if e.prev != none {
		x.entries[e.prev].next = e.next
	} else {
		x.oldest = e.next
	}
	if e.next != none {
		x.entries[e.next].prev = e.prev
	} else {
		x.newest = e.prev
	}
	e.prev, e.next = none, none
	x.idle--
}

// evict gives up the page that has been idle longest.
func (x *prefixes) evict() int32 {
	page := x.oldest
	x.rouse(page)
	x.withdraw(page)
	x.evicted++
	return page
}

// hash is FNV-1a over tokens.
func hash(tokens []int32) uint64 {
	h := uint64(14695981039346656037)
	for _, t := range tokens {
		h = (h ^ uint64(uint32(t))) * 1099511628211
	}
	return h
}
