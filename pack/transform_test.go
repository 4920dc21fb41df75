package pack

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/lamina-llm/lamina/decode"
)

// TestTurn compares with the Gram matrix of transformed vectors.
func TestTurn(t *testing.T) {
	const n = 60
	for _, cols := range []int{64, 96, 130, 200} {
		r := rand.New(rand.NewPCG(uint64(cols), 1))
		tr := decode.NewTransform(cols, func(j int) bool { return j%5 == 2 })
		got, want := newTriangle(cols), newTriangle(cols)
		x, scratch := make([]float32, n*cols), new(columns)
		for i := range x {
			x[i] = float32(r.NormFloat64() * float64(1+i%cols%7))
		}
		got.add(x, n, workers(1), scratch)
		got.turn(tr)
		for k := range n {
			tr.Apply(x[k*cols:(k+1)*cols], x[k*cols:(k+1)*cols])
		}
		want.add(x, n, workers(1), scratch)
		for k := range got.left {
			for _, v := range [2][2][]float32{{got.left[k], want.left[k]}, {got.diag[k], want.diag[k]}} {
				for i := range v[0] {
					if math.Abs(float64(v[0][i]-v[1][i])) > 1e-4*n*49 {
						t.Fatalf("%d columns, tile %d: element %d is %v, want %v", cols, k, i, v[0][i], v[1][i])
					}
				}
			}
		}
	}
}
