package llama

import (
	"context"
	"fmt"
	"testing"

	"github.com/lamina-llm/lamina/model"
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

// BenchmarkRest runs one layer of SmolLM2-135M without its products: tokens
// new tokens after a context of that many. MB/s counts the F16 keys and values
// that an attention without any reuse would read.
func BenchmarkRest(b *testing.B) {
	c := Config{Hidden: 576, Intermediate: 1536, Layers: 1, Heads: 9, KVHeads: 3, HeadDim: 64, Vocab: 256, MaxContext: 8192,
		NormEps: 1e-5, RopeTheta: 1e5, BOS: -1}
	w := free{config: c, norm: make([]float32, c.Hidden)}
	for i := range w.norm {
		w.norm[i] = 1
	}
	for _, size := range [][2]int{{1, 0}, {1, 512}, {1, 4096}, {16, 512}, {512, 0}, {512, 4096}} {
		for _, pool := range []model.Pool{model.Serial{}, workers(2)} {
			tokens, past := size[0], size[1]
			b.Run(fmt.Sprintf("tokens=%d/context=%d/workers=%d", tokens, past, pool.Workers()), func(b *testing.B) {
				m, s := newModel(b, c, w, pool, Options{}), newSeq(b, c, past+tokens, 0)
				if _, err := s.Grow(past); err != nil {
					b.Fatal(err)
				}
				batch := []Seq{{Tokens: make([]int32, tokens), KV: s}}
				reads := tokens*past + tokens*(tokens+1)/2
				b.SetBytes(int64(reads) * c.KVBytesPerToken() * int64(c.Heads/c.KVHeads))
				b.ReportAllocs()
				for b.Loop() {
					if err := m.Forward(b.Context(), batch, nil); err != nil {
						b.Fatal(err)
					}
					if err := s.Truncate(past); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
