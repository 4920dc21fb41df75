package decode_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/lamina-llm/lamina/decode"
	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/cpu"
	"github.com/lamina-llm/lamina/internal/cpu/cputest"
	"github.com/lamina-llm/lamina/model"
)

// factorings are ways to make a matrix of parts: everything that the format
// has, in sizes at and off the edges of lane groups, panels and bands.
var factorings = map[string]*decode.Factors{
	"one pair": {Rows: 150, Cols: 200, Parts: []decode.Part{{150, 64, -1, 0}}},
	"rank one": {Rows: 40, Cols: 33, Parts: []decode.Part{{40, 1, -1, 0}}},
	"three pairs, one input": {Rows: 230, Cols: 300, Parts: []decode.Part{
		{130, 70, -1, 0}, {60, 17, -1, 0}, {40, 40, -1, 0}}},
	"dense alone": {Rows: 90, Cols: 128, Parts: []decode.Part{{90, 0, 0, -1}}},
	"dense in the middle, same input": {Rows: 200, Cols: 96, Parts: []decode.Part{
		{64, 16, -1, 0}, {72, 0, 0, -1}, {64, 48, -1, 0}}},
	"dense in the middle, input of its own": {Rows: 200, Cols: 96, Parts: []decode.Part{
		{64, 16, -1, 1}, {72, 0, 0, -1}, {64, 48, -1, 1}}},
	"corrections": {Rows: 180, Cols: 320, Parts: []decode.Part{
		{100, 16, 0, 1}, {80, 24, 0, 1}}},
	"corrections in one input": {Rows: 180, Cols: 320, Parts: []decode.Part{
		{100, 16, 0, 0}, {80, 0, 0, -1}}},
	"equal columns of two inputs": {Rows: 200, Cols: 300, Parts: []decode.Part{
		{100, 0, 0, -1}, {50, 50, -1, 1}, {50, 50, -1, 1}}},
	"all kinds": {Rows: 1500, Cols: 260, Parts: []decode.Part{
		{1100, 200, 2, 1}, {80, 0, 0, -1}, {70, 64, -1, 3}, {250, 128, 2, 3}}},
}

// factoredMatrix is a random factored matrix.
type factoredMatrix struct {
	f    *decode.Factors
	mats []*decode.Matrix
	w    [][]float32 // what each of mats stands for
}

func randomFactored(t *testing.T, f *decode.Factors, mode rans.Mode) factoredMatrix {
	t.Helper()
	if err := f.Validate(); err != nil {
		t.Fatal(err)
	}
	m := factoredMatrix{f: f}
	for i, s := range f.Shapes() {
		band := min(s[0], 48)
		if s[0] > 1000 {
			band = 512
		}
		// Matrices of the same shape get the same scales: the first two inputs
		// share the quantised vectors if they are of equal height.
		mat, w := code(t, s[0], s[1], band, 1+i%2, mode, i%2, i%3 == 2)
		m.mats, m.w = append(m.mats, mat), append(m.w, w)
	}
	return m
}

func (m *factoredMatrix) workspace(batch int, pool decode.Pool) *decode.Workspace {
	s := decode.Size{Batch: batch}
	for _, mat := range m.mats {
		s.Grow(mat)
	}
	s.GrowFactored(m.f)
	return decode.NewWorkspace(pool, s)
}

// by computes n products step by step; product multiplies matrix i.
func (m *factoredMatrix) by(n int, x []float32, product func(i int, x []float32) []float32) []float32 {
	f := m.f
	inputs := f.Inputs()
	var mid [][]float32
	for k := range inputs {
		mid = append(mid, product(k, x))
	}
	cut := func(k, at, width int) []float32 { // elements [at, at+width) of every vector
		var out []float32
		for t := range n {
			out = append(out, mid[k][t*inputs[k]+at:][:width]...)
		}
		return out
	}
	next, a, row := make([]int, len(inputs)), len(inputs), 0
	y := make([]float32, n*f.Rows)
	for _, p := range f.Parts {
		var q, ab []float32
		if p.Dense >= 0 {
			q = cut(p.Dense, next[p.Dense], p.Rows)
			next[p.Dense] += p.Rows
		}
		if p.Rank > 0 {
			ab = product(a, cut(p.Down, next[p.Down], p.Rank))
			next[p.Down] += p.Rank
			a++
		}
		for t := range n {
			for r := range p.Rows {
				v := &y[t*f.Rows+row+r]
				if ab != nil {
					*v = ab[t*p.Rows+r]
				}
				if q != nil {
					*v += q[t*p.Rows+r]
				}
			}
		}
		row += p.Rows
	}
	return y
}

// TestFactored compares, on every tier and pool, coded and unpacked, in batches
// and alone, with the products done one after another, bit for bit, and
// those with float arithmetic on the decoded weights.
func TestFactored(t *testing.T) {
	for name, f := range factorings {
		for _, mode := range []rans.Mode{rans.Scalar, rans.DQ} {
			t.Run(fmt.Sprintf("%s/%v", name, mode), func(t *testing.T) { testFactored(t, f, mode) })
		}
	}
}

func testFactored(t *testing.T, f *decode.Factors, mode rans.Mode) {
	const n = 5
	m := randomFactored(t, f, mode)
	r := rand.New(rand.NewPCG(5, 6))
	x := make([]float32, n*f.Cols)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	var want []float32
	cputest.ForEachTier(t, func(t *testing.T, _ cpu.Tier) {
		for _, pool := range []decode.Pool{model.Serial{}, scatter{}} {
			ws := m.workspace(n, pool)
			var coded, unpacked []decode.Operator
			for _, mat := range m.mats {
				u, err := decode.Unpack(mat, ws, make([]byte, mat.UnpackedBytes()))
				if err != nil {
					t.Fatal(err)
				}
				coded, unpacked = append(coded, decode.NewCoded(mat, ws)), append(unpacked, u)
			}
			if want == nil {
				want = m.by(n, x, func(i int, x []float32) []float32 {
					rows, _ := m.mats[i].Dims()
					y := make([]float32, n*rows)
					if err := coded[i].Apply(y, x, n); err != nil {
						t.Fatal(err)
					}
					return y
				})
				m.compareFloat(t, want, x, n)
			}
			for _, ops := range [][]decode.Operator{coded, unpacked} {
				op, err := decode.NewFactored(f, ops, ws)
				if err != nil {
					t.Fatal(err)
				}
				batch, single := make([]float32, n*f.Rows), make([]float32, n*f.Rows)
				for i := range batch {
					batch[i], single[i] = float32(math.NaN()), float32(math.NaN())
				}
				if err := op.Apply(batch, x, n); err != nil {
					t.Fatal(err)
				}
				for k := range n {
					if err := op.Apply(single[k*f.Rows:(k+1)*f.Rows], x[k*f.Cols:(k+1)*f.Cols], 1); err != nil {
						t.Fatal(err)
					}
				}
				if !slices.Equal(batch, want) || !slices.Equal(single, want) {
					t.Fatalf("%T with %T: results differ from the products one by one", ops[0], pool)
				}
				if err := op.Apply(nil, nil, 0); err != nil {
					t.Error(err)
				}
			}
		}
	})
}

// compareFloat checks y against float arithmetic. Rounding to int8 happens
// twice, each time with an error of about a hundredth of the vector.
func (m *factoredMatrix) compareFloat(t *testing.T, y, x []float32, n int) {
	t.Helper()
	want := m.by(n, x, func(i int, x []float32) []float32 {
		rows, cols := m.mats[i].Dims()
		out := make([]float32, n*rows)
		for k := range n {
			for r := range rows {
				sum := 0.0
				for j := range cols {
					sum += float64(m.w[i][r*cols+j]) * float64(x[k*cols+j])
				}
				out[k*rows+r] = float32(sum)
			}
		}
		return out
	})
	var diff, norm float64
	for i, v := range y {
		d := float64(v - want[i])
		diff += d * d
		norm += float64(want[i]) * float64(want[i])
	}
	if e := math.Sqrt(diff / norm); !(e < 0.04) {
		t.Errorf("relative error %.4f against float arithmetic", e)
	}
}

func TestFactorsRoundTrip(t *testing.T) {
	for name, f := range factorings {
		data, err := f.AppendTo([]byte{1, 2})
		if err != nil {
			t.Fatal(name, err)
		}
		got, err := decode.ParseFactors(f.Rows, f.Cols, data[2:])
		if err != nil {
			t.Fatal(name, err)
		}
		if !reflect.DeepEqual(got, f) {
			t.Errorf("%s: got %+v, want %+v", name, got, f)
		}
		var rows int
		for _, s := range f.Shapes() {
			rows += s[0] * s[1]
		}
		if int(f.MultiplyAdds()) != rows {
			t.Errorf("%s: %d multiplications, shapes have %d", name, f.MultiplyAdds(), rows)
		}
	}
}

func TestFactorsRefuse(t *testing.T) {
	good := &decode.Factors{Rows: 10, Cols: 8, Parts: []decode.Part{{6, 2, 0, 1}, {4, 0, 0, -1}}}
	data, err := good.AppendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	set := func(at int, v byte) []byte {
		d := bytes.Clone(data)
		d[at] = v
		return d
	}
	for name, d := range map[string][]byte{
		"empty":                 nil,
		"short header":          data[:3],
		"cut off":               data[:len(data)-1],
		"too long":              append(bytes.Clone(data), 0),
		"no parts":              {0, 0, 0, 0},
		"more parts than bytes": set(0, 3),
		"another input count":   set(1, 3),
		"reserved byte":         set(2, 1),
		"reserved byte of part": set(4+11, 1),
		"no rows":               set(4, 0),
		"too few rows":          set(4, 5),
		"too many rows":         set(4, 7),
		"huge rows":             set(4+3, 255),
		"rank above columns":    set(4+4, 9),
		"rank above rows":       set(4+4, 7),
		"huge rank":             set(4+7, 255),
		"rank without input":    set(4+9, 255),
		"input without rank":    set(4+12+9, 0),
		"neither":               set(4+12+8, 255),
		"input out of range":    set(4+8, 16),
		"input skipped":         set(4+9, 2),
	} {
		if _, err := decode.ParseFactors(10, 8, d); !errors.Is(err, rans.ErrCorrupt) {
			t.Errorf("%s: error %v, want %v", name, err, rans.ErrCorrupt)
		}
	}
	for _, s := range [][2]int{{0, 8}, {11, 8}, {10, 0}, {10, 1}, {1 << 30, 8}, {10, 1 << 30}} {
		if _, err := decode.ParseFactors(s[0], s[1], data); !errors.Is(err, rans.ErrCorrupt) {
			t.Errorf("%v: error %v, want %v", s, err, rans.ErrCorrupt)
		}
	}
}

func TestNewFactoredRefuses(t *testing.T) {
	m := randomFactored(t, factorings["one pair"], rans.Scalar)
	ws := m.workspace(1, model.Serial{})
	b, a := decode.NewCoded(m.mats[0], ws), decode.NewCoded(m.mats[1], ws)
	for _, ops := range [][]decode.Operator{{b}, {a, b}, {b, a, a}, nil} {
		if _, err := decode.NewFactored(m.f, ops, ws); err == nil {
			t.Errorf("%d operators were accepted", len(ops))
		}
	}
}

// FuzzFactors parses descriptions of parts: what is accepted is written again
// as it was, and what follows from it stays within what the shape allows.
func FuzzFactors(f *testing.F) {
	for _, fac := range factorings {
		data, err := fac.AppendTo(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(fac.Rows, fac.Cols, data)
	}
	f.Fuzz(func(t *testing.T, rows, cols int, data []byte) {
		fac, err := decode.ParseFactors(rows, cols, data)
		if err != nil {
			if !errors.Is(err, rans.ErrCorrupt) {
				t.Fatalf("error %v is not ErrCorrupt", err)
			}
			return
		}
		again, err := fac.AppendTo(nil)
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("written again: %x, %v; was %x", again, err, data)
		}
		coded := 0
		for _, s := range fac.Shapes() {
			if s[0] < 1 || s[1] < 1 || s[1] > cols {
				t.Fatalf("matrix of %v in one of %d x %d", s, rows, cols)
			}
			coded += s[0]
		}
		if coded > 3*rows { // Q, B and A
			t.Fatalf("%d coded rows for %d", coded, rows)
		}
		s := decode.Size{Batch: 1}
		s.GrowFactored(fac)
		if s.Middle > 2*rows {
			t.Fatalf("%d elements between the products for %d rows", s.Middle, rows)
		}
	})
}
