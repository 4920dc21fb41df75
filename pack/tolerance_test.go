package pack

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/lamina-llm/lamina/decode/rans"
)

// TestTolerance checks decoded matrices against the relative error asked for:
// that of the weights, or with a Gram matrix that of the outputs on its inputs.
func TestTolerance(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 3))
	const rows, cols, n = 320, 128, 1000
	x := inputs(r, n, cols, 20, 0.4)
	w := gaussian(r, rows*cols)
	for i := range rows {
		size := float32(math.Exp2(2*r.Float64() - 1))
		for j := range cols {
			w[i*cols+j] *= size
		}
	}
	for _, calibrated := range []bool{false, true} {
		for _, mode := range []rans.Mode{rans.Scalar, rans.DQ} {
			for _, want := range []float64{0.05, 0.2} {
				p := &packer{opt: Options{Error: want, Mode: mode, Workers: 2}}
				m, err := p.inMemory(&target{cols: cols, values: w, kinds: []int{rows}}, false)
				if err != nil {
					t.Fatal(err)
				}
				if calibrated {
					m.gram, m.cost = gramOf(x, n, cols), make([]float64, rows)
					for i := range m.cost {
						m.cost[i] = 0.5 + r.Float64()
					}
					m.gram.scale(1.0 / n)
					if err := p.planMatrix(m); err != nil {
						t.Fatal(err)
					}
				} else if err := p.tolerateMatrix(m); err != nil {
					t.Fatal(err)
				}
				code := p.encodePlain
				if calibrated {
					code = p.encodeFeedback
				}
				c, err := code(context.Background(), m, m.step(1))
				if err != nil {
					t.Fatal(err)
				}
				got, err := c.values(rows, cols)
				if err != nil {
					t.Fatal(err)
				}
				basis := x[:200*cols] // outputs on some of the inputs
				if !calibrated {
					basis = make([]float32, cols*cols)
					for j := range cols {
						basis[j*cols+j] = 1
					}
				}
				loss, all := 0.0, 0.0
				for at := 0; at < len(basis); at += cols {
					for i := range rows {
						y, e := 0.0, 0.0
						for j, v := range basis[at : at+cols] {
							y += float64(v) * float64(w[i*cols+j])
							e += float64(v) * float64(w[i*cols+j]-got[i*cols+j])
						}
						loss, all = loss+e*e, all+y*y
					}
				}
				e := math.Sqrt(loss / all)
				t.Logf("calibrated %v, %v: asked for %.3f, got %.4f, %.3f bits, estimate %.4f", calibrated, mode, want, e, c.report.Bits, m.output)
				if math.Abs(e-want) > 0.06*want {
					t.Errorf("calibrated %v, %v: relative error %.4f, asked for %.4f", calibrated, mode, e, want)
				}
			}
		}
	}
}

func TestToleranceRefuses(t *testing.T) {
	for _, o := range []Options{
		{Error: 1}, {Error: -0.1}, {Error: math.NaN()}, {Error: 0.1, Bits: 3}, {Error: 0.1, Codec: VVC},
		{Error: 0.1, Representation: Factors, Keep: 0.5},
	} {
		if o.Validate() == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
	p := &packer{opt: Options{Error: 1e-5, Workers: 1}}
	m, err := p.inMemory(&target{cols: 64, values: gaussian(rand.New(rand.NewPCG(1, 1)), 64*64), kinds: []int{64}}, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.tolerateMatrix(m); !errors.Is(err, ErrTarget) {
		t.Errorf("a tolerance of 1e-5: %v", err)
	}
}
