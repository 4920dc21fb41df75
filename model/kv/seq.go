package kv

import (
	"fmt"
	"slices"
)

// Seq is the cache of one sequence: Len tokens in Cap tokens of reserved
// pages. It is for one goroutine at a time.
type Seq struct {
	pool  *Pool
	pages []int32
	len   int
	ids   []uint64 // of the published pages that its first pages are, or equal
}

// Len returns the number of tokens that are cached.
func (s *Seq) Len() int { return s.len }

// Cap returns the number of tokens that the reserved pages hold: at least what
// was asked for, rounded up to whole pages.
func (s *Seq) Cap() int { return len(s.pages) * s.pool.geometry.PageTokens }

// PageTokens returns the number of tokens per page.
func (s *Seq) PageTokens() int { return s.pool.geometry.PageTokens }

// Geometry returns the shape of the pool.
func (s *Seq) Geometry() Geometry { return s.pool.geometry }

// Grow appends n tokens whose keys and values the caller writes next, and
// returns the position of the first. It fails if they exceed the reserved
// room. Pages that another sequence shares are copied first, which happens
// only after Truncate went back into a shared prefix and is the one case that
// can return a [*FullError]; the sequence is then unchanged.
func (s *Seq) Grow(n int) (pos int, err error) {
	if n < 0 || n > s.Cap()-s.len {
		return s.len, fmt.Errorf("kv: %d tokens after %d do not fit the %d that were reserved", n, s.len, s.Cap())
	}
	if n == 0 {
		return s.len, nil
	}
	per := s.pool.geometry.PageTokens
	for i := s.len / per; i <= (s.len+n-1)/per; i++ {
		if err := s.own(i); err != nil {
			return s.len, err
		}
	}
	pos = s.len
	s.len += n
	return pos, nil
}

// own makes page i of the sequence private to it. A holder whose count reads 1
// may write at once: another holder drops its reference only after it copied.
func (s *Seq) own(i int) error {
	old := s.pages[i]
	s.ids = s.ids[:min(len(s.ids), i)]
	if s.pool.private(old) {
		return nil
	}
	fresh, err := s.pool.take(nil, 1)
	if err != nil {
		return err
	}
	copy(s.pool.page(fresh[0]), s.pool.page(old))
	s.pages[i] = fresh[0]
	s.pool.drop([]int32{old})
	return nil
}

// Truncate forgets all tokens after the first n, as after a rejected
// speculation. The pages stay reserved. n beyond Len is an error.
func (s *Seq) Truncate(n int) error {
	if n < 0 || n > s.len {
		return fmt.Errorf("kv: cannot truncate %d tokens to %d", s.len, n)
	}
	s.len = n
	s.ids = s.ids[:min(len(s.ids), n/s.pool.geometry.PageTokens)]
	return nil
}

// Trim returns the reserved pages beyond the last token to the pool, for a
// sequence that is kept only as a prefix to fork from.
func (s *Seq) Trim() {
	n := s.pool.geometry.Pages(s.len)
	s.pool.drop(s.pages[n:])
	s.pages = s.pages[:n]
}

// Fork returns a new sequence that begins with the first n tokens of s and has
// room for maxTokens in all, maxTokens >= n. Full pages of the prefix are
// shared; the tokens after the last full page are copied. It returns a
// [*FullError] if the pages that are not shared are not there.
func (s *Seq) Fork(n, maxTokens int) (*Seq, error) {
	if n < 0 || n > s.len || maxTokens < n {
		return nil, fmt.Errorf("kv: cannot fork %d of %d tokens with room for %d", n, s.len, maxTokens)
	}
	p, full := s.pool, n/s.pool.geometry.PageTokens
	pages, err := p.take(s.pages[:full], p.geometry.Pages(maxTokens)-full)
	if err != nil {
		return nil, err
	}
	if n > full*p.geometry.PageTokens {
		copy(p.page(pages[full]), p.page(s.pages[full]))
	}
	return &Seq{pool: p, pages: pages, len: n, ids: slices.Clone(s.ids[:min(len(s.ids), full)])}, nil
}

// Close returns the pages to the pool at once; those that are published can
// still be found until others need the memory. Closing twice is harmless; a
// closed sequence has no room.
func (s *Seq) Close() {
	s.pool.drop(s.pages)
	s.pages, s.len, s.ids = nil, 0, nil
}

// Keys returns the keys of one page of the sequence, one layer and one head, and the
// scale of each: PageTokens x RowElements elements, of which those of tokens before
// Len mean something. The format is Q16. It is valid until Close; writing is allowed
// between Grow and the next Fork.
func (s *Seq) Keys(page, layer, head int) (keys []int16, scales []float32) {
	return part[int16](s, page, layer, head, 0)
}

// Values is Keys for the values.
func (s *Seq) Values(page, layer, head int) (values []int16, scales []float32) {
	return part[int16](s, page, layer, head, 1)
}

// KeysQ8 is Keys in format Q8.
func (s *Seq) KeysQ8(page, layer, head int) (keys []int8, scales []float32) {
	return part[int8](s, page, layer, head, 0)
}

// ValuesQ8 is KeysQ8 for the values.
func (s *Seq) ValuesQ8(page, layer, head int) (values []int8, scales []float32) {
	return part[int8](s, page, layer, head, 1)
}

// part returns the keys (which is 0) or values (1) of a page, layer and head, and
// their scales.
func part[E int8 | int16](s *Seq, page, layer, head, which int) ([]E, []float32) {
	g := &s.pool.geometry
	b := s.pool.page(s.pages[page])
	o, n, per := (layer*g.KVHeads+head)*g.headBytes(), g.headElements(), g.PageTokens
	return view[E](b, o+2*scaleBytes*per+which*n*g.Format.width(), n), view[float32](b, o+which*scaleBytes*per, per)
}
