package llama

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/lamina-llm/lamina/internal/cpu"
	"github.com/lamina-llm/lamina/internal/cpu/cputest"
	"github.com/lamina-llm/lamina/internal/kern"
	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/kv"
)

// attention runs the attention of n tokens after past ones alone and returns
// its output; queries, keys and values depend on position and head only.
func attention(t *testing.T, c Config, format kv.Format, pageTokens, past, n, pool int) []float32 {
	t.Helper()
	m := newModel(t, c, free{config: c}, workers(pool), Options{MaxBatchTokens: n})
	s := newSeqOf(t, c, format, past+n, pageTokens)
	if _, err := s.Grow(past); err != nil {
		t.Fatal(err)
	}
	if err := m.enter([]Seq{{Tokens: make([]int32, n), KV: s}}); err != nil {
		t.Fatal(err)
	}
	m.qkv, m.attended = make([]float32, n*c.QKV()), make([]float32, n*c.Heads*c.HeadDim)
	for pos := range past + n {
		q, k, v := attentionInput(c, pos)
		for h := range c.KVHeads {
			m.store(0, s, pos, h, k[h*c.HeadDim:(h+1)*c.HeadDim], v[h*c.HeadDim:(h+1)*c.HeadDim])
		}
		if pos >= past {
			copy(m.qkv[(pos-past)*c.QKV():], q)
		}
	}
	m.each(len(m.spans), m.attention, m.row.attend)
	m.each(len(m.joints), m.attention, m.row.join)
	return m.attended
}

func attentionInput(c Config, pos int) (q, k, v []float32) {
	type key struct{ heads, kvHeads, d, pos int }
	at := key{c.Heads, c.KVHeads, c.HeadDim, pos}
	if in, ok := attentionInputs.Load(at); ok {
		in := in.([3][]float32)
		return in[0], in[1], in[2]
	}
	q, k, v = drawAttentionInput(c, pos)
	attentionInputs.Store(at, [3][]float32{q, k, v})
	return q, k, v
}

var attentionInputs sync.Map // drawing them takes longer than attention

func drawAttentionInput(c Config, pos int) (q, k, v []float32) {
	r := rand.New(rand.NewPCG(7, uint64(pos)))
	draw := func(n int, scale float64) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(r.NormFloat64() * scale)
		}
		return x
	}
	q = draw(c.Heads*c.HeadDim, 2/math.Sqrt(float64(c.HeadDim)))
	// Keys grow, so that the largest score often is in a late block.
	return q, draw(c.KVHeads*c.HeadDim, 1+float64(pos)/200), draw(c.KVHeads*c.HeadDim, 1)
}

// roundingError bounds what rounding queries and weights to 16 bits does to outputs of
// about 1. The numbers of a query of norm 2 err by up to 2^-15.5; times a key of norm
// 29 that is a standard deviation of 3.6e-4 in a score, of which the largest of 10^5
// outputs sees a few, less what the softmax averages out.
const roundingError = 1.5e-3

// TestAttention compares with softmax(q K) V in float64, and, bit for bit,
// prompts in one piece with single tokens, other pages and other pools.
func TestAttention(t *testing.T) {
	const tokens = 530 // two whole parts, and some of a third
	for _, shape := range [][3]int{{3, 1, 64}, {4, 4, 8}, {8, 1, 16}, {14, 2, 20}} {
		c := Config{Hidden: 8, Intermediate: 8, Layers: 1, Heads: shape[0], KVHeads: shape[1], HeadDim: shape[2], Vocab: 8, MaxContext: 1024,
			NormEps: 1e-5, RopeTheta: 1e4, BOS: -1}
		width := c.Heads * c.HeadDim
		for _, format := range []kv.Format{kv.Q16, kv.Q8} {
			if format == kv.Q8 && shape[0]%2 == 0 && shape[2] != 20 {
				continue // the shapes differ in the kernels, which share their loops
			}
			want := exactAttention(c, format, tokens)
			cputest.ForEachTier(t, func(t *testing.T, tier cpu.Tier) {
				if raceEnabled && (tier == cpu.Generic || shape[0]%2 == 0) {
					t.Skip("takes minutes under the race detector, and differs in arithmetic only")
				}
				whole := attention(t, c, format, 0, 0, tokens, 1)
				for i, got := range whole {
					if d := math.Abs(float64(got) - want[i]); !(d <= roundingError) {
						t.Fatalf("%v %v: token %d element %d is %v, want %v", shape, format, i/width, i%width, got, want[i])
					}
				}
				for _, part := range []struct{ pageTokens, past, n, pool int }{
					{32, 0, tokens, 5}, {16, 0, tokens, 2}, {208, 0, 140, 3}, {32, 101, 60, 1}, {48, 127, 2, 1}, {32, 128, 1, 1}, {80, 127, 1, 1},
					{32, 299, 1, 4}, {112, 290, 9, 16}, {32, 529, 1, 16}, {32, 529, 1, 1}, {32, 255, 1, 2}, {32, 256, 1, 2}, {144, 512, 1, 7}, {32, 500, 30, 3},
				} {
					got := attention(t, c, format, part.pageTokens, part.past, part.n, part.pool)
					for i, v := range got {
						if w := whole[part.past*width+i]; math.Float32bits(v) != math.Float32bits(w) {
							t.Fatalf("%v %v, %+v: token %d element %d is %v, in one piece %v", shape, format, part, part.past+i/width, i%width, v, w)
						}
					}
				}
			})
		}
	}
}

// exactAttention is the definition.
func exactAttention(c Config, format kv.Format, tokens int) []float64 {
	var keys, values [][]float32
	var out []float64
	d, group := c.HeadDim, c.Heads/c.KVHeads
	round := func(x []float32, quantize func(dst []int16, x []float32) float32) []float32 {
		x = slices.Clone(x)
		for h := 0; h < len(x); h += d {
			q, q8, scale := make([]int16, d), make([]int8, d), float32(0)
			if format == kv.Q8 {
				scale = kern.QuantizeI8(q8, x[h:h+d])
			} else {
				scale = quantize(q, x[h:h+d])
			}
			for i := range d {
				x[h+i] = float32(int(q[i])+int(q8[i])) * scale
			}
		}
		return x
	}
	for pos := range tokens {
		q, k, v := attentionInput(c, pos)
		keys, values = append(keys, round(k, kern.QuantizeDotI16)), append(values, round(v, kern.QuantizeI16))
		for h := range c.Heads {
			at, sum, y := h/group*d, 0.0, make([]float64, d)
			for j := range keys {
				score := 0.0
				for i := range d {
					score += float64(q[h*d+i]) * float64(keys[j][at+i])
				}
				p := math.Exp(score) // scores stay far below 700
				sum += p
				for i := range d {
					y[i] += p * float64(values[j][at+i])
				}
			}
			for i := range d {
				out = append(out, y[i]/sum)
			}
		}
	}
	return out
}

// TestSpans checks that the tasks of a batch cover every token and head once,
// and that no worker's rows overflow.
func TestSpans(t *testing.T) {
	for _, heads := range [][2]int{{9, 3}, {32, 32}, {128, 1}, {7, 1}} {
		for _, workers := range []int{1, 2, 16} {
			c := Config{Heads: heads[0], KVHeads: heads[1], HeadDim: 2}
			m := &Model{config: c, workers: attenders(c, model.Serial{})}
			for _, n := range []int{1, 2, 16, 65, 512} {
				m.spans = m.spans[:0]
				m.plan(3, n, 10, c.spanTokens(n, workers), false)
				covered := map[[2]int]int{}
				for _, s := range m.spans {
					if rows := s.tokens * c.Heads / c.KVHeads; rows > len(m.workers[0].qScale) {
						t.Fatalf("%v: a span of %d rows", heads, rows)
					}
					if want := 10 + s.token - 3 + s.tokens; s.keys != want {
						t.Errorf("%v: span %+v should see %d keys", heads, s, want)
					}
					for i := range s.tokens {
						covered[[2]int{s.token + i, s.head}]++
					}
				}
				for k, times := range covered {
					if times != 1 || k[0] < 3 || k[0] >= 3+n {
						t.Fatalf("%v, %d tokens: token %d of head %d is done %d times", heads, n, k[0], k[1], times)
					}
				}
				if len(covered) != n*c.KVHeads {
					t.Errorf("%v, %d tokens: %d rows of heads covered", heads, n, len(covered))
				}
			}
		}
	}
}

// TestSplit checks that a lone token gives several workers tasks, whatever the
// number of its key-value heads, and that a batch of many does not.
func TestSplit(t *testing.T) {
	c := Config{Hidden: 8, Intermediate: 8, Layers: 1, Heads: 4, KVHeads: 1, HeadDim: 4, Vocab: 8, MaxContext: 2048, NormEps: 1e-5, RopeTheta: 1e4, BOS: -1}
	m := newModel(t, c, free{config: c}, workers(4), Options{MaxBatchTokens: 16})
	batch := func(n, past int) (b []Seq) {
		for range n {
			s := newSeq(t, c, past+1, 0)
			if _, err := s.Grow(past); err != nil {
				t.Fatal(err)
			}
			b = append(b, Seq{Tokens: []int32{1}, KV: s})
		}
		return b
	}
	for _, tc := range []struct{ n, past, spans, joints int }{
		{1, 100, 1, 0}, {1, 255, 1, 0}, {1, 256, 2, 1}, {1, 2047, 8, 1}, {2, 511, 4, 2}, {2, 2047, 9, 1}, {16, 1000, 16, 0},
	} {
		if err := m.enter(batch(tc.n, tc.past)); err != nil {
			t.Fatal(err)
		}
		if len(m.spans) != tc.spans || len(m.joints) != tc.joints {
			t.Errorf("%+v: %d tasks, %d merges", tc, len(m.spans), len(m.joints))
		}
	}
}
