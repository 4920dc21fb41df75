package engine

import (
	"testing"
	"time"
)

// TestPace: chunks beside generating requests grow to what the bound allows,
// wherever the time of a pass goes, and stay there.
func TestPace(t *testing.T) {
	const room = 512
	for name, c := range map[string]struct {
		cost        func(rows int) float64 // milliseconds of a pass
		least, most int                    // chunk in the end
	}{
		"computes":           {func(n int) float64 { return 20 + 0.6*float64(n) }, 105, 115},
		"rows are dear":      {func(n int) float64 { return 5 + 5*float64(n) }, leastChunk, leastChunk},
		"waits for the disk": {func(n int) float64 { return max(120, 10+0.6*float64(n)) }, room, room},
		"both":               {func(n int) float64 { return max(60, 10+0.6*float64(n)) }, 350, 390},
	} {
		var p pace
		if n := p.rows(0, room); n != room {
			t.Errorf("%s: %d rows while nobody generates, want %d", name, n, room)
		}
		p.observe(0, 4, time.Duration(c.cost(4)*1e6)) // a short prompt: a row seems to cost a quarter of a pass
		if n := p.rows(4, room); n != leastChunk {
			t.Errorf("%s: %d rows before a step was timed, want %d", name, n, leastChunk)
		}
		for range 3 {
			p.observe(4, 0, time.Duration(c.cost(4)*1e6))
		}
		n := 0
		for i := range 60 {
			n = p.rows(4, room)
			if i == 6 && n < c.least*3/4 {
				t.Errorf("%s: a chunk of %d after six, want %d soon", name, n, c.least)
			}
			took := c.cost(4 + n)
			if n > leastChunk && took > 1.25*mostStretch*c.cost(4) {
				t.Errorf("%s: pass %d with %d rows takes %.0f ms, one without %.0f", name, i, n, took, c.cost(4))
			}
			p.observe(4, n, time.Duration(took*1e6))
		}
		if n < c.least || n > c.most {
			t.Errorf("%s: chunks of %d in the end, want %d to %d", name, n, c.least, c.most)
		}
		if got := p.rows(4, 7); got > 7 {
			t.Errorf("%s: %d rows, there is room for 7", name, got)
		}
	}
}
