package quant

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/lamina-llm/lamina/decode/rans"
)

// fit iterates levels and tables on Gaussian columns, as the packer does, and
// returns squared error per weight (variance 1) and coded bits per weight.
func fit(t testing.TB, mode rans.Mode, planes int, step float64) (mse, bits float64) {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	const rows, cols = 1024, 32
	v := make([]float32, rows*cols)
	for i := range v {
		v[i] = float32(r.NormFloat64() / step)
	}
	index, rec := make([]uint8, rows), make([]float32, rows)
	c := Uniform(mode, planes)
	var trellis Trellis
	for range 4 {
		mse, bits = 0, 0
		var count [2][rans.Alphabet]int64
		for j := range cols {
			col := v[j*rows : (j+1)*rows]
			if mode == rans.DQ {
				trellis.Column(c, col, index, rec)
			} else {
				for i, x := range col {
					index[i], rec[i] = c.Scalar(x)
				}
			}
			state := 0
			for i := range col {
				q := state & 1 * int(mode)
				count[q][index[i]>>planes]++
				bits += float64(c.bits[q][index[i]>>planes])
				state = nextState(state, int(index[i]&1))
				d := float64(rec[i] - col[i])
				mse += d * d * step * step
			}
		}
		var tables []rans.Table
		for q := range 1 + int(mode) {
			f, err := rans.FitTable(count[q], 0x0380)
			if err != nil {
				t.Fatal(err)
			}
			tables = append(tables, f)
		}
		c = NewCoder(mode, planes, Lambda(mode), tables)
	}
	return mse / (rows * cols), bits / (rows * cols)
}

func nextState(s, parity int) int {
	return [8][2]int{{0, 2}, {7, 5}, {1, 3}, {6, 4}, {2, 0}, {5, 7}, {3, 1}, {4, 6}}[s][parity]
}

// TestRateDistortion holds the distance to the Gaussian bound 2^-2R: the
// quantisers must do what theory says they can, at every rate.
func TestRateDistortion(t *testing.T) {
	for _, c := range []struct {
		mode   rans.Mode
		planes int
		step   float64
		gap    float64 // bits above the bound
	}{
		{rans.Scalar, 0, 1.4, 0.285}, {rans.Scalar, 0, 1.0, 0.285}, {rans.Scalar, 0, 0.6, 0.29}, {rans.Scalar, 1, 0.35, 0.305},
		{rans.DQ, 0, 0.7, 0.135}, {rans.DQ, 0, 0.5, 0.13}, {rans.DQ, 0, 0.3, 0.13}, {rans.DQ, 1, 0.15, 0.14}, {rans.DQ, 2, 0.08, 0.14},
	} {
		mse, bits := fit(t, c.mode, c.planes, c.step)
		gap := bits + math.Log2(mse)/2
		t.Logf("%v planes %d step %.2f: %.3f bits, NMSE %.4f, %.3f bits above the bound", c.mode, c.planes, c.step, bits, mse, gap)
		if gap > c.gap || gap < 0.05 {
			t.Errorf("%v planes %d step %.2f: %.3f bits above the bound, want at most %.3f", c.mode, c.planes, c.step, gap, c.gap)
		}
	}
}

// TestTrellisOptimal compares the search with all paths of short columns.
func TestTrellisOptimal(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, planes := range []int{0, 1} {
		c := Uniform(rans.DQ, planes)
		for q := range c.bits {
			for s := range c.bits[q] {
				c.bits[q][s] = float32(math.Abs(float64(s)-7.5)) + float32(q)/4
			}
		}
		c.Lambda = 0.3
		var trellis Trellis
		for range 100 {
			v := make([]float32, 5)
			for i := range v {
				v[i] = float32(r.NormFloat64() * 4)
			}
			index, rec := make([]uint8, 5), make([]float32, 5)
			got := trellis.Column(c, v, index, rec)
			want := exhaustive(c, v, 0)
			if math.Abs(float64(got-want)) > 1e-4*float64(want) {
				t.Fatalf("planes %d: cost %v of %v, the best is %v", planes, got, v, want)
			}
			state, sum := 0, float32(0)
			for i, u := range index {
				q, k := state&1, int(u)-8<<planes
				x := v[i] - float32(c.value(k, q))
				sum += x*x + c.Lambda*c.bits[q][u>>planes]
				if rec[i] != float32(c.value(k, q)) {
					t.Fatalf("level %d of quantiser %d reported as %v", k, q, rec[i])
				}
				state = nextState(state, int(u&1))
			}
			if math.Abs(float64(sum-got)) > 1e-3 {
				t.Fatalf("path costs %v, reported %v", sum, got)
			}
		}
	}
}

func exhaustive(c *Coder, v []float32, state int) float32 {
	if len(v) == 0 {
		return 0
	}
	best := float32(math.Inf(1))
	for k := c.lo; k <= c.hi; k++ {
		x := v[0] - float32(c.value(k, state&1))
		j := x*x + c.Lambda*c.bits[state&1][(k+8<<c.Planes)>>c.Planes]
		if j < best {
			j += exhaustive(c, v[1:], nextState(state, k&1))
		}
		best = min(best, j)
	}
	return best
}

func TestSplit(t *testing.T) {
	for _, mode := range []rans.Mode{rans.Scalar, rans.DQ} {
		c := Uniform(mode, 0)
		c.Lambda = Lambda(mode)
		for _, v := range []float32{0, 3, -c.Reach(), c.Reach() + 0.4, 1000.3, -77} {
			rest, delta := c.Split(v)
			if rest+float32(delta) != v {
				t.Errorf("%v: %v splits into %v and %v", mode, v, rest, delta)
			}
			if delta != 0 && max(rest, -rest) > c.Reach()+0.5 {
				t.Errorf("%v: %v leaves %v beyond the reach of %v", mode, v, rest, c.Reach())
			}
		}
	}
}

func BenchmarkQuantise(b *testing.B) {
	r := rand.New(rand.NewPCG(5, 6))
	v := make([]float32, 4096)
	for i := range v {
		v[i] = float32(r.NormFloat64() * 2)
	}
	f, _ := rans.FitTable([16]int64{1, 2, 4, 9, 20, 50, 100, 200, 300, 200, 100, 50, 20, 9, 4, 2}, 0xffff)
	index := make([]uint8, len(v))
	b.Run("mode=scalar", func(b *testing.B) {
		c := NewCoder(rans.Scalar, 0, Lambda(rans.Scalar), []rans.Table{f})
		for b.Loop() {
			for i, x := range v {
				index[i], _ = c.Scalar(x)
			}
		}
		b.ReportMetric(float64(b.N)*4096/b.Elapsed().Seconds()/1e6, "Mweights/s")
	})
	b.Run("mode=dq", func(b *testing.B) {
		c, t := NewCoder(rans.DQ, 0, Lambda(rans.DQ), []rans.Table{f, f}), Trellis{}
		for b.Loop() {
			t.Column(c, v, index, nil)
		}
		b.ReportMetric(float64(b.N)*4096/b.Elapsed().Seconds()/1e6, "Mweights/s")
	})
}
