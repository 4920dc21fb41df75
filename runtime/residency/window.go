package residency

import (
	"slices"

	"github.com/lamina-llm/lamina/runtime/arena"
)

// window is the memory of all slots, side by side. A unit takes as much of it as
// it needs: of a layer's four matrices one is larger than the others together, and
// several small ones are read ahead where that has its slot. Units come and go
// in about the same order, so the free part is nearly always one piece.
type window struct {
	mem  []byte
	live []piece // in use, by offset
	page int     // pieces begin on multiples of it, which direct reads want
}

// piece is a part of a window.
type piece struct{ off, n int }

// newWindow makes a window of a slab and the slack behind it.
func newWindow(slab *arena.Slab, slack int64) window {
	b := slab.Bytes()
	return window{mem: b[:len(b)+int(slack)], page: arena.PageSize()}
}

// take returns n bytes with slack bytes and what fills the last page as further
// capacity, from the smallest gap that has them, or nil.
func (w *window) take(n, slack int64) []byte {
	need := (int(n+slack) + w.page - 1) / w.page * w.page
	at, best := -1, piece{}
	w.gaps(w.live, func(i int, g piece) {
		if g.n >= need && (at < 0 || g.n < best.n) {
			at, best = i, g
		}
	})
	if at < 0 {
		return nil
	}
	w.live = slices.Insert(w.live, at, piece{best.off, need})
	return w.mem[best.off : best.off+int(n) : best.off+need]
}

// give takes back what take has returned.
func (w *window) give(b []byte) {
	for i, p := range w.live {
		if &w.mem[p.off] == &b[0] {
			w.live = slices.Delete(w.live, i, i+1)
			return
		}
	}
	panic("residency: memory that is not in use is given back")
}

// gaps tells f what is free between the pieces of live, and before which of them.
func (w *window) gaps(live []piece, f func(before int, gap piece)) {
	from := 0
	for i, p := range live {
		if p.off > from {
			f(i, piece{from, p.off - from})
		}
		from = p.off + p.n
	}
	if end := len(w.mem) / w.page * w.page; end > from {
		f(len(live), piece{from, end - from})
	}
}
