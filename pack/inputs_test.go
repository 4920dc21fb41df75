package pack_test

import (
	"math"
	"testing"

	"github.com/lamina-llm/lamina/pack"
	"github.com/lamina-llm/lamina/pack/fisher"
	"github.com/lamina-llm/lamina/runtime/sched"
)

// probed is how many rows of each Gram matrix are compared.
const probed = 48

// inputSums gathers plain sums of what the other implementation of the model
// hands out.
type inputSums struct {
	sums [][fisher.Kinds][]float64
}

func (s *inputSums) Linear(layer, kind int, x, _, _ []float32, n int) {
	cols := len(x) / n
	if s.sums[layer][kind] == nil {
		s.sums[layer][kind] = make([]float64, cols*cols)
	}
	sum := s.sums[layer][kind]
	for t := range n {
		row := x[t*cols : (t+1)*cols]
		for i, a := range row[:min(cols, probed)] {
			for j, b := range row {
				sum[i*cols+j] += float64(a) * float64(b)
			}
		}
	}
}

func (s *inputSums) Head([]float32, []float32, int) {}
func (s *inputSums) Embedding([]int32, []float32)   {}
func (s *inputSums) loss(_ int, logits []float32)   { clear(logits) }

// TestInputs compares the Gram matrices that the runtime's model records with
// sums over the inputs of package fisher's.
func TestInputs(t *testing.T) {
	src := checkpoint(t)
	c := src.Config()
	ids := make([]int32, 520) // more than a window
	for i := range ids {
		ids[i] = int32(i * 7919 % c.Vocab)
	}
	low, err := pack.NewLowRank(t.Context(), src, pack.Options{Workers: 2, Calibrate: &pack.Calibration{Name: "test", Tokens: ids}}, false)
	if err != nil {
		t.Fatal(err)
	}
	w, err := pack.FisherWeights(src)
	if err != nil {
		t.Fatal(err)
	}
	span := min(512, c.MaxContext)
	pool := sched.New(2)
	defer pool.Close()
	m, err := fisher.New(c, w, pool, span)
	if err != nil {
		t.Fatal(err)
	}
	s := &inputSums{make([][fisher.Kinds][]float64, c.Layers)}
	for first := 0; first < len(ids); first += span {
		if err := m.Run(t.Context(), ids[first:min(first+span, len(ids))], s.loss, s); err != nil {
			t.Fatal(err)
		}
	}
	parts := [7]int{fisher.QKV, fisher.QKV, fisher.QKV, fisher.Out, fisher.GateUp, fisher.GateUp, fisher.Down}
	for i, x := range low.Matrices {
		sum, trace := s.sums[i/7][parts[i%7]], 0.0
		gram := x.Gram()
		for j := range x.Cols { // the scale of its elements
			trace += gram[j*x.Cols+j] * float64(len(ids))
		}
		for at, v := range gram[:min(x.Cols, probed)*x.Cols] {
			if d := v*float64(len(ids)) - sum[at]; math.Abs(d) > 1e-5*trace {
				t.Fatalf("%s: element %d differs by %v of %v", x.Name, at, d, sum[at])
			}
		}
	}
}
