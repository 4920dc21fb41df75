package llama

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/kv"
	"github.com/lamina-llm/lamina/weights/safetensors"
)

// workers is a parallel pool: n goroutines per call that take indices in turn.
type workers int

func (w workers) Workers() int { return int(w) }

func (w workers) For(n int, f func(worker, i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for worker := range int(w) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(worker, i)
			}
		})
	}
	wg.Wait()
}

// openModel reads config.json and the float32 weights of a checkpoint folder.
func openModel(t testing.TB, dir string, pool model.Pool, stream bool) (Config, *FloatWeights) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseConfig(data)
	if err != nil {
		t.Fatal(err)
	}
	f, err := safetensors.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	w, err := NewFloatWeights(t.Context(), c, f.ReadRows, pool, stream)
	if err != nil {
		t.Fatal(err)
	}
	return c, w
}

// newSeq returns a cache of its own for one sequence.
func newSeq(t testing.TB, c Config, tokens, pageTokens int) *kv.Seq {
	t.Helper()
	return newSeqOf(t, c, kv.Q16, tokens, pageTokens)
}

// newSeqOf is newSeq for a format.
func newSeqOf(t testing.TB, c Config, format kv.Format, tokens, pageTokens int) *kv.Seq {
	t.Helper()
	g := kv.Geometry{Layers: c.Layers, KVHeads: c.KVHeads, HeadDim: c.HeadDim, PageTokens: pageTokens, Format: format}
	p, err := kv.New(g, make([]byte, g.Bytes(tokens)))
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.NewSeq(tokens)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newModel(t testing.TB, c Config, w Weights, pool model.Pool, o Options) *Model {
	t.Helper()
	m, err := New(c, w, pool, o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// forward runs one sequence and returns copies of the logits it wants.
func forward(t testing.TB, m *Model, s *kv.Seq, tokens []int32, want Want) [][]float32 {
	t.Helper()
	var rows [][]float32
	err := m.Forward(context.Background(), []Seq{{Tokens: tokens, KV: s, Want: want}}, func(_, _ int, logits []float32) error {
		rows = append(rows, append([]float32(nil), logits...))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// largest returns the index of the first largest element.
func largest(x []float32) int32 {
	best := 0
	for i, v := range x {
		if v > x[best] {
			best = i
		}
	}
	return int32(best)
}

// logSumExp is the float64 reference.
func logSumExp(x []float32) float64 {
	top, sum := float64(x[largest(x)]), 0.0
	for _, v := range x {
		sum += math.Exp(float64(v) - top)
	}
	return top + math.Log(sum)
}

// sharedModel returns the folder of the trained test model, which is too large
// for the repository, or skips the test.
func sharedModel(t testing.TB) string {
	t.Helper()
	dir := filepath.Join("..", "..", "..", "shared", "models", "storyteller-22m")
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		t.Skipf("the unpacked checkpoint %s is not there; the tiny models of testdata cover the same code", dir)
	}
	return dir
}
