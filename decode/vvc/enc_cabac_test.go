package vvc

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"
)

// TestBinEncoder compares with the encoder of the standard, bit by bit and bin by bin, including carries over many bytes.
func TestBinEncoder(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 9))
	var e binEncoder
	for range 200 {
		qp := rng.IntN(64)
		e.start(qp)
		ref := newReferenceEncoder(qp)
		bias := rng.Float64()
		bins := rng.IntN(2000)
		counted := 1
		for range bins {
			b := uint32(btoi(rng.Float64() < bias))
			switch i := rng.IntN(numContexts); rng.IntN(6) {
			case 0, 1, 2:
				e.bin(i, b)
				ref.bin(i, b)
				counted++
			case 3:
				n := rng.IntN(33)
				v := uint32(uint64(-b) >> 32) // all ones: what carries run through
				if rng.IntN(2) == 0 {
					v = rng.Uint32()
				}
				v &= uint32(1<<n - 1)
				e.bypassBits(v, n)
				ref.bypassBits(v, n)
				counted += n
			default:
				e.terminate(false)
				ref.terminate(0)
				counted++
			}
		}
		e.terminate(true)
		ref.terminate(1)
		if !bytes.Equal(e.out, ref.out) {
			t.Fatalf("%d bytes %x\ninstead of %d %x", len(e.out), e.out, len(ref.out), ref.out)
		}
		if e.bins != counted {
			t.Fatalf("%d bins counted, %d coded", e.bins, counted)
		}
	}
}

// TestRemainder decodes what remainder codes, and compares lengths with remainderBits.
func TestRemainder(t *testing.T) {
	var e binEncoder
	for rice := range 4 {
		e.start(30)
		var values []int
		for v := 0; v < 1<<15; v += 1 + v/7 {
			before := e.bins
			e.remainder(v, rice)
			if got := e.bins - before; got != remainderBits(v, rice) {
				t.Errorf("%d with parameter %d takes %d bits, not %d", v, rice, got, remainderBits(v, rice))
			}
			values = append(values, v)
		}
		e.terminate(true)
		c := cabac{data: e.out}
		c.initContexts(30)
		c.start(0)
		for _, v := range values {
			if got := c.remainder(rice); got != v {
				t.Fatalf("%d with parameter %d decodes to %d", v, rice, got)
			}
		}
	}
}

// TestBinCost compares the estimated costs of bins with the length of their codeword: they are stationary, so that costs
// must agree within the price of adaptation.
func TestBinCost(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, p := range []float64{0.02, 0.1, 0.3, 0.5, 0.8, 0.97} {
		var e binEncoder
		e.start(32)
		const n = 20000
		cost := 0.0
		for range n {
			b := btoi(rng.Float64() < p)
			cost += float64(e.models[ctxGt1Luma+20].cost(b))
			e.bin(ctxGt1Luma+20, uint32(b))
		}
		e.terminate(true)
		actual := float64(8 * len(e.out))
		entropy := -n * (p*math.Log2(p) + (1-p)*math.Log2(1-p))
		if math.Abs(cost-actual) > 0.03*actual+0.02*n || actual < 0.95*entropy {
			t.Errorf("probability %.2f: estimated %.0f bits, coded %.0f, entropy %.0f", p, cost, actual, entropy)
		}
	}
}

// TestTrellisCost compares what the search believes its choice to cost with the distortion and the bits that it does cost.
func TestTrellisCost(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	e := newSliceEncoder()
	for _, c := range []struct {
		w, h  int
		sigma float64
	}{{32, 32, 1}, {32, 32, 3}, {32, 32, 12}, {16, 16, 2}, {8, 8, 4}, {32, 32, 0.5}, {32, 32, 300}} {
		e.w.start(30)
		estimated, actual := 0.0, 0.0
		const lambda = 0.3
		for range 60 {
			coefs := make([]float32, c.w*c.h)
			for i := range coefs {
				coefs[i] = float32(c.sigma * rng.NormFloat64())
			}
			levels := make([]int32, c.w*c.h)
			e.trellis.rates.load(&e.w.models, c.w, c.h)
			any := e.trellis.search(coefs, c.w, c.h, 1, lambda, levels)
			before := 8*len(e.w.out) + int(e.w.n)
			e.w.flag(ctxCbfLuma, any)
			if any {
				e.residual(levels, c.w, c.h)
			}
			distortion := 0.0
			for i, v := range dequantised(levels) {
				scan := blockScans[log2(c.w)][log2(c.h)]
				d := float64(coefs[int(scan.y[i])*c.w+int(scan.x[i])]) - float64(v)
				distortion += d * d
			}
			estimated += float64(e.trellis.cost)
			actual += distortion + lambda*float64(8*len(e.w.out)+int(e.w.n)-before)
		}
		if math.Abs(estimated-actual) > 0.03*actual {
			t.Errorf("%dx%d, sigma %.1f: estimated cost %.1f, actual %.1f", c.w, c.h, c.sigma, estimated, actual)
		}
	}
}

// dequantised returns the multiples of the quantiser step that levels in scan order stand for, by the state machine of
// clause 8.7.3 written as a table. Subblocks without levels, which are not coded, leave the state alone.
func dequantised(levels []int32) []int32 {
	next := [4][2]int{{0, 2}, {2, 0}, {1, 3}, {3, 1}}
	out := make([]int32, len(levels))
	state := 0
	for g := len(levels)/16 - 1; g >= 0; g-- {
		coded := g == 0
		for _, k := range levels[16*g : 16*g+16] {
			coded = coded || k != 0
		}
		for i := 16*g + 15; i >= 16*g && coded; i-- {
			k := levels[i]
			out[i] = 2 * k
			if k > 0 && state > 1 {
				out[i]--
			}
			if k < 0 && state > 1 {
				out[i]++
			}
			state = next[state][k&1]
		}
	}
	return out
}

// TestForwardTransform compares with the definition of the DCT-II.
func TestForwardTransform(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for _, size := range [][2]int{{32, 32}, {8, 8}, {16, 32}, {32, 8}} {
		w, h := size[0], size[1]
		in := make([]float32, w*h)
		for i := range in {
			in[i] = float32(rng.NormFloat64())
		}
		got := append([]float32(nil), in...)
		forwardTransform(got, make([]float32, w*h), w, h)
		basis := func(n, k, i int) float64 {
			s := math.Sqrt(2 / float64(n))
			if k == 0 {
				s = math.Sqrt(1 / float64(n))
			}
			return s * math.Cos(math.Pi*float64(k)*(2*float64(i)+1)/float64(2*n))
		}
		for _, k := range [][2]int{{0, 0}, {1, 0}, {0, 1}, {w - 1, h - 1}, {5, 7}, {4, 2}} {
			want := 0.0
			for y := range h {
				for x := range w {
					want += float64(in[y*w+x]) * basis(w, k[0], x) * basis(h, k[1], y)
				}
			}
			if v := float64(got[k[1]*w+k[0]]); math.Abs(v-want) > 0.03 {
				t.Errorf("%dx%d: coefficient %v is %.4f, want %.4f", w, h, k, v, want)
			}
		}
	}
}

// TestAppendNAL writes payloads that need emulation prevention, or end in zeros.
func TestAppendNAL(t *testing.T) {
	for _, payload := range [][]byte{{1}, {0, 0, 1}, {0, 0, 0, 0, 0, 3, 128}, {7, 0, 0, 0, 0}, {0, 0, 3}} {
		stream := appendNAL(nil, nalPPS, payload)
		if bytes.Contains(stream[4:], startCode) || stream[len(stream)-1] == 0 {
			t.Errorf("%x is framed as %x", payload, stream)
		}
		nal, rest, ok, err := nextNAL(stream)
		if err != nil || !ok || len(rest) > 0 || nal.kind != nalPPS {
			t.Fatalf("%x: %v, %v", stream, nal, err)
		}
		if got := unescape(nil, nal.payload); !bytes.Equal(got, payload) {
			t.Errorf("%x comes back as %x", payload, got)
		}
	}
}
