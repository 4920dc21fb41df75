package kv

import (
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

var small = Geometry{Layers: 2, KVHeads: 3, HeadDim: 4, PageTokens: 4}

// at returns what a token has of the keys and values of a page, in row order.
func at(s *Seq, pos, layer, head int) (key, value []int16) {
	per, row := s.PageTokens(), s.Geometry().RowElements()
	keys, _ := s.Keys(pos/per, layer, head)
	values, _ := s.Values(pos/per, layer, head)
	o := pos % per * row
	return keys[o : o+row], values[o : o+row]
}

func newPool(t testing.TB, g Geometry, pages int) *Pool {
	t.Helper()
	p, err := New(g, make([]byte, int64(pages)*g.PageBytes()))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestGeometry(t *testing.T) {
	g := Geometry{Layers: 30, KVHeads: 3, HeadDim: 64}
	if got := g.BytesPerToken(); got != 30*2*3*(64*2+4) {
		t.Errorf("BytesPerToken = %d", got)
	}
	if got := g.PageBytes(); got != 32*g.BytesPerToken() {
		t.Errorf("PageBytes = %d", got)
	}
	for tokens, want := range map[int]int{-1: 0, 0: 0, 1: 1, 32: 1, 33: 2, 64: 2, 65: 3} {
		if got := g.Pages(tokens); got != want {
			t.Errorf("Pages(%d) = %d, want %d", tokens, got, want)
		}
		if got := g.Bytes(tokens); got != int64(want)*g.PageBytes() {
			t.Errorf("Bytes(%d) = %d", tokens, got)
		}
	}
	if got := g.Bytes(int(^uint(0) >> 1)); got <= 0 {
		t.Errorf("Bytes overflows to %d", got)
	}
	for _, bad := range []Geometry{
		{}, {Layers: 1, KVHeads: 1}, {Layers: -1, KVHeads: 1, HeadDim: 1}, {Layers: 1, KVHeads: 1, HeadDim: 1, PageTokens: -1},
		{Layers: 1 << 30, KVHeads: 1 << 30, HeadDim: 1 << 30}, {Layers: 1, KVHeads: 1, HeadDim: 1, PageTokens: 1 << 30},
	} {
		if _, err := New(bad, make([]byte, 1<<10)); err == nil {
			t.Errorf("New(%+v) succeeded", bad)
		}
	}
	if _, err := New(small, make([]byte, small.PageBytes()-1)); err == nil {
		t.Error("New succeeded without room for a page")
	}
	if _, err := New(small, nil); err == nil {
		t.Error("New succeeded without memory")
	}
	if _, err := New(small, make([]byte, 2*small.PageBytes())[1:]); err == nil {
		t.Error("New succeeded on odd memory")
	}
}

// TestLayout writes a distinct value everywhere and reads all of them back, with
// pages whose elements do not fill whole words.
func TestLayout(t *testing.T) {
	g := Geometry{Layers: 2, KVHeads: 3, HeadDim: 3, PageTokens: 5, Format: Q16}
	testLayout(t, g, (*Seq).Keys, (*Seq).Values)
	g.Format = Q8
	testLayout(t, g, (*Seq).KeysQ8, (*Seq).ValuesQ8)
}

func testLayout[E int8 | int16](t *testing.T, g Geometry, keys, values func(s *Seq, page, layer, head int) ([]E, []float32)) {
	t.Helper()
	p := newPool(t, g, 3)
	s, err := p.NewSeq(15)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Grow(15); err != nil {
		t.Fatal(err)
	}
	row := g.RowElements()
	each := func(f func(tag, page, token, layer, head int)) {
		for i := range 15 * g.Layers * g.KVHeads {
			pos, layer, head := i/(g.Layers*g.KVHeads), i/g.KVHeads%g.Layers, i%g.KVHeads
			f(i, pos/5, pos%5, layer, head)
		}
	}
	each(func(tag, page, token, layer, head int) {
		k, ks := keys(s, page, layer, head)
		v, vs := values(s, page, layer, head)
		for i := range row {
			k[token*row+i], v[token*row+i] = E(tag+i), E(^tag+i)
		}
		ks[token], vs[token] = float32(tag), float32(-tag)
	})
	each(func(tag, page, token, layer, head int) {
		k, ks := keys(s, page, layer, head)
		v, vs := values(s, page, layer, head)
		for i := range row {
			if k[token*row+i] != E(tag+i) || v[token*row+i] != E(^tag+i) {
				t.Fatalf("page %d token %d layer %d head %d: overwritten", page, token, layer, head)
			}
		}
		if ks[token] != float32(tag) || vs[token] != float32(-tag) {
			t.Fatalf("page %d token %d layer %d head %d: scales %v and %v", page, token, layer, head, ks[token], vs[token])
		}
	})
	if got, most := g.PageBytes(), int64(5)*g.BytesPerToken()+4*6; got > most {
		t.Errorf("a page has %d bytes, want at most %d", got, most)
	}
}

func TestFull(t *testing.T) {
	p := newPool(t, small, 5)
	a, err := p.NewSeq(9) // 3 pages
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.NewSeq(16)
	var full *FullError
	if !errors.Is(err, ErrFull) || !errors.As(err, &full) || full.Missing() != 2 {
		t.Fatalf("NewSeq beyond the pool: %v", err)
	}
	if _, err := p.NewSeq(int(^uint(0) >> 1)); !errors.Is(err, ErrFull) {
		t.Fatalf("NewSeq of everything: %v", err)
	}
	if _, err := p.NewSeq(-1); err == nil {
		t.Fatal("NewSeq(-1) succeeded")
	}
	if p.Free() != 2 {
		t.Fatalf("%d pages free, want 2: a refused sequence must take nothing", p.Free())
	}
	if pos, err := a.Grow(13); err == nil || pos != 0 || a.Len() != 0 {
		t.Fatalf("Grow beyond the reservation: pos %d, len %d, %v", pos, a.Len(), err)
	}
	a.Close()
	a.Close()
	if p.Free() != 5 {
		t.Fatalf("%d pages free after Close, want 5", p.Free())
	}
	if _, err := a.Grow(1); err == nil {
		t.Fatal("Grow after Close succeeded")
	}
}

// model is the plain truth that a sequence must agree with: its tokens, and
// for every one a tag that all tokens up to it decide, as keys and values do.
type modelSeq struct {
	s      *Seq
	tokens []int32
	tags   []int16
}

// push appends a token to the truth.
func (m *modelSeq) push(token int32) {
	last := int16(1)
	if n := len(m.tags); n > 0 {
		last = m.tags[n-1]
	}
	m.tokens, m.tags = append(m.tokens, token), append(m.tags, last*31+int16(token)*7+3)
}

func (m *modelSeq) cut(n int) { m.tokens, m.tags = m.tokens[:n], m.tags[:n] }

func (m *modelSeq) fork(s *Seq, n int) *modelSeq {
	return &modelSeq{s: s, tokens: slices.Clone(m.tokens[:n]), tags: slices.Clone(m.tags[:n])}
}

// write appends n equal tokens, stamping every element of each with its tag.
func (m *modelSeq) write(t *rapid.T, n int, token int32) {
	pos, err := m.s.Grow(n)
	if errors.Is(err, ErrFull) {
		return
	}
	if err != nil || pos != len(m.tags) {
		t.Fatalf("Grow(%d) = %d, %v with %d tokens of %d", n, pos, err, len(m.tags), m.s.Cap())
	}
	for range n {
		m.push(token)
		tag := m.tags[len(m.tags)-1]
		g := m.s.Geometry()
		for layer := range g.Layers {
			for head := range g.KVHeads {
				k, v := at(m.s, len(m.tags)-1, layer, head)
				for i := range k {
					k[i], v[i] = tag, ^tag
				}
			}
		}
	}
}

func (m *modelSeq) check(t *rapid.T) {
	g := m.s.Geometry()
	if m.s.Len() != len(m.tags) {
		t.Fatalf("Len = %d, want %d", m.s.Len(), len(m.tags))
	}
	for pos, tag := range m.tags {
		for layer := range g.Layers {
			for head := range g.KVHeads {
				k, v := at(m.s, pos, layer, head)
				for i := range k {
					if k[i] != tag || v[i] != ^tag {
						t.Fatalf("token %d layer %d head %d holds %d and %d, want %d and %d", pos, layer, head, k[i], v[i], tag, ^tag)
					}
				}
			}
		}
	}
}

// TestProperties drives a pool with random operations against the model and
// checks the books after each: reference counts equal the holders, no page is
// both free and held, and all are free at the end.
func TestProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, err := New(Geometry{Layers: 1, KVHeads: 2, HeadDim: 2, PageTokens: 4}, make([]byte, 12*2*(2*4*4+2*4*16*2)))
		if err != nil {
			t.Fatal(err)
		}
		var seqs []*modelSeq
		token := func(t *rapid.T) int32 { return int32(rapid.IntRange(0, 1).Draw(t, "token")) }
		pick := func(t *rapid.T) *modelSeq {
			if len(seqs) == 0 {
				t.Skip("no sequence")
			}
			return seqs[rapid.IntRange(0, len(seqs)-1).Draw(t, "seq")]
		}
		t.Repeat(map[string]func(*rapid.T){
			"new": func(t *rapid.T) {
				n := rapid.IntRange(0, 30).Draw(t, "tokens")
				free := p.Free()
				s, err := p.NewSeq(n)
				if want := p.Geometry().Pages(n); want > free != errors.Is(err, ErrFull) {
					t.Fatalf("NewSeq(%d) with %d pages free: %v", n, free, err)
				}
				if err == nil {
					seqs = append(seqs, &modelSeq{s: s})
				}
			},
			"write": func(t *rapid.T) {
				m := pick(t)
				m.write(t, rapid.IntRange(0, m.s.Cap()-m.s.Len()).Draw(t, "n"), token(t))
			},
			"truncate": func(t *rapid.T) {
				m := pick(t)
				n := rapid.IntRange(0, len(m.tags)).Draw(t, "n")
				if err := m.s.Truncate(n); err != nil {
					t.Fatal(err)
				}
				m.cut(n)
			},
			"fork": func(t *rapid.T) {
				m := pick(t)
				n := rapid.IntRange(0, len(m.tags)).Draw(t, "n")
				s, err := m.s.Fork(n, n+rapid.IntRange(0, 10).Draw(t, "more"))
				if err == nil {
					seqs = append(seqs, m.fork(s, n))
				} else if !errors.Is(err, ErrFull) {
					t.Fatal(err)
				}
			},
			"publish": func(t *rapid.T) {
				m := pick(t)
				m.s.Publish(m.tokens)
			},
			"find": func(t *rapid.T) {
				var prompt modelSeq
				for range rapid.IntRange(0, 4).Draw(t, "runs") {
					of := token(t)
					for range rapid.IntRange(1, 9).Draw(t, "run") {
						prompt.push(of)
					}
				}
				n := len(prompt.tokens)
				free := p.Free()
				s, err := p.NewSeqFor(prompt.tokens, n+rapid.IntRange(0, 10).Draw(t, "more"))
				if err != nil {
					if !errors.Is(err, ErrFull) || p.Free() != free {
						t.Fatalf("%v, %d pages free before, %d after", err, free, p.Free())
					}
					return
				}
				if s.Len()%4 != 0 || n > 0 && s.Len() >= n {
					t.Fatalf("%d tokens found of a prompt of %d", s.Len(), n)
				}
				seqs = append(seqs, prompt.fork(s, s.Len()))
			},
			"trim": func(t *rapid.T) { pick(t).s.Trim() },
			"close": func(t *rapid.T) {
				m := pick(t)
				m.s.Close()
				seqs = slices.DeleteFunc(seqs, func(o *modelSeq) bool { return o == m })
			},
			"": func(t *rapid.T) {
				holders := make([]int32, p.Pages())
				for _, m := range seqs {
					m.check(t)
					for _, page := range m.s.pages {
						holders[page]++
					}
				}
				if !slices.Equal(holders, p.refs) {
					t.Fatalf("reference counts %v, holders %v", p.refs, holders)
				}
				for _, page := range p.free {
					if holders[page]++; holders[page] != 1 {
						t.Fatalf("page %d is free and held, or free twice", page)
					}
					if p.prefix.entries[page].id != 0 {
						t.Fatalf("page %d is free and published", page)
					}
				}
				idle := 0
				for page := p.prefix.oldest; page != none; page = p.prefix.entries[page].next {
					idle++
					if holders[page]++; holders[page] != 1 || p.prefix.entries[page].id == 0 {
						t.Fatalf("page %d is idle and held, or not published", page)
					}
				}
				if idle != p.prefix.idle {
					t.Fatalf("%d idle pages in the list, %d counted", idle, p.prefix.idle)
				}
				for key, page := range p.prefix.pages {
					if p.prefix.entries[page].key != key {
						t.Fatalf("page %d is known by a key that is not its own", page)
					}
				}
				if slices.Contains(holders, 0) {
					t.Fatal("a page is lost")
				}
			},
		})
		for _, m := range seqs {
			m.s.Close()
		}
		if p.Free() != p.Pages() {
			t.Fatalf("%d of %d pages free at the end", p.Free(), p.Pages())
		}
	})
}

// TestPrefix reuses what was published, as far as it is the same, and gives it
// up for others when memory is wanted: what follows first, what is older first.
func TestPrefix(t *testing.T) {
	p := newPool(t, small, 6) // pages of 4 tokens
	tokens := func(first int32, n int) (ids []int32) {
		for i := range n {
			ids = append(ids, first+int32(i))
		}
		return ids
	}
	fill := func(prompt []int32, want int) *Seq {
		t.Helper()
		s, err := p.NewSeqFor(prompt, len(prompt))
		if err != nil {
			t.Fatal(err)
		}
		if s.Len() != want {
			t.Errorf("%d tokens found, want %d", s.Len(), want)
		}
		for pos := s.Len(); pos < len(prompt); pos++ {
			if _, err := s.Grow(1); err != nil {
				t.Fatal(err)
			}
			k, _ := at(s, pos, 0, 0)
			k[0] = int16(prompt[pos])
		}
		for pos, id := range prompt {
			if k, _ := at(s, pos, 0, 0); k[0] != int16(id) {
				t.Fatalf("token %d of %v holds %d", pos, prompt, k[0])
			}
		}
		s.Publish(prompt)
		return s
	}
	a := tokens(100, 10)
	fill(a, 0).Close()
	if p.Free() != 6 {
		t.Fatalf("%d pages free, want all: kept pages are free", p.Free())
	}
	fill(a[:8], 4).Close() // all but the last token at most
	fill(a[:9], 8).Close() // two full pages
	fill(a[1:], 0).Close() // other positions
	b := append(tokens(100, 4), tokens(200, 9)...)
	fill(b, 4).Close() // the first page, then something else
	if s := p.Prefixes(); s.HitTokens != 4+8+4 {
		t.Errorf("%+v", s)
	}
	// Everything at once: the idle pages make room.
	whole, err := p.NewSeq(24)
	if err != nil {
		t.Fatal(err)
	}
	if s := p.Prefixes(); s.Idle != 0 || s.Evicted == 0 {
		t.Errorf("after all pages were taken: %+v", s)
	}
	whole.Close()
	fill(b, 0).Close()
	// A page that is written again can no longer be found, nor what follows it.
	c := fill(b, 12)
	if err := c.Truncate(5); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Grow(1); err != nil {
		t.Fatal(err)
	}
	c.Close()
	fill(b, 4).Close()
	if p.Free() != 6 {
		t.Errorf("%d pages free at the end", p.Free())
	}
}

// TestConcurrent makes, forks, rewrites and closes sequences from several
// goroutines that share one prefix; with the race detector it shows that
// copy-on-write never writes a page that another goroutine reads.
func TestConcurrent(t *testing.T) {
	p := newPool(t, small, 40)
	prefix, err := p.NewSeq(11)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := prefix.Grow(11); err != nil {
		t.Fatal(err)
	}
	k, _ := at(prefix, 5, 1, 2)
	k[0] = 7
	var wg sync.WaitGroup
	for w := range 4 {
		forks := make([]*Seq, 8)
		for i := range forks {
			if forks[i], err = prefix.Fork(8, 9); err != nil {
				t.Fatal(err)
			}
		}
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(w)))
			for _, s := range forks {
				_ = s.Truncate(r.IntN(5))
				from := s.Len()
				if _, err := s.Grow(6 - from); err == nil {
					k, _ := at(s, 5, 1, 2)
					if from > 5 && k[0] != 7 {
						t.Error("prefix changed")
					}
					k[0] = int16(w)
				} else if !errors.Is(err, ErrFull) {
					t.Error(err)
				}
				other, err := p.NewSeq(r.IntN(8))
				if err == nil {
					other.Close()
				}
				s.Close()
			}
		})
	}
	wg.Wait()
	if k, _ := at(prefix, 5, 1, 2); k[0] != 7 {
		t.Error("a fork wrote into the shared prefix")
	}
	prefix.Close()
	if p.Free() != p.Pages() {
		t.Errorf("%d of %d pages free at the end", p.Free(), p.Pages())
	}
}
