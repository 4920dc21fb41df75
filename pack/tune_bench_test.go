package pack_test

import (
	"context"
	"os"
	"runtime"
	"testing"

	"github.com/lamina-llm/lamina/internal/source"
	"github.com/lamina-llm/lamina/pack"
	"github.com/lamina-llm/lamina/pack/tune"
)

// BenchmarkTune trains all of a real model, 2,048 tokens a step.
func BenchmarkTune(b *testing.B) {
	const dir = "../../shared/models/storyteller-22m"
	if _, err := os.Stat(dir); err != nil {
		b.Skipf("the unpacked checkpoint is not there: %v", err)
	}
	src, err := source.Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer src.Close()
	c := src.Config()
	w, err := pack.FisherWeights(src)
	if err != nil {
		b.Fatal(err)
	}
	student := tune.NewStudent(c)
	_, head, _ := w.Head()
	copy(student.Embed, head)
	for i, l := range student.Layers {
		from, _ := w.Layer(i)
		copy(l.QKV, from.QKV)
		copy(l.Out, from.Out)
		copy(l.GateUp, from.GateUp)
		copy(l.Down, from.Down)
	}
	x, err := tune.New(c, student, w, pack.Pool(runtime.GOMAXPROCS(0)), 256, 8)
	if err != nil {
		b.Fatal(err)
	}
	windows := make([][]int32, 8)
	for i := range windows {
		windows[i] = tokens(256)
	}
	for b.Loop() {
		if _, err := x.Step(context.Background(), windows, 0, 0); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(2048*b.N), "us/token")
}
