//go:build unix

package pack

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"syscall"
	"testing"

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/pack/fisher"
)

// widths of the benchmarks: hidden and intermediate size of a model of 135 M
// weights, and of one of 8 B. The last takes minutes and gigabytes; choose with
// -bench.
var benchWidths = []int{576, 1536, 4096, 14336}

// perSecond reports how much of a unit an iteration does per second of processor
// time: what the clock says depends on who else uses the machine.
func perSecond(b *testing.B, amount float64, unit string) (report func()) {
	start := processor(b)
	return func() { b.ReportMetric(amount*float64(b.N)/(processor(b)-start), unit+"/cpu-s") }
}

// processor returns the processor time that the process has taken, in seconds.
func processor(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// benchGram is the Gram matrix of a window of random inputs.
func benchGram(width int) *triangle {
	const n = 64
	g := newTriangle(width)
	g.add(gaussian(rand.New(rand.NewPCG(1, 2)), n*width), n, workers(2), new(columns))
	return g
}

// BenchmarkGram adds a window of 512 tokens to a Gram matrix, on one processor.
func BenchmarkGram(b *testing.B) {
	for _, width := range benchWidths {
		b.Run(fmt.Sprint(width), func(b *testing.B) {
			g, x, scratch := newTriangle(width), gaussian(rand.New(rand.NewPCG(1, 2)), window*width), &columns{coarse: true}
			report := perSecond(b, float64(window)*float64(width)*float64(width)/1e9, "GFlop")
			for b.Loop() {
				g.add(x, window, workers(1), scratch)
			}
			report()
		})
	}
}

// BenchmarkFactorise is Cholesky's factorisation, on one processor.
func BenchmarkFactorise(b *testing.B) {
	for _, width := range benchWidths {
		b.Run(fmt.Sprint(width), func(b *testing.B) {
			g := benchGram(width)
			perm := rand.New(rand.NewPCG(3, 4)).Perm(width)
			w := float64(width)
			report := perSecond(b, w*w*w/3/1e9, "GFlop")
			for b.Loop() {
				if _, _, err := g.factorise(perm, dampDense, workers(1)); err != nil {
					b.Fatal(err)
				}
			}
			report()
		})
	}
}

// BenchmarkMatrix codes matrices at 3 bits, with error feedback and without.
// Mweights/cpu-s is the speed of quantising and coding, from the difference between
// matrices of 1,024 and of 256 rows; search-s the processor time that is left, of
// finding the step, tables and classes on a sample.
func BenchmarkMatrix(b *testing.B) {
	const few, many = 256, 1024
	for _, width := range benchWidths {
		for _, fed := range []bool{false, true} {
			b.Run(fmt.Sprintf("%d/feedback=%t", width, fed), func(b *testing.B) {
				p := &packer{opt: Options{Mode: rans.DQ, Workers: 1}}
				var mats []*matrix
				for _, rows := range []int{few, many} {
					m, err := p.inMemory(&target{values: gaussian(rand.New(rand.NewPCG(1, 2)), rows*width), cols: width, kinds: []int{rows}}, fed)
					if err != nil {
						b.Fatal(err)
					}
					m.band, m.depth = geometry(rows, width, 4096)
					mats = append(mats, m)
				}
				if fed {
					q := &packer{opt: Options{Mode: rans.DQ, Workers: runtime.GOMAXPROCS(0)}}
					if err := q.shareFeedback(benchGram(width), mats); err != nil {
						b.Fatal(err)
					}
				}
				for b.Loop() {
					mats[1].curve = map[int]float64{}
					start := processor(b)
					step, err := p.solve(mats[1:], mats[1].weights()*3/8, 0.5)
					if err != nil {
						b.Fatal(err)
					}
					search := processor(b) - start
					short, long := codeTime(b, p, mats[0], step), codeTime(b, p, mats[1], step)
					per := (long - short) / (many - few)
					b.ReportMetric(float64(width)/per/1e6, "Mweights/cpu-s")
					b.ReportMetric(search+max(0, short-few*per), "search-s")
				}
			})
		}
	}
}

// codeTime returns the processor time of coding m at a step.
func codeTime(b *testing.B, p *packer, m *matrix, step float64) float64 {
	start := processor(b)
	encode := p.encodePlain
	if m.feedback != nil {
		encode = p.encodeFeedback
	}
	if _, err := encode(context.Background(), m, m.step(step)); err != nil {
		b.Fatal(err)
	}
	return processor(b) - start
}

// randomLayer is a model of one layer with random weights.
type randomLayer struct {
	layer fisher.Layer
	embed []float32
	norm  []float32
}

func (w *randomLayer) Embedding(id int32) ([]float32, error) {
	return w.embed[int(id)*len(w.norm):][:len(w.norm)], nil
}
func (w *randomLayer) Layer(int) (*fisher.Layer, error)    { return &w.layer, nil }
func (w *randomLayer) Head() ([]float32, []float32, error) { return w.norm, w.embed, nil }

// BenchmarkCalibrate runs a window of 512 tokens through one layer of models of 135 M
// and of 8 B weights, forward and backward or forward alone, and gathers its statistics.
func BenchmarkCalibrate(b *testing.B) {
	for _, c := range []llama.Config{
		{Hidden: 576, Intermediate: 1536, Heads: 9, KVHeads: 3, HeadDim: 64},
		{Hidden: 4096, Intermediate: 14336, Heads: 32, KVHeads: 8, HeadDim: 128},
	} {
		b.Run(fmt.Sprint(c.Hidden), func(b *testing.B) {
			c.Vocab, c.Layers, c.MaxContext, c.RopeTheta, c.NormEps, c.Tied = 256, 1, window, 1e4, 1e-5, true
			r := rand.New(rand.NewPCG(1, 2))
			w := &randomLayer{layer: *newLayer(c), embed: gaussian(r, c.Vocab*c.Hidden), norm: gaussian(r, c.Hidden)}
			for _, v := range [][]float32{w.layer.AttnNorm, w.layer.FFNNorm, w.layer.QKV, w.layer.Out, w.layer.GateUp, w.layer.Down} {
				for i := range v {
					v[i] = (float32(uniform(uint64(i))) - 0.5) / 32
				}
			}
			pool := workers(1)
			m, err := fisher.New(c, w, pool, window)
			if err != nil {
				b.Fatal(err)
			}
			m.Coarse = true
			parts, err := groups(c, maxGrams)
			if err != nil {
				b.Fatal(err)
			}
			s := newStatistics(c, pool, parts[0])
			ids := make([]int32, window)
			for i := range ids {
				ids[i] = int32(r.IntN(c.Vocab))
			}
			b.Run("gradients", func(b *testing.B) {
				report := perSecond(b, window, "tokens")
				for b.Loop() {
					s.begin(0, [][]int32{ids})
					if err := m.RunAll(context.Background(), 0, [][]int32{ids}, s.loss, s); err != nil {
						b.Fatal(err)
					}
				}
				report()
			})
			b.Run("inputs", func(b *testing.B) {
				report := perSecond(b, window, "tokens")
				for b.Loop() {
					s.begin(0, [][]int32{ids})
					if err := m.Observe(context.Background(), [][]int32{ids}, s.loss, s); err != nil {
						b.Fatal(err)
					}
				}
				report()
			})
		})
	}
}
