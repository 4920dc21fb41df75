package pack

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestRegression checks the normal equations in float64.
func TestRegression(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 7))
	const n, rows, cols = 300, 70, 150
	in, out := inputs(r, n, cols, 10, 0.4), gaussian(r, n*rows)
	weight := make([]float32, n)
	total := 0.0
	for i := range weight {
		weight[i] = float32(r.Float64())
		total += float64(weight[i])
	}
	moment := func(a []float32, wide, i int, b []float32, wider, j int) (sum float64) {
		for k := range n {
			sum += float64(weight[k]) * float64(a[k*wide+i]) * float64(b[k*wider+j]) / total
		}
		return sum
	}
	h := make([]float64, cols*cols)
	mean := 0.0
	for i := range cols {
		for j := range cols {
			h[i*cols+j] = moment(in, cols, i, in, cols, j)
		}
		mean += h[i*cols+i] / cols
	}
	for i := range cols {
		h[i*cols+i] *= 1 + dampLight.own
		h[i*cols+i] += dampFloor * mean
	}
	g := make([]float64, rows*cols)
	for i := range rows {
		for j := range cols {
			g[i*cols+j] = moment(out, rows, i, in, cols, j)
		}
	}
	reg := newRegression(rows, cols, workers(2))
	for at := 0; at < n; at += 100 { // add overwrites outputs
		reg.add(in[at*cols:(at+100)*cols], out[at*rows:(at+100)*rows], weight[at:at+100], 100)
	}
	z, err := reg.solve()
	if err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		for j := range cols {
			got, size := 0.0, 0.0
			for k := range cols {
				p := float64(z[i*cols+k]) * h[k*cols+j]
				got, size = got+p, size+math.Abs(p)
			}
			if want := g[i*cols+j]; math.Abs(got-want) > 1e-4*(size+math.Abs(want)) {
				t.Fatalf("equation (%d, %d) has %v, want %v", i, j, got, want)
			}
		}
	}
}
