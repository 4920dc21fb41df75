package pack

import (
	"math"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/lamina-llm/lamina/decode"
	"github.com/lamina-llm/lamina/internal/kern"
)

// firstFactor is an A and the Gram matrix of what it is multiplied with.
type firstFactor struct {
	target
	part int
	gram *triangle
}

// layOut shares out the parts: matrices for the input, by bits, and one A each.
// Factors are scaled so that every element of B x has a mean square of one:
// then int8 suits all of them alike.
func (f *Factored) layOut() (*decode.Factors, []target, []firstFactor) {
	layout := &decode.Factors{Cols: f.Cols}
	var inputs []target
	var as []firstFactor
	stack := func(bits float64, values []float32, weight []float64) int {
		k := 0
		for k < len(inputs) && inputs[k].bits != bits {
			k++
		}
		if k == len(inputs) {
			inputs = append(inputs, target{cols: f.Cols, bits: bits})
		}
		t := &inputs[k]
		t.values, t.weight = append(t.values, values...), append(t.weight, weight...)
		t.kinds = append(t.kinds, t.rows())
		return k
	}
	row := 0
	for i, p := range f.Parts {
		d := decode.Part{Rows: p.Rows, Rank: p.Rank, Dense: -1, Down: -1}
		layout.Rows += p.Rows
		if len(p.Dense) > 0 {
			ones := make([]float64, p.Rows)
			for r := range ones {
				ones[r] = 1
			}
			d.Dense = stack(p.DenseBits, p.Dense, ones)
			if f.want != nil {
				t := &inputs[d.Dense]
				t.want, t.reach = append(t.want, f.want[row:row+p.Rows]...), append(t.reach, ones...)
			}
		}
		if p.Rank > 0 {
			a, b, weight, gram := p.balance(f.Cols, f.gram)
			d.Down = stack(p.BBits, b, weight)
			t := target{cols: p.Rank, bits: p.ABits, values: a, kinds: []int{p.Rows}}
			if f.want != nil {
				t.want, t.reach = f.want[row:row+p.Rows], make([]float64, p.Rows)
				for r := range t.reach {
					t.reach[r] = 1
				}
				down := &inputs[d.Down]
				for k := range p.Rank { // an error in a row of B is one in every output
					want, reach := middle(a, f.want[row:row+p.Rows], k, p.Rank)
					down.want, down.reach = append(down.want, want), append(down.reach, reach)
				}
			}
			as = append(as, firstFactor{t, i, gram})
		}
		row += p.Rows
		layout.Parts = append(layout.Parts, d)
	}
	return layout, inputs, as
}

// middle returns how large an error element k of B x may have, as log2, and what
// the square of one does to all outputs: an output may have errors of 2^want.
func middle(a []float32, want []float64, k, rank int) (may, reach float64) {
	least := slices.Min(want)
	cost := 0.0
	for i, w := range want {
		v := float64(a[i*rank+k])
		reach += v * v
		cost += v * v * math.Exp2(2*(least-w))
	}
	if cost == 0 {
		return least, 0
	}
	return least - math.Log2(cost)/2, reach
}

// balance returns A and B scaled against each other, the root mean squares of
// the columns of A, and the Gram matrix of B x, for inputs with Gram matrix g or
// (nil) independent ones.
func (p *FactoredPart) balance(cols int, g *triangle) (a, b []float32, weight []float64, gram *triangle) {
	r := p.Rank
	z := products(p.B, r, cols, g)
	a, b = append([]float32(nil), p.A...), append([]float32(nil), p.B...)
	gram, weight = newTriangle(r), make([]float64, r)
	scale := make([]float64, r)
	for k := range r {
		if scale[k] = math.Sqrt(z[k*r+k]); scale[k] == 0 {
			scale[k] = 1
		}
		for j := range cols {
			b[k*cols+j] = float32(float64(b[k*cols+j]) / scale[k])
		}
		for i := range p.Rows {
			v := float64(a[i*r+k]) * scale[k]
			a[i*r+k] = float32(v)
			weight[k] += v * v / float64(p.Rows)
		}
		weight[k] = math.Sqrt(weight[k])
	}
	for i := range r {
		for j := range i + 1 {
			*gram.at(i, j) = float32(z[i*r+j] / (scale[i] * scale[j]))
		}
	}
	return a, b, weight, gram
}

// products returns B G B^T for B of r x n; g nil is the identity.
func products(b []float32, r, n int, g *triangle) []float64 {
	z := make([]float64, r*r)
	var work errgroup.Group
	work.SetLimit(runtime.GOMAXPROCS(0))
	const block = 16 // rows of B at a time
	for k0 := 0; k0 < r; k0 += block {
		work.Go(func() error {
			k1 := min(k0+block, r)
			left := b[k0*n : k1*n]
			if g != nil {
				left = make([]float32, (k1-k0)*n)
				row := make([]float32, n)
				for i := range n {
					for j := range row {
						row[j] = *g.at(max(i, j), min(i, j))
					}
					for k := range k1 - k0 {
						kern.Axpy(left[k*n:(k+1)*n], b[(k0+k)*n+i], row)
					}
				}
			}
			for k := range k1 - k0 {
				for j := range r {
					sum := 0.0
					for i, v := range left[k*n : (k+1)*n] {
						sum += float64(v) * float64(b[j*n+i])
					}
					z[(k0+k)*r+j] = sum
				}
			}
			return nil
		})
	}
	_ = work.Wait() // nothing fails
	return z
}
