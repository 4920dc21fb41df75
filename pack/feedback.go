package pack

import (
	"cmp"
	"math"
	"slices"

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/kern"
	"github.com/lamina-llm/lamina/internal/tile"
	"github.com/lamina-llm/lamina/pack/quant"
)

// feedback quantises a matrix column by column; the error of each column is
// made up for by the columns after it, as far as inputs go together (Frantar et
// al., GPTQ, 2023; Chee et al., QuIP, 2023). The step of a column follows from
// what its error costs then: inputs that matter little get coarse steps
// (WaterSIC, arXiv 2603.04956).
type feedback struct {
	perm  []int     // coded column -> column
	class []uint8   // Side.Order, per column
	a     *triangle // what the error of column k asks of column j: a[j][k]
	col   rans.Scales
	scale []float32 // value of col, per coded column

	rows   int       // of the sample
	sample []float32 // rows x columns in coded order, divided by row scales
}

const (
	feedbackRows = 192 // rows of the sample
	colFrac      = 3   // column scales in steps of 2^(1/8)
	colRange     = 63  // of codes: 8 octaves

	// feedbackLambda is what lambda is multiplied with. Measured differences
	// between 0.55 and 1 are small: 0.75 gained at 2.5 bits, not at 3.5.
	feedbackLambda = 0.75
)

// newFeedback plans the columns of a matrix from its Gram matrix and a sample
// of its rows (rows x g.n, divided by their scales).
func newFeedback(g *triangle, sample []float32) (*feedback, error) {
	n := g.n
	f := &feedback{perm: make([]int, n), class: make([]uint8, n), rows: len(sample) / n}
	rms := make([]float64, n)
	for j := range n {
		f.perm[j] = j
		for r := range f.rows {
			v := float64(sample[r*n+j])
			rms[j] += v * v
		}
		rms[j] = math.Sqrt(rms[j]/float64(f.rows)) + 1e-9
	}
	// Columns that need about as many bits share lane groups, and so tables.
	need := make([]float64, n)
	for j := range need {
		need[j] = rms[j] * math.Sqrt(g.symmetric(j, j))
	}
	slices.SortStableFunc(f.perm, func(i, j int) int { return cmp.Compare(need[j], need[i]) })
	groups := tile.Layout{Rows: 1, Cols: n}.Groups()
	classes := min(groups, rans.MaxClasses)
	for k, j := range f.perm {
		f.class[j] = uint8(k / tile.Lanes * classes / groups)
	}
	slices.SortStableFunc(f.perm, func(i, j int) int {
		return cmp.Or(cmp.Compare(f.class[i], f.class[j]), cmp.Compare(i, j))
	})
	var root []float64
	var err error
	if f.a, root, err = g.factorise(f.perm); err != nil {
		return nil, err
	}
	f.columns(root, rms)
	f.sample = make([]float32, len(sample))
	for r := range f.rows {
		for k, j := range f.perm {
			f.sample[r*n+k] = sample[r*n+j]
		}
	}
	return f, nil
}

// columns sets the column scales to 1/root, on average (of logarithms) one
// step per root mean square of the column.
func (f *feedback) columns(root, rms []float64) {
	n := len(root)
	step, mean := make([]float64, n), 0.0 // logarithms to base 2
	for k, j := range f.perm {
		step[k] = -math.Log2(root[k])
		mean += (math.Log2(rms[j]) - step[k]) / float64(n)
	}
	least := slices.Min(step)
	top := 0
	codes := make([]uint8, n) // in the order of the matrix
	for k, j := range f.perm {
		codes[j] = uint8(min(math.Round((step[k]-least)*(1<<colFrac)), colRange))
		top = max(top, int(codes[j]))
	}
	f.col = rans.Scales{Base: float32(math.Exp2(least + mean)), Frac: colFrac, Code: codes}
	for 1<<f.col.Bits <= top {
		f.col.Bits++
	}
	if f.col.Bits == 0 {
		f.col.Code = nil
	}
	f.scale = make([]float32, n)
	for k, j := range f.perm {
		f.scale[k] = f.col.Value(j)
	}
}

// feedbackLoop is the working memory of one band.
type feedbackLoop struct {
	trellis quant.Trellis
	target  []float32 // columns of a lane group
	rec, v  []float32
	level   []uint8
	delta   []int32
	pack    []float32
	product []float32
}

const feedbackTile = 16 // rows of one product

// run quantises rows x n values in coded order, in units of row scale and step,
// and leaves their errors in values. coder gives the coder of a lane group,
// column takes what was chosen; level and delta (what goes to the sparse list)
// are overwritten later. It returns the cost: squared error in steps, and what
// lambda makes of bits.
func (q *feedbackLoop) run(f *feedback, values []float32, coder func(group int) *quant.Coder, column func(j int, level []uint8, delta []int32)) (loss float64) {
	n := f.a.n
	rows := len(values) / n
	q.target = slices.Grow(q.target[:0], rows*tile.Lanes)[:rows*tile.Lanes]
	q.rec, q.v = slices.Grow(q.rec[:0], rows)[:rows], slices.Grow(q.v[:0], rows)[:rows]
	q.level, q.delta = slices.Grow(q.level[:0], rows)[:rows], slices.Grow(q.delta[:0], rows)[:rows]
	q.pack = slices.Grow(q.pack[:0], feedbackTile*n)[:feedbackTile*n]
	q.product = slices.Grow(q.product[:0], feedbackTile*tile.Lanes)[:feedbackTile*tile.Lanes]
	for t := range f.a.left {
		b, h := t*tile.Lanes, f.a.height(t)
		for r0 := 0; r0 < rows; r0 += feedbackTile {
			part := min(feedbackTile, rows-r0)
			for r := range part {
				copy(q.pack[r*b:(r+1)*b], values[(r0+r)*n:])
			}
			kern.MatMulF32(q.product, f.a.left[t], q.pack, h, b, part)
			for r := range part {
				for k := range h {
					q.target[k*rows+r0+r] = values[(r0+r)*n+b+k] + q.product[r*h+k]
				}
			}
		}
		c := coder(t)
		for k := range h {
			target := q.target[k*rows:][:rows]
			inv := 1 / f.scale[b+k]
			for r, x := range target {
				q.v[r], q.delta[r] = c.Split(x * inv)
			}
			if c.Mode == rans.DQ {
				q.trellis.Column(c, q.v, q.level, q.rec)
			} else {
				for r, v := range q.v {
					q.level[r], q.rec[r] = c.Scalar(v)
				}
			}
			sum := float32(0)
			for r, v := range q.v {
				d := v - q.rec[r]
				sum += d * d
				e := &values[r*n+b+k]
				*e -= (q.rec[r] + float32(q.delta[r])) * f.scale[b+k]
				q.v[r] = *e
			}
			loss += float64(sum)
			column(b+k, q.level, q.delta)
			for k2 := k + 1; k2 < h; k2++ {
				kern.Axpy(q.target[k2*rows:][:rows], f.a.diag[t][k2*h+k], q.v)
			}
		}
	}
	return loss
}

// counts holds how often symbols were used, per quantiser.
type counts [2][rans.Alphabet]int64

// length returns the coded bits of c under its own frequencies.
func (c *counts) length() (bits float64) {
	for q := range c {
		total := int64(0)
		for _, n := range c[q] {
			total += n
		}
		for _, n := range c[q] {
			if n > 0 {
				bits -= float64(n) * math.Log2(float64(n)/float64(total))
			}
		}
	}
	return bits
}

func (c *counts) plus(d *counts) counts {
	s := *c
	for q := range s {
		for i := range s[q] {
			s[q][i] += d[q][i]
		}
	}
	return s
}

// cluster joins lane groups into classes while that costs fewer bits than the
// tables it saves, and until there are few enough. A symbol of the sample
// stands for weight symbols.
func cluster(group []counts, weight float64, tables int) (class []uint8, of []counts) {
	class = make([]uint8, len(group))
	of = slices.Clone(group)
	length := make([]float64, len(of))
	for i := range of {
		class[i], length[i] = uint8(i), of[i].length()
	}
	for len(of) > 1 {
		bestI, bestJ, best := 0, 0, math.Inf(1)
		for i := range of {
			for j := i + 1; j < len(of); j++ {
				both := of[i].plus(&of[j])
				if rise := (both.length() - length[i] - length[j]) * weight; rise < best {
					bestI, bestJ, best = i, j, rise
				}
			}
		}
		if len(of) <= rans.MaxClasses && best > float64(tables)*24*8 {
			break
		}
		of[bestI] = of[bestI].plus(&of[bestJ])
		length[bestI] = of[bestI].length()
		of, length = slices.Delete(of, bestJ, bestJ+1), slices.Delete(length, bestJ, bestJ+1)
		for g := range class {
			switch {
			case int(class[g]) == bestJ:
				class[g] = uint8(bestI)
			case int(class[g]) > bestJ:
				class[g]--
			}
		}
	}
	return class, of
}

// fit is [matrix.fit] with error feedback: planes, classes and tables for a
// matrix of the given number of rows. It looks at every thin-th row of the sample.
func (f *feedback) fit(mode rans.Mode, rows int, step float64, thin, turns int) (*coderFit, error) {
	var best *coderFit
	for planes := range mode.MaxPlanes() + 1 {
		c, reach, err := f.fitPlanes(mode, planes, rows, step, thin, turns)
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

func (f *feedback) fitPlanes(mode rans.Mode, planes, rows int, step float64, thin, turns int) (c *coderFit, reach bool, err error) {
	groups := len(f.a.left)
	c = &coderFit{planes: planes, class: make([]uint8, groups)}
	lambda := feedbackLambda * quant.Lambda(mode)
	uniform := quant.Uniform(mode, planes)
	uniform.Lambda = lambda
	c.coders = []*quant.Coder{uniform}
	n := f.a.n
	used := (f.rows + thin - 1) / thin
	values := make([]float32, used*n)
	var loop feedbackLoop
	total := float64(len(values))
	for range turns {
		inv := float32(1 / step)
		for r := range used {
			for j, v := range f.sample[r*thin*n : (r*thin+1)*n] {
				values[r*n+j] = v * inv
			}
		}
		seen := make([]counts, groups)
		outliers := 0
		loss := loop.run(f, values, c.groupCoder, func(j int, level []uint8, delta []int32) {
			s := &seen[j/tile.Lanes]
			if mode == rans.DQ {
				quant.Walk(level, func(i, q int) { s[q][level[i]>>planes]++ })
			} else {
				for _, u := range level {
					s[0][u>>planes]++
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
		var of []counts
		c.class, of = cluster(seen, float64(rows)/float64(used), 1+int(mode))
		c.coders, c.tables, c.bits = nil, nil, float64(outliers)*24
		for k := range of {
			tables := []rans.Table(nil)
			for q := range 1 + int(mode) {
				t, err := quant.FitTable(of[k][q])
				if err != nil {
					return nil, false, err
				}
				tables = append(tables, t)
				for s, n := range of[k][q] {
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
		c.cost = loss/total + float64(lambda)*c.bits
		c.bits += float64(len(c.tables)*24*8)/(float64(rows)*float64(f.a.n)) + float64(4+f.col.Bits)/float64(rows)
		reach = outliers*20000 <= len(values)
	}
	return c, reach, nil
}
