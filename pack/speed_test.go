//go:build unix

package pack

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/pack/quant"
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
	g.add(gaussian(rand.New(rand.NewPCG(1, 2)), n*width), n, workers(2), make([]float32, n*width))
	return g
}

// BenchmarkGram adds a window of 512 tokens to a Gram matrix, on one processor.
func BenchmarkGram(b *testing.B) {
	for _, width := range benchWidths {
		b.Run(fmt.Sprint(width), func(b *testing.B) {
			g, x, scratch := newTriangle(width), gaussian(rand.New(rand.NewPCG(1, 2)), window*width), make([]float32, window*width)
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
				if _, _, err := g.factorise(perm, workers(1)); err != nil {
					b.Fatal(err)
				}
			}
			report()
		})
	}
}

// BenchmarkFeedback quantises a band of rows with error feedback, on one
// processor: the search of the tables on a sample is not in it.
func BenchmarkFeedback(b *testing.B) {
	for _, width := range benchWidths {
		b.Run(fmt.Sprint(width), func(b *testing.B) {
			rows := min(1024, 4<<20/width)
			w := gaussian(rand.New(rand.NewPCG(1, 2)), rows*width)
			f, err := planned(benchGram(width), w)
			if err != nil {
				b.Fatal(err)
			}
			fit, err := f.fit(quant.Kind{Mode: rans.DQ}, 0.5, 8, 2)
			if err != nil {
				b.Fatal(err)
			}
			values := make([]float32, len(w))
			var q feedbackLoop
			report := perSecond(b, float64(len(w))/1e6, "Mweights")
			for b.Loop() {
				for r := range rows {
					inv := 1 / fit.plan.scale.Value(r)
					for k, j := range f.perm {
						values[r*width+k] = w[r*width+j] * inv
					}
				}
				q.run(f, values, fit.plan.class, fit.groupCoders, func(int, []uint8, []int32) {})
			}
			report()
		})
	}
}
