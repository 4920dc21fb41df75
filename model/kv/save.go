package kv

import (
	"cmp"
	"fmt"
	"slices"
)

// Kept is one published page as it is saved: its tokens, its bytes, and the
// number of the page before it among those that were saved, or -1.
type Kept struct {
	Parent int
	Tokens []int32 // PageTokens of them
	Data   []byte  // PageBytes of them
}

// Save calls put for every page that can be found, a page after the one that it
// follows. Tokens and Data are valid during the call. No sequence may be made,
// written or closed meanwhile. The first error ends it.
func (p *Pool) Save(put func(Kept) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	pages := make([]int32, 0, len(p.prefix.pages))
	for _, page := range p.prefix.pages {
		pages = append(pages, page)
	}
	// A page is published after the one before it.
	slices.SortFunc(pages, func(a, b int32) int { return cmp.Compare(p.prefix.entries[a].id, p.prefix.entries[b].id) })
	number := map[uint64]int{0: -1}
	for _, page := range pages {
		e := &p.prefix.entries[page]
		parent, ok := number[e.key.parent]
		if !ok {
			continue // the page before it was given up
		}
		number[e.id] = len(number) - 1
		if err := put(Kept{parent, p.prefix.of(page, p.geometry.PageTokens), p.page(page)}); err != nil {
			return err
		}
	}
	return nil
}

// Restore takes up to n pages that Save gave, in its order, into pages that hold
// nothing, and returns how many tokens those are. get fills Tokens and Data and
// sets Parent. Where there is no more room the rest is left out. After an error
// of get nothing of what was restored can be found.
func (p *Pool) Restore(n int, get func(*Kept) error) (tokens int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	per := p.geometry.PageTokens
	n = min(n, len(p.free))
	pages, ids := make([]int32, 0, n), make([]uint64, 0, n)
	k := Kept{Tokens: make([]int32, per)}
	for i := range n {
		page := p.free[len(p.free)-1]
		k.Parent, k.Data = -1, p.page(page)
		if err = get(&k); err == nil && (k.Parent < -1 || k.Parent >= i) {
			err = fmt.Errorf("kv: saved page %d follows page %d", i, k.Parent)
		}
		if err != nil {
			break
		}
		var parent uint64
		if k.Parent >= 0 {
			parent = ids[k.Parent]
		}
		if old, ok := p.prefix.find(parent, k.Tokens); ok {
			ids = append(ids, p.prefix.entries[old].id) // the page is here already
			continue
		}
		if !p.prefix.add(page, parent, k.Tokens) {
			ids = append(ids, ^uint64(0)) // nothing follows it
			continue
		}
		p.free = p.free[:len(p.free)-1]
		pages, ids = append(pages, page), append(ids, p.prefix.entries[page].id)
	}
	for _, page := range slices.Backward(pages) { // what follows goes first, as after Close
		if err != nil {
			p.prefix.withdraw(page)
			p.free = append(p.free, page)
			continue
		}
		p.prefix.rest(page)
		tokens += per
	}
	return tokens, err
}
