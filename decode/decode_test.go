package decode_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lamina-llm/lamina/decode"
	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/cpu"
	"github.com/lamina-llm/lamina/internal/cpu/cputest"
	"github.com/lamina-llm/lamina/internal/tile"
	"github.com/lamina-llm/lamina/model"
)

// code makes a random coded matrix and returns it with the weights it stands for.
func code(t testing.TB, rows, cols, band, depth int, mode rans.Mode, planes int, ordered bool) (*decode.Matrix, []float32) {
	t.Helper()
	m := encode(t, rows, cols, band, depth, mode, planes, ordered)
	// The oracle: every row through Rows, which does not multiply.
	w, ids := make([]float32, rows*cols), make([]int32, rows)
	for i := range ids {
		ids[i] = int32(i)
	}
	if err := decode.NewCoded(m, workspace(m, 1, model.Serial{})).Rows(w, ids); err != nil {
		t.Fatal(err)
	}
	return m, w
}

// encode makes a random coded matrix.
func encode(t testing.TB, rows, cols, band, depth int, mode rans.Mode, planes int, ordered bool) *decode.Matrix {
	t.Helper()
	m, _ := encodeFor(t, rows, cols, band, depth, mode, planes, ordered, decode.NewMatrix)
	return m
}

// encodeFor is encode with another way to read the side information. It returns
// the chunks, too.
func encodeFor(t testing.TB, rows, cols, band, depth int, mode rans.Mode, planes int, ordered bool,
	open func(rows, cols int, side []byte) (*decode.Matrix, error)) (m *decode.Matrix, chunks [][]byte) {
	t.Helper()
	r := rand.New(rand.NewPCG(uint64(rows), uint64(cols)))
	l := tile.Layout{Rows: rows, Cols: cols}
	side := &rans.Side{Mode: mode, Planes: uint8(planes), Band: band, Depth: depth,
		Row: rans.Scales{Base: 0.01, Frac: 4, Bits: 5, Code: make([]uint8, rows)},
		Col: rans.Scales{Base: 0.5, Frac: 5, Bits: 6, Code: make([]uint8, cols)}}
	for i := range side.Row.Code {
		side.Row.Code[i] = uint8(r.IntN(32))
	}
	for i := range side.Col.Code {
		side.Col.Code[i] = uint8(r.IntN(64))
	}
	if ordered {
		side.Order = make([]uint8, cols)
		for i := range side.Order {
			side.Order[i] = uint8(r.IntN(4))
		}
	}
	var count [rans.Alphabet]int64
	used, edge := uint16(0xffff), 0
	if !ordered { // few symbols far from zero
		used, edge = 0x3ffc, 2
	}
	draw := func() int { return min(max(int(math.Round(r.NormFloat64()*1.3))+8, edge), 15-edge) }
	for range 10000 {
		count[draw()]++
	}
	f, err := rans.FitTable(count, used)
	if err != nil {
		t.Fatal(err)
	}
	side.Tables = []rans.Table{f, f}[:1+int(mode)]
	if ordered { // columns of four classes, rows of two
		flat, err := rans.FitTable([rans.Alphabet]int64{}, used)
		if err != nil {
			t.Fatal(err)
		}
		side.Tables = append(side.Tables, []rans.Table{flat, flat}[:1+int(mode)]...)
		side.RowClass = make([]uint8, rows)
		for i := range side.RowClass {
			side.RowClass[i] = uint8(r.IntN(2))
		}
	}
	enc, err := rans.NewEncoder(rows, cols, side)
	if err != nil {
		t.Fatal(err)
	}
	blob, err := side.AppendTo(nil, l)
	if err != nil {
		t.Fatal(err)
	}
	if m, err = open(rows, cols, blob); err != nil {
		t.Fatal(err)
	}
	geo := enc.Matrix()
	for i := range geo.Chunks() {
		r0, r1 := geo.Band(i / geo.Blocks())
		p0, p1 := geo.Block(i % geo.Blocks())
		var index [][]uint8
		var outliers [][]rans.Outlier
		for p := p0; p < p1; p++ {
			c0, c1 := l.Columns(p)
			idx := make([]uint8, (r1-r0)*(c1-c0))
			for k := range idx {
				idx[k] = uint8(draw()<<planes + r.IntN(1<<planes))
			}
			var list []rans.Outlier
			for k := 7; k < len(idx) && k%(c1-c0) < cols-c0; k += 97 {
				list = append(list, rans.Outlier{Row: k / (c1 - c0), Col: k % (c1 - c0), Delta: int32(r.IntN(60) - 30)})
			}
			index, outliers = append(index, idx), append(outliers, list)
		}
		c, err := enc.Chunk(nil, i, index, outliers)
		if err != nil {
			t.Fatal(err)
		}
		chunks = append(chunks, c)
	}
	if err := m.Attach(chunks); err != nil {
		t.Fatal(err)
	}
	return m, chunks
}

func workspace(m *decode.Matrix, batch int, pool decode.Pool) *decode.Workspace {
	s := decode.Size{Batch: batch}
	s.Grow(m)
	return decode.NewWorkspace(pool, s)
}

// scatter is a pool that uses its workers out of order, to show that results
// do not depend on who computes what.
type scatter struct{}

func (scatter) Workers() int { return 3 }
func (scatter) For(n int, f func(worker, i int)) {
	for i := n - 1; i >= 0; i-- {
		f(i%3, i)
	}
}

// TestApply compares the operators with float64 arithmetic (within what int8
// activations allow), and with each other bit for bit: fused, batched and
// unpacked, on every tier and pool.
func TestApply(t *testing.T) {
	for _, c := range []struct{ rows, cols, band, depth int }{
		{1, 1, 1, 1}, {70, 64, 32, 1}, {100, 300, 100, 2}, {33, 576, 48, 1}, {400, 700, 64, 3}, {1500, 128, 128, 1},
		{2100, 64, 1040, 1}, {80, 320, 16, 2},
	} {
		for _, mode := range []rans.Mode{rans.Scalar, rans.DQ} {
			for planes := range mode.MaxPlanes() + 1 {
				ordered := (c.rows+planes)%2 == 0
				t.Run(fmt.Sprintf("%dx%d/%v/planes=%d/ordered=%v", c.rows, c.cols, mode, planes, ordered), func(t *testing.T) {
					testApply(t, c.rows, c.cols, c.band, c.depth, mode, planes, ordered)
				})
			}
		}
	}
}

// TestWindow shows that a plane is not kept where few weights need it.
func TestWindow(t *testing.T) {
	for _, mode := range []rans.Mode{rans.Scalar, rans.DQ} {
		narrow, wide := encode(t, 64, 256, 64, 1, mode, 1, false), encode(t, 64, 256, 64, 1, mode, 1, true)
		if n, w := narrow.UnpackedBytes(), wide.UnpackedBytes(); n > 64*256/8*4.5 || w < 64*256/8*5 {
			t.Errorf("%v: %d bytes with few large levels, %d with many", mode, n, w)
		}
	}
}

// TestManyVectors multiplies more vectors than one token block.
func TestManyVectors(t *testing.T) {
	m, w := code(t, 70, 130, 48, 1, rans.DQ, 1, true)
	testVectors(t, m, w, 259)
}

func testApply(t *testing.T, rows, cols, band, depth int, mode rans.Mode, planes int, ordered bool) {
	m, w := code(t, rows, cols, band, depth, mode, planes, ordered)
	testVectors(t, m, w, 5)
}

func testVectors(t *testing.T, m *decode.Matrix, w []float32, n int) {
	rows, cols := m.Dims()
	r := rand.New(rand.NewPCG(3, 4))
	x := make([]float32, n*cols)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	var first []float32
	cputest.ForEachTier(t, func(t *testing.T, tier cpu.Tier) {
		for _, pool := range []decode.Pool{model.Serial{}, scatter{}} {
			ws := workspace(m, n, pool)
			coded := decode.NewCoded(m, ws)
			unpacked, err := decode.Unpack(m, ws, make([]byte, m.UnpackedBytes()))
			if err != nil {
				t.Fatal(err)
			}
			for _, row := range []int{0, rows / 2, rows - 1} {
				if one := make([]float32, cols); unpacked.Rows(one, []int32{int32(row)}) != nil || !slices.Equal(one, w[row*cols:(row+1)*cols]) {
					t.Fatalf("row %d of the unpacked matrix differs from the coded one's", row)
				}
			}
			for _, op := range []model.Linear{coded, unpacked} {
				batch, single := make([]float32, n*rows), make([]float32, n*rows)
				if err := op.Apply(batch, x, n); err != nil {
					t.Fatal(err)
				}
				for k := range n {
					if err := op.Apply(single[k*rows:(k+1)*rows], x[k*cols:(k+1)*cols], 1); err != nil {
						t.Fatal(err)
					}
				}
				if first == nil {
					first = batch
					compare(t, batch, w, x, rows, cols, n)
				}
				if !slices.Equal(batch, first) || !slices.Equal(single, first) {
					t.Fatalf("%T with %T: results differ from the first operator's", op, pool)
				}
			}
		}
	})
}

// compare checks y against W x in float64. Rounding an activation to int8
// leaves at most half a step, 1/254 of the panel's largest; the errors of a
// panel are independent, so six standard deviations bound them.
func compare(t *testing.T, y, w, x []float32, rows, cols, n int) {
	t.Helper()
	for k := range n {
		for i := range rows {
			want, noise := 0.0, 0.0
			for j := range cols {
				p := float64(w[i*cols+j])
				want += p * float64(x[k*cols+j])
				noise += p * p
			}
			// Column scales stretch activations up to 4 x; absmax is below 5.
			bound := 6*math.Sqrt(noise)*5*4/254 + 1e-6
			if got := float64(y[k*rows+i]); math.Abs(got-want) > bound {
				t.Fatalf("vector %d row %d: %v, want %v within %v", k, i, got, want, bound)
			}
		}
	}
}

func TestRowsOutOfRange(t *testing.T) {
	m, _ := code(t, 20, 64, 32, 1, rans.Scalar, 0, false)
	op := decode.NewCoded(m, workspace(m, 1, model.Serial{}))
	for _, id := range []int32{-1, 20} {
		if err := op.Rows(make([]float32, 64), []int32{id}); err == nil {
			t.Errorf("row %d of 20 gave no error", id)
		}
	}
}
