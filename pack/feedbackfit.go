package pack

import (
	"math"
	"slices"

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/tile"
	"github.com/lamina-llm/lamina/pack/quant"
)

// counts holds how often symbols were used, per quantiser.
type counts [2][rans.Alphabet]int64

// fit is [matrix.fit] with error feedback: planes, classes and tables for a
// matrix at a step. It looks at every thin-th row of the sample.
func (f *feedback) fit(kind quant.Kind, step float64, thin, turns int) (*coderFit, error) {
	var best *coderFit
	for planes := range kind.MaxPlanes() + 1 {
		c, reach, err := f.fitPlanes(kind, planes, step, thin, turns)
		if err != nil {
			return nil, err
		}
		if best == nil || c.cost < best.cost {
			best = c
		}
		if reach {
			break
		}
	}
	return best, nil
}

// scaled returns every thin-th row of the sample in units of its scale, and
// their classes.
func (f *feedback) scaled(p *rowPlan, thin int) (values []float32, class []uint8) {
	n := f.a.n
	for k := 0; k < len(f.ids); k += thin {
		r := f.ids[k]
		inv := 1 / p.scale.Value(r)
		for _, v := range f.sample[k*n : (k+1)*n] {
			values = append(values, v*inv)
		}
		class = append(class, p.class[r])
	}
	return values, class
}

// fitAll is fit on all of the sample: what a matrix is coded with.
func (f *feedback) fitAll(kind quant.Kind, step float64) (fit *coderFit, err error) {
	planes := f.held - 1
	if f.held == 0 {
		if fit, err = f.fit(kind, step, rateThin, 2); err != nil {
			return nil, err
		}
		planes = fit.planes
	}
	for ; ; planes++ {
		// All of the sample may need more planes than a part of it.
		if fit, _, err = f.fitPlanes(kind, planes, step, 1, 3); err != nil || fit.tables != nil {
			break
		}
	}
	return fit, err
}

func (f *feedback) fitPlanes(kind quant.Kind, planes int, step float64, thin, turns int) (c *coderFit, reach bool, err error) {
	mode := kind.Mode
	plan := f.plan(mode, planes, step)
	c = &coderFit{planes: planes, plan: plan}
	lambda := feedbackLambda * quant.Lambda(mode)
	uniform := quant.Uniform(mode, planes)
	uniform.Lambda = lambda
	c.coders = slices.Repeat([]*quant.Coder{uniform}, plan.n)
	source, class := f.scaled(&plan, thin)
	values := make([]float32, len(source))
	var loop feedbackLoop
	total := float64(len(values))
	for range turns {
		copy(values, source)
		seen := make([]counts, plan.n)
		outliers := 0
		loss := loop.run(f, values, class, c.groupCoders, func(j int, level []uint8, delta []int32) {
			s := seen[plan.group[j/tile.Lanes]:]
			if mode == rans.DQ {
				quant.Walk(level, func(i, q int) { s[class[i]][q][level[i]>>planes]++ })
			} else {
				for i, u := range level {
					s[class[i]][0][u>>planes]++
				}
			}
			for _, d := range delta {
				if d != 0 {
					outliers++
				}
			}
		})
		if outliers*30 > len(values) && planes < mode.MaxPlanes() {
			c.cost = math.Inf(1) // far too few levels
			return c, false, nil
		}
		c.coders, c.tables, c.bits = nil, nil, float64(outliers)*24
		for k := range seen {
			var tables []rans.Table
			for q := range 1 + int(mode) {
				t, err := kind.FitTable(smooth(seen, k, q))
				if err != nil {
					return nil, false, err
				}
				tables = append(tables, t)
				for s, n := range seen[k][q] {
					if n > 0 && t.Freq[s] > 0 {
						c.bits += float64(n) * (8 - math.Log2(float64(t.Freq[s])))
					} else if n > 0 {
						c.bits += float64(n) * 24
					}
				}
			}
			c.coders = append(c.coders, quant.NewCoder(mode, planes, lambda, tables))
			c.tables = append(c.tables, tables...)
		}
		c.bits = c.bits/total + float64(planes)
		c.loss = loss / total
		if f.keep {
			c.errors = values
		}
		c.bits += f.side(mode, &plan)
		c.cost = f.price(&plan, loss/total, step) + float64(quant.Lambda(mode))*c.bits
		reach = outliers*20000 <= len(values)
	}
	return c, reach, nil
}

// price returns the error of a plan in steps squared of the rows' ideal scales:
// a row that was clipped to a coarser scale pays for it.
func (f *feedback) price(p *rowPlan, loss, step float64) float64 {
	more := 0.0
	for r, w := range f.want {
		over := math.Log2(float64(p.scale.Value(r))) - w - math.Log2(step)
		more += math.Exp2(2*min(over, 6)) / float64(len(f.want))
	}
	return loss * max(more, 1)
}

// smooth returns the counts of class k with a little of its neighbours', since
// a sample may hold few rows of a class.
func smooth(seen []counts, k, q int) (out [rans.Alphabet]int64) {
	for s := range out {
		out[s] = 64 * seen[k][q][s]
		for _, i := range [2]int{k - 1, k + 1} {
			if i >= 0 && i < len(seen) {
				out[s] += seen[i][q][s]
			}
		}
	}
	return out
}
