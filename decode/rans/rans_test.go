package rans

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lamina-llm/lamina/internal/cpu"
	"github.com/lamina-llm/lamina/internal/cpu/cputest"
	"github.com/lamina-llm/lamina/internal/tile"
)

// sample is a coded random matrix with all that a decoder should give back.
type sample struct {
	m      *Matrix
	side   *Side
	level  [][]int32 // row, coded column: level - Zero, outliers included
	chunks [][]byte
}

// newSample codes random levels of roughly the given spread (standard
// deviation in steps), with random classes and an outlier among every 500.
func newSample(t testing.TB, r *rand.Rand, side *Side, rows, cols, classes int, spread float64) *sample {
	t.Helper()
	even := r.IntN(3) == 0
	for c := range classes {
		for range side.quantisers() {
			side.Tables = append(side.Tables, gaussTable(t, r, even, spread*(0.5+float64(c+1)/float64(classes+1))))
		}
	}
	return sampleOf(t, r, side, rows, cols, 500)
}

// gaussTable fits a table to rounded Gaussian values.
func gaussTable(t testing.TB, r *rand.Rand, even bool, sigma float64) Table {
	t.Helper()
	var count [Alphabet]int64
	for range 4000 {
		count[min(max(int(math.Round(r.NormFloat64()*sigma))+8, 0), 15)]++
	}
	fit := FitTable
	if even {
		fit = FitEvenTable
	}
	f, err := fit(count, 0)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// sampleOf codes random levels that follow the tables of side, with random
// classes and an outlier among every so many weights (none if 0).
func sampleOf(t testing.TB, r *rand.Rand, side *Side, rows, cols, every int) *sample {
	t.Helper()
	classes := side.Classes()
	l := tile.Layout{Rows: rows, Cols: cols}
	planes := int(side.Planes)
	if classes > 1 {
		side.RowClass = make([]uint8, rows)
		for i := range side.RowClass {
			side.RowClass[i] = uint8(r.IntN(classes/2 + 1))
		}
		side.GroupClass = make([]uint8, l.Groups())
		for i := range side.GroupClass {
			side.GroupClass[i] = uint8(r.IntN((classes+1)/2 - 1 + 1))
		}
	}
	if side.Row.Base == 0 {
		side.Row.Base, side.Col.Base = 1, 1
	}
	e, err := NewEncoder(rows, cols, side)
	if err != nil {
		t.Fatal(err)
	}
	blob, err := side.AppendTo(nil, l)
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewMatrix(rows, cols, blob)
	if err != nil {
		t.Fatal(err)
	}
	slots := make([][probOne]uint8, len(side.Tables))
	for i := range slots {
		if err := side.Tables[i].slots(new([Alphabet]uint8), &slots[i]); err != nil {
			t.Fatal(err)
		}
	}
	s := &sample{m: m, side: side, level: make([][]int32, rows)}
	for i := range s.level {
		s.level[i] = make([]int32, l.Padded())
	}
	for i := range m.Chunks() {
		r0, r1 := m.Band(i / m.Blocks())
		p0, p1 := m.Block(i % m.Blocks())
		index, outliers := make([][]uint8, p1-p0), make([][]Outlier, p1-p0)
		for p := p0; p < p1; p++ {
			g0, g1 := l.Panel(p)
			width := (g1 - g0) * Lanes
			index[p-p0] = make([]uint8, (r1-r0)*width)
			state := make([]uint8, width)
			for row := range r1 - r0 {
				for j := range width {
					col := g0*Lanes + j
					if col >= cols {
						continue
					}
					q := 0
					if side.Mode == DQ {
						q = int(state[j] & 1)
					}
					sym := slots[side.classOf(r0+row, g0+j/Lanes)*side.quantisers()+q][r.IntN(probOne)]
					u := sym<<planes | uint8(r.IntN(1<<planes))
					index[p-p0][row*width+j] = u
					v := int32(u) - 8<<planes
					if side.Mode == DQ {
						v = int32(recon(u, state[j]&1, planes)) - m.Zero()
						state[j] = Next[state[j]][u&1]
					}
					if every > 0 && r.IntN(every) == 0 && len(outliers[p-p0]) < (r1-r0)*width/maxOutliers {
						d := int32(r.IntN(400) - 200)
						outliers[p-p0] = append(outliers[p-p0], Outlier{row, j, d})
						v += d
					}
					s.level[r0+row][col] = v
				}
			}
		}
		chunk, err := e.Chunk(nil, i, index, outliers)
		if err != nil {
			t.Fatal(err)
		}
		s.chunks = append(s.chunks, chunk)
	}
	if err := m.Attach(s.chunks); err != nil {
		t.Fatal(err)
	}
	return s
}

// check decodes everything, as levels and as products, and compares.
func (s *sample) check(t *testing.T, r *rand.Rand) {
	t.Helper()
	l := s.m.Layout()
	act := make([]int8, l.Padded())
	for j := range act {
		act[j] = int8(r.IntN(255) - 127)
	}
	sum := make([]int32, l.Panels())
	for p := range sum {
		c0, c1 := l.Columns(p)
		for _, a := range act[c0:c1] {
			sum[p] += int32(a)
		}
	}
	var scratch Scratch
	for i := range s.m.Chunks() {
		r0, r1 := s.m.Band(i / s.m.Blocks())
		p0, p1 := s.m.Block(i % s.m.Blocks())
		padded := padBlock(r1 - r0)
		dots, levels := make([][]int32, p1-p0), make([][]uint8, p1-p0)
		got := make([][]int32, p1-p0)
		for p := p0; p < p1; p++ {
			c0, c1 := l.Columns(p)
			dots[p-p0], levels[p-p0] = make([]int32, padded), make([]uint8, padded*(c1-c0))
			got[p-p0] = make([]int32, padded*(c1-c0))
		}
		if err := s.m.Dots(i, act, sum, dots, &scratch); err != nil {
			t.Fatal(err)
		}
		err := s.m.Levels(i, levels, func(p, row, col int, delta int32) {
			c0, c1 := l.Columns(p0 + p)
			got[p][row*(c1-c0)+col] += delta
		}, &scratch)
		if err != nil {
			t.Fatal(err)
		}
		for p := p0; p < p1; p++ {
			c0, c1 := l.Columns(p)
			for row := range r1 - r0 {
				want := int32(0)
				for c := c0; c < c1; c++ {
					at := row*(c1-c0) + c - c0
					v := int32(levels[p-p0][at]) - s.m.Zero() + got[p-p0][at]
					if c < l.Cols && v != s.level[r0+row][c] {
						t.Fatalf("chunk %d row %d column %d: level %d, want %d", i, row, c, v, s.level[r0+row][c])
					}
					want += v * int32(act[c])
				}
				if dots[p-p0][row] != want {
					t.Fatalf("chunk %d panel %d row %d: dot %d, want %d", i, p, row, dots[p-p0][row], want)
				}
			}
		}
	}
}

// checkWalk decodes everything part by part and compares.
func (s *sample) checkWalk(t *testing.T) {
	t.Helper()
	l := s.m.Layout()
	var scratch Scratch
	for _, step := range []int{16, 48} {
		seen, buf := 0, make([]uint8, step*tile.MaxWidth)
		for i := range s.m.Chunks() {
			r0, r1 := s.m.Band(i / s.m.Blocks())
			p0, p1 := s.m.Block(i % s.m.Blocks())
			panel, next := p0, r0
			err := s.m.Walk(i, step, buf, func(p *Part) {
				if next == r1 {
					panel, next = panel+1, r0
				}
				if p.Panel != panel || p.Row != next || p.Rows != min(step, r1-next) {
					t.Fatalf("chunk %d step %d: part of %d rows from %d of panel %d, want it from %d of %d", i, step, p.Rows, p.Row, p.Panel, next, panel)
				}
				next += p.Rows
				c0, c1 := l.Columns(p.Panel)
				got := make([]int32, p.Rows*(c1-c0))
				for k, v := range p.Levels {
					got[k] = int32(v) - s.m.WalkZero()
				}
				for _, o := range p.Rest {
					at := o.Row*(c1-c0) + o.Col
					if v := int32(p.Levels[at]) + o.Delta; v >= 0 && v <= maxLevel {
						t.Fatalf("chunk %d: an outlier that fits its level is left over", i)
					}
					got[at] += o.Delta
				}
				for row := range p.Rows {
					for c := c0; c < min(c1, l.Cols); c++ {
						if v := got[row*(c1-c0)+c-c0]; v != s.level[p.Row+row][c] {
							t.Fatalf("chunk %d step %d row %d column %d: level %d, want %d", i, step, p.Row+row, c, v, s.level[p.Row+row][c])
						}
					}
				}
				seen += p.Rows
			}, &scratch)
			if err != nil {
				t.Fatal(err)
			}
			if panel != p1-1 || next != r1 {
				t.Fatalf("chunk %d: the walk ends at row %d of panel %d", i, next, panel)
			}
		}
		if want := l.Rows * l.Panels(); seen != want {
			t.Fatalf("%d rows of panels, want %d", seen, want)
		}
	}
}

// cases covers every number of streams, edges of lane groups and row blocks,
// several bands and chunks of several panels.
var cases = []struct{ rows, cols, band, depth int }{
	{1, 1, 1, 1}, {15, 64, 16, 1}, {16, 65, 16, 1}, {17, 128, 17, 2}, {33, 192, 16, 1},
	{40, 256, 40, 1}, {31, 320, 16, 2}, {50, 384, 64, 2}, {64, 576, 32, 3}, {20, 1100, 20, 4},
}

func TestRoundTrip(t *testing.T) {
	for _, mode := range []Mode{Scalar, DQ} {
		for planes := range mode.MaxPlanes() + 1 {
			for _, c := range cases {
				for _, classes := range []int{1, 5} {
					name := fmt.Sprintf("mode=%v/planes=%d/%dx%d/classes=%d", mode, planes, c.rows, c.cols, classes)
					r := rand.New(rand.NewPCG(1, uint64(c.rows*c.cols)))
					side := &Side{Mode: mode, Planes: uint8(planes), Band: c.band, Depth: c.depth}
					s := newSample(t, r, side, c.rows, c.cols, classes, 1.2)
					t.Run(name, func(t *testing.T) {
						cputest.ForEachTier(t, func(t *testing.T, tier cpu.Tier) {
							s.check(t, rand.New(rand.NewPCG(2, 3)))
							s.checkWalk(t)
						})
					})
				}
			}
		}
	}
}

// define decodes n rows of chunk 0, of one panel, as the format describes it.
func (s *sample) define(n int, levels []uint8, w *Scratch) {
	c, cur, planes := &s.m.chunks[0], &w.args.cursor, int(s.side.Planes)
	for r := range n {
		for g := range c.streams {
			nq := s.side.quantisers()
			t := s.m.tables[s.side.classOf(r, g)*nq:][:nq]
			var x [Lanes]uint16
			for l := range x {
				x[l] = uint16(cur.lo[g][l]) | uint16(cur.hi[g][l])<<8
			}
			out := (*[Lanes]uint8)(levels[(r*c.streams+g)*Lanes:])
			cur.pos[g] += step(t, &x, &cur.dq[g], c.data[cur.pos[g]:c.end[g]], out)
			addPlanes(out, c.data[cur.raw:], planes)
			cur.raw += planes * Lanes / 8
			if s.side.Mode == DQ {
				reconstruct(out, &cur.dq[g], planes)
			}
			for l, v := range x {
				cur.lo[g][l], cur.hi[g][l] = uint8(v), uint8(v>>8)
			}
		}
	}
}

// TestTiersAgree compares output, positions and states of each tier with the
// definition after every row count.
func TestTiersAgree(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 5))
	for i := range 4 {
		mode := Mode(i % 2)
		side := &Side{Mode: mode, Planes: uint8(i / 2), Band: 100, Depth: 1}
		s := newSample(t, r, side, 100, 256, 4, 1.5)
		cputest.ForEachTier(t, func(t *testing.T, tier cpu.Tier) {
			for n := 1; n <= 100; n++ {
				want, got := Scratch{args: new(kernelArgs)}, Scratch{args: new(kernelArgs)}
				for _, w := range []*Scratch{&want, &got} {
					for g := range 4 {
						copy(w.args.lo[g][:], s.m.chunks[0].states[g*2*Lanes:])
						copy(w.args.hi[g][:], s.m.chunks[0].states[g*2*Lanes+Lanes:])
						w.args.pos[g] = s.m.chunks[0].start[g]
					}
					w.args.raw = s.m.chunks[0].raw
				}
				a, b := make([]uint8, 112*256), make([]uint8, 112*256)
				s.define(n, a, &want)
				s.m.rows(&s.m.vec, &s.m.chunks[0], 0, n, nil, 0, nil, b, &got)
				if want.args.cursor != got.args.cursor {
					t.Fatalf("mode %v: states or positions differ after %d rows", mode, n)
				}
				if !slices.Equal(a[:n*256], b[:n*256]) {
					t.Fatalf("mode %v: levels differ within %d rows", mode, n)
				}
				if !slices.Equal(b[n*256:], make([]uint8, len(b)-n*256)) {
					t.Fatalf("mode %v: levels written past row %d", mode, n)
				}
			}
		})
	}
}

// TestDamage flips bits all over a chunk: every tier gives an error or, where
// the bit is one of the raw planes or outliers, a decode of the right size; and
// all tiers agree on which.
func TestDamage(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 7))
	for _, mode := range []Mode{Scalar, DQ} {
		s := newSample(t, r, &Side{Mode: mode, Planes: 1, Band: 48, Depth: 2}, 48, 320, 3, 1.2)
		caught := 0
		for range 400 {
			bad := append(make([]byte, 0, len(s.chunks[0])+Slack), s.chunks[0]...)
			bad[r.IntN(len(bad))] ^= 1 << r.IntN(8)
			if r.IntN(4) == 0 {
				bad = bad[:r.IntN(len(bad))]
			}
			var first error
			cputest.ForEachTier(t, func(t *testing.T, tier cpu.Tier) {
				err := s.m.Attach([][]byte{bad})
				if err == nil {
					levels := [][]uint8{make([]uint8, 48*192), make([]uint8, 48*192)}
					err = s.m.Levels(0, levels, func(int, int, int, int32) {}, new(Scratch))
				}
				if err != nil && !errors.Is(err, ErrCorrupt) {
					t.Fatalf("error %v is not ErrCorrupt", err)
				}
				if tier == cpu.Generic {
					first = err
				} else if (first == nil) != (err == nil) {
					t.Fatalf("tier %v says %v, the reference %v", tier, err, first)
				}
			})
			if first != nil {
				caught++
			}
		}
		if caught < 200 {
			t.Errorf("mode %v: only %d of 400 damaged chunks were noticed", mode, caught)
		}
	}
}

func TestSideRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 9))
	l := tile.Layout{Rows: 37, Cols: 130}
	side := &Side{Mode: DQ, Planes: 2, Band: 16, Depth: 2,
		Row:   Scales{Base: 0.25, Frac: 4, Bits: 5, Code: make([]uint8, 37)},
		Col:   Scales{Base: 2, Frac: 6, Bits: 7, Code: make([]uint8, 130)},
		Order: make([]uint8, 130)}
	for i := range side.Row.Code {
		side.Row.Code[i] = uint8(r.IntN(32))
	}
	for i := range side.Col.Code {
		side.Col.Code[i], side.Order[i] = uint8(r.IntN(128)), uint8(r.IntN(3))
	}
	newSample(t, r, side, 37, 130, 4, 1)
	blob, err := side.AppendTo(nil, l)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseSide(blob, l)
	if err != nil {
		t.Fatal(err)
	}
	again, _ := got.AppendTo(nil, l)
	if !slices.Equal(blob, again) {
		t.Error("side information changes on a round trip")
	}
	for n := range blob {
		if _, err := ParseSide(blob[:n], l); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
}

func TestFitTable(t *testing.T) {
	r := rand.New(rand.NewPCG(10, 11))
	for range 2000 {
		var count [Alphabet]int64
		total, entropy := 0.0, 0.0
		sigma := math.Exp(r.Float64()*4 - 1.5)
		for range 3000 {
			if s := math.Round(r.NormFloat64()*sigma) + 8; s >= 0 && s < 16 {
				count[int(s)]++
			}
		}
		for _, c := range count {
			total += float64(c)
		}
		for _, c := range count {
			if c > 0 {
				entropy -= float64(c) / total * math.Log2(float64(c)/total)
			}
		}
		f, err := FitTable(count, 0)
		if err != nil {
			t.Fatal(err)
		}
		g, err := FitEvenTable(count, 0)
		if err != nil {
			t.Fatal(err)
		}
		length, even := 0.0, 0.0
		for s, c := range count {
			if c > 0 {
				length -= float64(c) / total * math.Log2(float64(f.Freq[s])/256)
				even -= float64(c) / total * math.Log2(float64(g.Freq[s])/256)
			}
			if g.Freq[s]%2 != 0 {
				t.Fatalf("even table %v", g)
			}
		}
		if length > entropy+0.03 || even > entropy+0.06 || even < length-0.001 {
			t.Errorf("sigma %.2f: coded length %.3f, even %.3f, entropy %.3f: %v, %v", sigma, length, even, entropy, f, g)
		}
	}
	if _, err := FitTable([Alphabet]int64{}, 0); err != nil {
		t.Errorf("no symbols at all: %v", err)
	}
}
