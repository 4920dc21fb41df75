package tune

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/lamina-llm/lamina/model/llama"
)

// parallel is a pool of goroutines.
type parallel int

func (p parallel) Workers() int { return int(p) }
func (p parallel) For(n int, f func(worker, i int)) {
	var wait sync.WaitGroup
	for w := range min(int(p), n) {
		wait.Go(func() {
			for i := w; i < n; i += int(p) {
				f(w, i)
			}
		})
	}
	wait.Wait()
}

// BenchmarkStep trains a model of 22 M weights, 2,048 tokens a step, half of
// whose columns are frozen.
func BenchmarkStep(b *testing.B) {
	c := llama.Config{Vocab: 8192, Hidden: 384, Intermediate: 1024, Layers: 12, Heads: 6, KVHeads: 2, HeadDim: 64, MaxContext: 1024, RopeTheta: 10000, NormEps: 1e-5, Tied: true}
	s := NewStudent(c)
	x, err := New(c, s, s, parallel(runtime.GOMAXPROCS(0)), 256, 8)
	if err != nil {
		b.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for i, v := range x.matrices {
		for j := range v.w {
			v.w[j] = float32(r.NormFloat64() * 0.05)
		}
		var frozen []int
		for j := range v.cols / 2 {
			frozen = append(frozen, j)
		}
		x.Freeze(i, frozen)
	}
	for _, v := range x.norms {
		for j := range v.w {
			v.w[j] = 1
		}
	}
	windows := text(c, 8, 256)
	for b.Loop() {
		if _, err := x.Step(b.Context(), windows, 0, 0); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(2048*b.N), "us/token")
}
