package pack

import (
	"github.com/lamina-llm/lamina/internal/source"
	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/pack/fisher"
)

// Gram returns the statistics of m's inputs, Cols x Cols.
func (m *LowRankMatrix) Gram() []float64 { return m.gram.square() }

// FisherWeights returns the float32 model that calibration runs.
func FisherWeights(src *source.Source) (fisher.Weights, error) {
	return newFloats(src, true, workers(1))
}

// Pool returns a pool of so many goroutines.
func Pool(n int) model.Pool { return workers(n) }
