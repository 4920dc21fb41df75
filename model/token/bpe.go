package token

import "math/rand/v2"

// mergeTable maps a pair of neighbouring tokens to the token that they merge
// into and to the rank that orders merges.
//
// Open addressing with linear probing over 64-bit words: left id (21 bits),
// right id (21 bits), entry number (22 bits). Entries are in order of rank, so
// the entry number is the rank unless several entries share one. A probe
// costs one cache line; the result is read only for merges that happen. The
// hash is seeded so that no file can make its keys collide.
type mergeTable struct {
	slots   []uint64
	results []int32
	ranks   []uint32 // nil: the rank is the entry number
	seed    uint64
}

const emptySlot = ^uint64(0) // no key: ids are below 1<<21-1

func newMergeTable(n int, sharedRanks bool) mergeTable {
	m := mergeTable{slots: make([]uint64, tableSize(n)), results: make([]int32, 0, n), seed: rand.Uint64()}
	for i := range m.slots {
		m.slots[i] = emptySlot
	}
	if sharedRanks {
		m.ranks = make([]uint32, 0, n)
	}
	return m
}

func (m *mergeTable) hash(key uint64) uint64 {
	h := (key ^ m.seed) * 0x9E3779B97F4A7C15
	h ^= h >> 32
	h *= 0xD6E8FEB86659FD93
	return h >> 20 & uint64(len(m.slots)-1)
}

// add appends an entry, of higher or equal rank than all before it. A later
// entry for the same pair wins, as in the reference.
func (m *mergeTable) add(left, right, result int32, rank uint32) {
	e := uint64(len(m.results))
	m.results = append(m.results, result)
	if m.ranks != nil {
		m.ranks = append(m.ranks, rank)
	}
	key := uint64(left)<<21 | uint64(right)
	mask := uint64(len(m.slots) - 1)
	h := m.hash(key)
	for m.slots[h] != emptySlot && m.slots[h]>>22 != key {
		h = (h + 1) & mask
	}
	m.slots[h] = key<<22 | e
}

const noMerge = ^uint32(0)

// find returns the rank and result of a pair, noMerge if it does not merge.
func (m *mergeTable) find(left, right int32) (rank uint32, result int32) {
	if len(m.slots) == 0 {
		return noMerge, -1
	}
	key := uint64(left)<<21 | uint64(right)
	mask := uint64(len(m.slots) - 1)
	for h := m.hash(key); ; h = (h + 1) & mask {
		s := m.slots[h]
		if s == emptySlot {
			return noMerge, -1
		}
		if s>>22 == key {
			e := uint32(s & (1<<22 - 1))
			if m.ranks != nil {
				return m.ranks[e], m.results[e]
			}
			return e, m.results[e]
		}
	}
}

// each calls f for every pair that merges, in order of entry number.
func (m *mergeTable) each(f func(left, right, result int32, rank uint32)) {
	keys := make([]uint64, len(m.results))
	for i := range keys {
		keys[i] = emptySlot
	}
	for _, s := range m.slots {
		if s != emptySlot {
			keys[s&(1<<22-1)] = s >> 22
		}
	}
	for e, k := range keys {
		if k == emptySlot {
			continue // overridden by a later entry
		}
		rank := uint32(e)
		if m.ranks != nil {
			rank = m.ranks[e]
		}
		f(int32(k>>21), int32(k&(1<<21-1)), m.results[e], rank)
	}
}

// shortWord is the number of symbols up to which scanning for the best pair
// beats a heap.
const shortWord = 48

// apply merges the symbols ids, lowest rank first and leftmost among equals,
// and appends what remains to dst. It may overwrite ids.
func (m *mergeTable) apply(dst, ids []int32) []int32 {
	switch {
	case len(ids) < 2:
		return append(dst, ids...)
	case len(ids) <= shortWord:
		return m.applyShort(dst, ids)
	}
	return m.applyLong(dst, ids)
}

func (m *mergeTable) applyShort(dst, ids []int32) []int32 {
	var rankBuf [shortWord]uint32
	var resBuf [shortWord]int32
	n := len(ids)
	ranks, results := rankBuf[:n], resBuf[:n]
	for i := range n - 1 {
		ranks[i], results[i] = m.find(ids[i], ids[i+1])
	}
	ranks[n-1] = noMerge
	for {
		best, at := noMerge, 0
		for i, r := range ranks[:n] {
			if r < best {
				best, at = r, i
			}
		}
		if best == noMerge {
			return append(dst, ids[:n]...)
		}
		ids[at] = results[at]
		copy(ids[at+1:n], ids[at+2:n])
		copy(ranks[at:n], ranks[at+1:n])
		copy(results[at:n], results[at+1:n])
		n--
		if at+1 < n {
			ranks[at], results[at] = m.find(ids[at], ids[at+1])
		}
		if at > 0 {
			ranks[at-1], results[at-1] = m.find(ids[at-1], ids[at])
		}
	}
}

// symbol is a node of the list of symbols of a long word.
type symbol struct {
	id         int32 // -1: merged into its left neighbour
	prev, next int32 // -1 at the ends
}

// candidate is a merge of the symbol at pos with its right neighbour. It is
// stale when that pair no longer makes result.
type candidate struct {
	rank   uint32
	pos    int32
	result int32
}

func (a candidate) before(b candidate) bool {
	return a.rank < b.rank || a.rank == b.rank && a.pos < b.pos
}

func (m *mergeTable) applyLong(dst, ids []int32) []int32 {
	syms := make([]symbol, len(ids))
	heap := make(candidates, 0, len(ids))
	for i, id := range ids {
		syms[i] = symbol{id: id, prev: int32(i) - 1, next: int32(i) + 1}
		if i+1 == len(ids) {
			syms[i].next = -1
		} else if rank, res := m.find(id, ids[i+1]); rank != noMerge {
			heap = append(heap, candidate{rank, int32(i), res})
		}
	}
	heap.init()
	for len(heap) > 0 {
		c := heap.pop()
		s := &syms[c.pos]
		if s.id < 0 || s.next < 0 {
			continue
		}
		if rank, res := m.find(s.id, syms[s.next].id); rank == noMerge || res != c.result {
			continue
		}
		right := &syms[s.next]
		s.id, s.next, right.id = c.result, right.next, -1
		if s.next >= 0 {
			syms[s.next].prev = c.pos
			if rank, res := m.find(s.id, syms[s.next].id); rank != noMerge {
				heap.push(candidate{rank, c.pos, res})
			}
		}
		if s.prev >= 0 {
			if rank, res := m.find(syms[s.prev].id, s.id); rank != noMerge {
				heap.push(candidate{rank, s.prev, res})
			}
		}
	}
	for i := int32(0); i >= 0; i = syms[i].next {
		dst = append(dst, syms[i].id)
	}
	return dst
}

// candidates is a binary min-heap. container/heap would box every element.
type candidates []candidate

func (h candidates) init() {
	for i := len(h)/2 - 1; i >= 0; i-- {
		h.down(i)
	}
}

func (h *candidates) push(c candidate) {
	*h = append(*h, c)
	s := *h
	for i := len(s) - 1; i > 0; {
		parent := (i - 1) / 2
		if !s[i].before(s[parent]) {
			break
		}
		s[i], s[parent] = s[parent], s[i]
		i = parent
	}
}

func (h *candidates) pop() candidate {
	s := *h
	top := s[0]
	last := len(s) - 1
	s[0] = s[last]
	*h = s[:last]
	(*h).down(0)
	return top
}

func (h candidates) down(i int) {
	for {
		c := 2*i + 1
		if c >= len(h) {
			return
		}
		if c+1 < len(h) && h[c+1].before(h[c]) {
			c++
		}
		if !h[c].before(h[i]) {
			return
		}
		h[i], h[c] = h[c], h[i]
		i = c
	}
}
