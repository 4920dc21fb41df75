package llama

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/runtime/sched"
)

// free is weights whose products cost next to nothing, so that a benchmark
// sees the rest of the forward pass: attention, norms, RoPE, SwiGLU.
type free struct {
	config Config
	norm   []float32
}

type freeLinear struct{ rows, cols int }

func (l freeLinear) Dims() (int, int) { return l.rows, l.cols }

func (l freeLinear) Apply(dst, x []float32, n int) error {
	for t := range n { // enough to keep every row different and finite
		copy(dst[t*l.rows:(t+1)*l.rows], x[t*l.cols:(t+1)*l.cols])
	}
	return nil
}

func (f free) Embed(_ context.Context, dst []float32, ids []int32) error {
	for i := range dst {
		dst[i] = float32((i*7919+int(ids[i/f.config.Hidden]))%255)/128 - 1
	}
	return nil
}

func (f free) Acquire(context.Context, int) (*Layer, func(), error) {
	c := f.config
	return &Layer{AttnNorm: f.norm, FFNNorm: f.norm, QKV: freeLinear{c.QKV(), c.Hidden}, Out: freeLinear{c.Hidden, c.Heads * c.HeadDim},
		GateUp: freeLinear{2 * c.Intermediate, c.Hidden}, Down: freeLinear{c.Hidden, c.Intermediate}}, func() {}, nil
}

func (f free) AcquireHead(context.Context) (*Head, func(), error) {
	return &Head{Norm: f.norm, Logits: freeLinear{f.config.Vocab, f.config.Hidden}}, func() {}, nil
}

// smolLM2 is the shape of SmolLM2-135M.
var smolLM2 = Config{Hidden: 576, Intermediate: 1536, Layers: 30, Heads: 9, KVHeads: 3, HeadDim: 64, Vocab: 49152, MaxContext: 8192,
	NormEps: 1e-5, RopeTheta: 1e5, BOS: -1}

// BenchmarkForward runs SmolLM2-135M without its products, so what it shows is
// the part of a token, or of a prompt, that is not a matrix product.
func BenchmarkForward(b *testing.B) {
	for _, size := range []struct {
		name         string
		tokens, past int
	}{
		{"phase=decode/context=0", 1, 0}, {"phase=decode/context=128", 1, 128}, {"phase=decode/context=512", 1, 512}, {"phase=decode/context=4096", 1, 4096},
		{"phase=prefill/tokens=16", 16, 0}, {"phase=prefill/tokens=512", 512, 0}, {"phase=prefill/tokens=512/context=1536", 512, 1536},
	} {
		for _, workers := range []int{1, 2} {
			b.Run(fmt.Sprintf("%s/workers=%d", size.name, workers), func(b *testing.B) {
				pool := sched.New(workers)
				defer pool.Close()
				benchmarkForward(b, smolLM2, pool, size.tokens, size.past)
			})
		}
	}
}

func benchmarkForward(b *testing.B, c Config, pool model.Pool, tokens, past int) {
	w := free{config: c, norm: make([]float32, c.Hidden)}
	for i := range w.norm {
		w.norm[i] = 1
	}
	r := rand.New(rand.NewPCG(1, 2))
	o := Options{MaxBatchTokens: tokens, LogitRows: 1}
	o.Scratch = make([]float32, ScratchBytes(c, o)/4)
	for i := range o.Scratch {
		o.Scratch[i] = r.Float32() - 0.5 // what the free products leave as it was
	}
	m, s := newModel(b, c, w, pool, o), newSeq(b, c, past+tokens, 0)
	if _, err := s.Grow(past); err != nil {
		b.Fatal(err)
	}
	for pos := range past { // keys and values of any kind
		for m.layer = range c.Layers {
			for head := range c.KVHeads {
				m.store(0, s, pos, head, o.Scratch[pos:pos+c.HeadDim], o.Scratch[2*pos:2*pos+c.HeadDim])
			}
		}
	}
	batch := []Seq{{Tokens: make([]int32, tokens), KV: s}}
	pairs := c.Layers * c.Heads * (tokens*past + tokens*(tokens+1)/2)
	b.ReportAllocs()
	for b.Loop() {
		if err := m.Forward(b.Context(), batch, nil); err != nil {
			b.Fatal(err)
		}
		if err := s.Truncate(past); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(pairs*2*c.HeadDim)*float64(b.N)/b.Elapsed().Seconds()/1e9, "Gmac/s")
	b.ReportMetric(b.Elapsed().Seconds()*1e6/float64(b.N*c.Layers), "us/layer")
}
