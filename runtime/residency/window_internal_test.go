package residency

import (
	"testing"

	"pgregory.net/rapid"
)

// A window never gives a byte to two, gives what there is a gap for, and is whole
// again when all is back.
func TestWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const page, slack = 16, 3
		w := window{mem: make([]byte, page*rapid.IntRange(1, 12).Draw(t, "pages")+slack), page: page}
		owner := make([]int, len(w.mem)/page)
		var held [][]byte
		for step := range 60 {
			if len(held) > 0 && rapid.Bool().Draw(t, "give") {
				i := rapid.IntRange(0, len(held)-1).Draw(t, "which")
				for k := range owner {
					if &w.mem[k*page] == &held[i][0] {
						for id := owner[k]; k < len(owner) && owner[k] == id; k++ {
							owner[k] = 0
						}
						break
					}
				}
				w.give(held[i])
				held = append(held[:i], held[i+1:]...)
				continue
			}
			n := rapid.Int64Range(1, 100).Draw(t, "bytes")
			need := int(n+slack+page-1) / page
			gap, longest := 0, 0
			for _, o := range owner {
				if gap++; o != 0 {
					gap = 0
				}
				longest = max(longest, gap)
			}
			b := w.take(n, slack)
			if (b != nil) != (need <= longest) {
				t.Fatalf("%d pages of at most %d free side by side: %v", need, longest, b != nil)
			}
			if b == nil {
				continue
			}
			if len(b) != int(n) || cap(b) != need*page {
				t.Fatalf("%d bytes: len %d cap %d", n, len(b), cap(b))
			}
			held = append(held, b)
			for k := range owner {
				if &w.mem[k*page] != &b[0] {
					continue
				}
				for p := k; p < k+need; p++ {
					if owner[p] != 0 {
						t.Fatalf("page %d is given out twice", p)
					}
					owner[p] = step + 1
				}
			}
		}
		for _, b := range held {
			w.give(b)
		}
		if b := w.take(int64(len(owner)*page-slack), slack); b == nil {
			t.Fatal("the empty window is not whole")
		}
	})
}
