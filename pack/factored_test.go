package pack

import (
	"context"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/tile"
	"github.com/lamina-llm/lamina/model"
)

// factoredCase is a matrix in three parts whose factors have singular values
// that fall by a factor of e^3, and inputs of which some go together.
func factoredCase(mode rans.Mode) (*Factored, []float32) {
	const cols, tokens = 192, 400
	r := rand.New(rand.NewPCG(11, 12))
	random := func(n int, scale float64) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(r.NormFloat64() * scale)
		}
		return v
	}
	pair := func(rows, rank int) (a, b []float32) {
		a, b = random(rows*rank, 1), random(rank*cols, 1)
		for k := range rank {
			s := float32(math.Exp(-3 * float64(k) / float64(rank)))
			for i := range rows {
				a[i*rank+k] *= s
			}
		}
		return a, b
	}
	f := &Factored{Name: "w", Cols: cols, Mode: mode, Workers: 2, Parts: []FactoredPart{
		{Rows: 256, Rank: 64, ABits: 5, BBits: 5},
		{Rows: 96, Dense: random(96*cols, 1), DenseBits: 4},
		{Rows: 128, Dense: random(128*cols, 0.3), DenseBits: 4, Rank: 48, ABits: 4, BBits: 5},
	}}
	for i := range f.Parts {
		if p := &f.Parts[i]; p.Rank > 0 {
			p.A, p.B = pair(p.Rows, p.Rank)
		}
	}
	x := random(tokens*cols, 1)
	for t := range tokens {
		for j := range cols / 2 {
			x[t*cols+j] = 3*x[t*cols+cols/2+j] + 0.3*x[t*cols+j]
		}
	}
	return f, x
}

// multiply returns X W^T of the parts, factors as given.
func multiplyOut(f *Factored, x []float32) []float64 {
	n := len(x) / f.Cols
	var out []float64
	for _, p := range f.Parts {
		for t := range n {
			in := x[t*f.Cols : (t+1)*f.Cols]
			y := make([]float64, p.Rows)
			dot := func(row []float32, v []float64) (s float64) {
				for j, w := range row {
					s += float64(w) * v[j]
				}
				return s
			}
			wide := make([]float64, f.Cols)
			for j, v := range in {
				wide[j] = float64(v)
			}
			z := make([]float64, p.Rank)
			for k := range z {
				z[k] = dot(p.B[k*f.Cols:(k+1)*f.Cols], wide)
			}
			for i := range y {
				if p.Dense != nil {
					y[i] = dot(p.Dense[i*f.Cols:(i+1)*f.Cols], wide)
				}
				y[i] += dot(p.A[i*p.Rank:(i+1)*p.Rank], z)
			}
			out = append(out, y...)
		}
	}
	return out
}

// decoded returns f with what c holds in place of its values.
func decoded(t *testing.T, f *Factored, c *codedFactored) *Factored {
	t.Helper()
	var mats [][]float32
	for i := range c.mats {
		v, err := c.values(i)
		if err != nil {
			t.Fatal(err)
		}
		mats = append(mats, v)
	}
	a := len(c.layout.Inputs())
	take := func(k, rows int) []float32 {
		v := mats[k][:rows*f.Cols]
		mats[k] = mats[k][rows*f.Cols:]
		return v
	}
	g := *f
	g.Parts = nil
	for i, p := range c.layout.Parts {
		q := FactoredPart{Rows: p.Rows, Rank: p.Rank}
		if p.Dense >= 0 {
			q.Dense = take(p.Dense, p.Rows)
		}
		if p.Rank > 0 {
			q.B = take(p.Down, p.Rank)
			q.A = mats[a]
			a++
		}
		if p.Rows != f.Parts[i].Rows || p.Rank != f.Parts[i].Rank {
			t.Fatalf("part %d: %+v", i, p)
		}
		g.Parts = append(g.Parts, q)
	}
	return &g
}

func TestFactored(t *testing.T) {
	for _, mode := range []rans.Mode{rans.Scalar, rans.DQ} {
		f, x := factoredCase(mode)
		want := multiplyOut(f, x)
		loss := func(c *codedFactored) float64 {
			got := multiplyOut(decoded(t, f, c), x)
			var diff, norm float64
			for i, v := range got {
				diff += (v - want[i]) * (v - want[i])
				norm += want[i] * want[i]
			}
			return math.Sqrt(diff / norm)
		}
		before := append([]float32(nil), f.Parts[0].B...)
		plain, err := f.code(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range f.Parts[0].B {
			if v != before[i] {
				t.Fatal("the caller's factors were changed")
			}
		}
		// B of both parts in one matrix, dense rows in another, and two A.
		if len(plain.mats) != 4 || len(plain.layout.Inputs()) != 2 {
			t.Fatalf("%+v", plain.layout)
		}
		for i, b := range []float64{5, 4, 5, 4} {
			m := plain.mats[i].report
			// States of the lanes, tables and padding are a part of so small matrices.
			n := float64(m.Rows * m.Cols)
			lanes := float64((m.Cols+rans.Lanes-1)/rans.Lanes*rans.Lanes) / float64(m.Cols)
			over := (float64(len(plain.mats[i].side))*8 + float64(len(plain.mats[i].chunks))*64*18*4) / n
			if m.Bits < b-0.25 || m.Bits > b*lanes+0.25+over {
				t.Errorf("%v: matrix %d has %.2f bits, want %v and at most %.2f more", mode, i, m.Bits, b, over)
			}
		}
		// A level of 4 bits leaves about 1/16 of the weights, with a step that
		// follows what errors cost a bit less.
		e := loss(plain)
		if e > 0.08 {
			t.Errorf("%v: relative error %.4f", mode, e)
		}
		f.gram = newTriangle(f.Cols)
		f.gram.add(x, len(x)/f.Cols, model.Serial{}, new(columns))
		fed, err := f.code(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if g := loss(fed); g > 0.9*e {
			t.Errorf("%v: relative error %.4f with error feedback, %.4f without", mode, g, e)
		} else {
			t.Logf("%v: relative error %.4f, with error feedback %.4f; %d and %d bytes", mode, e, g, plain.bytes(), fed.bytes())
		}
	}
}

// TestFactoredZeros codes what has nothing in it.
func TestFactoredZeros(t *testing.T) {
	f := &Factored{Name: "w", Cols: 70, Mode: rans.DQ, Parts: []FactoredPart{
		{Rows: 20, Rank: 3, A: make([]float32, 60), B: make([]float32, 210), ABits: 4, BBits: 4},
		{Rows: 7, Dense: make([]float32, 490), DenseBits: 3},
	}}
	for _, g := range []*triangle{nil, newTriangle(70)} {
		f.gram = g
		c, err := f.code(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for i := range c.mats {
			v, err := c.values(i)
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range v {
				if x != 0 {
					t.Fatalf("matrix %d holds %v", i, x)
				}
			}
		}
	}
}

func TestFactoredRefuses(t *testing.T) {
	nan := float32(math.NaN())
	for want, f := range map[string]*Factored{
		"parts":           {Cols: 4},
		"rank -1":         {Cols: 4, Parts: []FactoredPart{{Rows: 2, Rank: -1}}},
		"dense elements":  {Cols: 4, Parts: []FactoredPart{{Rows: 2, Dense: make([]float32, 7), DenseBits: 3}}},
		"factors of":      {Cols: 4, Parts: []FactoredPart{{Rows: 2, Rank: 1, A: make([]float32, 2), B: make([]float32, 5), ABits: 3, BBits: 3}}},
		"bits":            {Cols: 4, Parts: []FactoredPart{{Rows: 2, Dense: make([]float32, 8), DenseBits: 60}}},
		"element is NaN":  {Cols: 2, Parts: []FactoredPart{{Rows: 1, Dense: []float32{1, nan}, DenseBits: 3}}},
		"inputs for 2":    {Cols: 2, Parts: []FactoredPart{{Rows: 1, Dense: []float32{1, 1}, DenseBits: 3}}, gram: newTriangle(3)},
		"rank 3":          {Cols: 2, Parts: []FactoredPart{{Rows: 4, Rank: 3, A: make([]float32, 12), B: make([]float32, 6), ABits: 3, BBits: 3}}},
		"inputs -1 and -": {Cols: 2, Parts: []FactoredPart{{Rows: 4}}},
	} {
		if _, err := f.code(context.Background()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

// TestSkinny: chunks of few rows take many panels, as far as the format and
// what is worth sharing out allow.
func TestSkinny(t *testing.T) {
	for _, c := range []struct{ rows, cols, band, depth int }{
		{16, 4096, 16, 16}, {64, 4096, 64, 15}, {300, 256, 300, 1}, {5000, 64, 1264, 1},
	} {
		band, depth := skinny(c.rows, c.cols)
		if band != c.band || depth != c.depth {
			t.Errorf("%d x %d: bands of %d, %d panels, want %d, %d", c.rows, c.cols, band, depth, c.band, c.depth)
		}
		if (band+15)/16*16*depth > rans.MaxBandPanels || depth > (tile.Layout{Rows: c.rows, Cols: c.cols}).Panels() {
			t.Errorf("%d x %d: bands of %d, %d panels are too many", c.rows, c.cols, band, depth)
		}
	}
}
