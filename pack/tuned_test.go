package pack

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/tile"
)

// stagedMatrix returns a matrix with correlated inputs, ready to be coded, and
// the packer for it.
func stagedMatrix(t *testing.T, mode rans.Mode) (*packer, *staged) {
	t.Helper()
	const rows, cols, step = 150, 7*tile.Lanes + 20, 0.9
	r := rand.New(rand.NewPCG(11, 12))
	m := &matrix{name: "random", rows: rows, cols: cols, band: 96, depth: 1, weigh: 1, values: gaussian(r, rows*cols), energy: rows * cols}
	m.gram = gramOf(inputs(r, 900, cols, 40, 0.3), 900, cols)
	m.cost = slices.Repeat([]float64{1}, rows)
	p := &packer{opt: Options{Mode: mode, Workers: 2}, mats: []*matrix{m}}
	if err := p.planMatrix(m); err != nil {
		t.Fatal(err)
	}
	m.feedback.shift(m.feedback.excess() / rows)
	all, err := p.stages(t.Context(), step)
	if err != nil {
		t.Fatal(err)
	}
	return p, all[0]
}

// Coded in phases with nothing learnt between them, a matrix gets the levels
// that it gets in one go: what later columns are asked for is the same.
func TestPhases(t *testing.T) {
	for _, mode := range []rans.Mode{rans.Scalar, rans.DQ} {
		p, s := stagedMatrix(t, mode)
		want := make([][]*bandLevels, 1)
		m, source := s.m, s.m.values
		m.values = slices.Clone(source) // what a student would be
		for band := range s.bands {
			r0, r1 := band*m.band, min((band+1)*m.band, m.rows)
			values, err := p.ordered(m, &s.fit.plan.scale, r0, r1)
			if err != nil {
				t.Fatal(err)
			}
			levels := newBandLevels(tile.Layout{Rows: m.rows, Cols: m.cols}, r1-r0)
			new(feedbackLoop).run(m.feedback, values, s.fit.plan.class[r0:r1], s.fit.groupCoders, levels.take)
			want[0] = append(want[0], levels)
		}
		coded := 0
		for phase := range tunePhases {
			if err := p.codePhase(t.Context(), []*staged{s}, phase); err != nil {
				t.Fatal(err)
			}
			first, end := s.columns(phase)
			if first != coded {
				t.Fatalf("phase %d starts at column %d, want %d", phase, first, coded)
			}
			coded = end
		}
		if coded != m.cols {
			t.Fatalf("%d columns coded of %d", coded, m.cols)
		}
		differ, n := 0, 0
		for band, levels := range want[0] {
			for panel := range levels.index {
				for i, u := range levels.index[panel] {
					n++
					if s.bands[band].index[panel][i] != u {
						differ++
					}
				}
			}
		}
		// Sums come in another order, and a trellis goes on from where it turned.
		if differ > n/500 {
			t.Errorf("%v: %d of %d levels differ", mode, differ, n)
		}
		c, err := p.finishStaged(s)
		if err != nil {
			t.Fatal(err)
		}
		checkDecoded(t, s, c, source)
	}
}

// checkDecoded decodes c: it must give what the student had, which is near the
// source.
func checkDecoded(t *testing.T, s *staged, c *coded, source []float32) {
	t.Helper()
	m := s.m
	x, err := rans.NewMatrix(m.rows, m.cols, c.side)
	if err == nil {
		err = x.Attach(c.chunks)
	}
	if err != nil {
		t.Fatal(err)
	}
	side, l := x.Side(), x.Layout()
	var scratch rans.Scratch
	loss, energy := 0.0, 0.0
	for chunk := range x.Chunks() {
		r0, r1 := x.Band(chunk / x.Blocks())
		p0, p1 := x.Block(chunk % x.Blocks())
		dst := make([][]uint8, p1-p0)
		for i := range dst {
			c0, c1 := l.Columns(p0 + i)
			dst[i] = make([]uint8, (r1-r0+15)/16*16*(c1-c0))
		}
		delta := map[[3]int]int32{}
		if err := x.Levels(chunk, dst, func(p, row, col int, d int32) { delta[[3]int{p, row, col}] = d }, &scratch); err != nil {
			t.Fatal(err)
		}
		for i := range dst {
			c0, c1 := l.Columns(p0 + i)
			for r := range r1 - r0 {
				for k := c0; k < min(c1, m.cols); k++ {
					level := int32(dst[i][r*(c1-c0)+k-c0]) - x.Zero() + delta[[3]int{i, r, k - c0}]
					j := m.feedback.perm[k]
					v := float64(level) * float64(side.Row.Value(r0+r)) * float64(side.Col.Value(j))
					if d := v - float64(s.decoded[(r0+r)*m.cols+j]); math.Abs(d) > 1e-4 {
						t.Fatalf("row %d column %d decodes to %v, was trained with as %v", r0+r, j, v, s.decoded[(r0+r)*m.cols+j])
					}
					d := v - float64(source[(r0+r)*m.cols+j])
					loss, energy = loss+d*d, energy+float64(source[(r0+r)*m.cols+j]*source[(r0+r)*m.cols+j])
				}
			}
		}
	}
	if e := math.Sqrt(loss / energy); e < 0.1 || e > 0.9 || math.Abs(e-c.report.Error) > 0.01 {
		t.Errorf("relative error %.3f, reported as %.3f", e, c.report.Error)
	}
}

// Windows are whole, all of a text is read before any of it again.
func TestWindows(t *testing.T) {
	text := make([]int32, 1000)
	for i := range text {
		text[i] = int32(i)
	}
	w := &windows{text: text, span: 100, random: rand.New(rand.NewPCG(1, 2))}
	seen := map[int32]int{}
	for _, ids := range w.next(9) {
		if len(ids) != 100 {
			t.Fatalf("window of %d tokens", len(ids))
		}
		for _, id := range ids {
			seen[id]++
		}
	}
	for id, n := range seen {
		if n != 1 {
			t.Fatalf("token %d was read %d times", id, n)
		}
	}
	short := &windows{text: text[:30], span: 100, random: rand.New(rand.NewPCG(1, 2))}
	if got := short.next(2); len(got[0]) != 30 || len(got[1]) != 30 {
		t.Errorf("a short text gave windows of %d and %d tokens", len(got[0]), len(got[1]))
	}
}
