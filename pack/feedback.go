package pack

import (
	"cmp"
	"math"
	"slices"

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/kern"
	"github.com/lamina-llm/lamina/internal/tile"
	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/pack/quant"
)

// feedback quantises a matrix column by column; the error of each column is
// made up for by the columns after it, as far as inputs go together (Frantar et
// al., GPTQ, 2023; Chee et al., QuIP, 2023). The step of a column follows from
// what its error costs then: inputs that matter little get coarse steps
// (WaterSIC, arXiv 2603.04956). The step of a row follows from what an error of
// that output costs.
type feedback struct {
	perm  []int     // coded column -> column
	order []uint8   // Side.Order, per column
	a     *triangle // what the error of column k asks of column j: a[j][k]
	col   rans.Scales
	scale []float32 // value of col, per coded column

	want  []float64 // per row, log2 of its scale at a step of one
	size  []float64 // per row, log2 of the root mean square of weights over column scales
	group []float64 // per lane group, log2 of how much larger its weights are than their rows'

	ids    []int     // rows of the sample
	sample []float32 // these rows in coded order, as they are
	keep   bool      // fits tell the errors of the sample
	held   int       // raw planes, plus one, that fits start from; 0 lets them choose
	fixed  float64   // side information of chunks and directory, in bits per weight
}

const (
	feedbackRows = 192 // rows of the sample
	colFrac      = 3   // column scales in steps of 2^(1/8)
	colRange     = 63  // of codes: 8 octaves

	// feedbackLambda is what lambda is multiplied with: what the search takes
	// off the weights to save bits, all rows of a column lose in the same
	// direction, and at 2 bits that costs more than it saves.
	feedbackLambda = 0.35

	// rowFloor bounds the costs of rows from below, relative to the mean: rows
	// whose outputs are hardly ever in use stay usable.
	rowFloor = 1e-3
	// A step would follow the cost of its row with a power of 1/2 if the loss
	// were square in the errors. Coarse steps leave that range, the more so in
	// rows of an embedding, where costs span five orders of magnitude and an
	// error in the logit of a rare token raises its probability exponentially.
	rowPower   = 0.35
	tokenPower = 0.3

	// regroupRows is how many rows make it worth 4 bits a column to bring columns
	// of like variance together.
	regroupRows = 400
	// sideMost bounds side information, in bits per weight, where classes are to
	// choose from.
	sideMost = 0.06
)

// newFeedback plans the columns of a matrix with so many rows from the Gram matrix
// of its inputs.
func newFeedback(g *triangle, rows int, d damping, pool model.Pool) (*feedback, error) {
	n := g.n
	f := &feedback{perm: make([]int, n)}
	for j := range n {
		f.perm[j] = j
	}
	if rows > regroupRows {
		f.regroup(g)
	}
	var root []float64
	var err error
	if f.a, root, err = g.factorise(f.perm, d, pool); err != nil {
		return nil, err
	}
	f.columns(root)
	return f, nil
}

// regroup sorts the columns so that those of like variance share lane groups,
// and so tables.
func (f *feedback) regroup(g *triangle) {
	n := g.n
	f.order = make([]uint8, n)
	slices.SortStableFunc(f.perm, func(i, j int) int { return cmp.Compare(g.symmetric(j, j), g.symmetric(i, i)) })
	groups := tile.Layout{Rows: 1, Cols: n}.Groups()
	classes := min(groups, rans.MaxClasses)
	for k, j := range f.perm {
		f.order[j] = uint8(k / tile.Lanes * classes / groups)
	}
	slices.SortStableFunc(f.perm, func(i, j int) int {
		return cmp.Or(cmp.Compare(f.order[i], f.order[j]), cmp.Compare(i, j))
	})
}

// rows sets the scales of the rows that f is for: log2 of the scale of each at a
// step of one. The rows are to be observed then.
func (f *feedback) rows(want []float64) {
	f.want, f.size, f.group = want, make([]float64, len(want)), make([]float64, f.a.tiles())
	f.ids, f.sample = nil, nil
}

// wanted returns the scales of rows, as log2, from what an error of each output
// costs, followed to the given power.
func wanted(cost []float64, power float64) []float64 {
	mean := 0.0
	for _, c := range cost {
		mean += c / float64(len(cost))
	}
	mean = max(mean, 1e-30)
	want := make([]float64, len(cost))
	for r, c := range cost {
		want[r] = -math.Log2(max(c/mean, rowFloor))*power - math.Log2(mean)/2
	}
	return want
}

// observe takes row r of the matrix; rows come in order.
func (f *feedback) observe(r int, row []float32) {
	rows, n := len(f.want), f.a.n
	if k := min(feedbackRows, rows); len(f.ids) < k && r == len(f.ids)*rows/k {
		f.ids = append(f.ids, r)
		for _, j := range f.perm {
			f.sample = append(f.sample, row[j])
		}
	}
	sum := 0.0
	part := make([]float64, len(f.group))
	for k, j := range f.perm {
		v := float64(row[j] / f.scale[k])
		part[k/tile.Lanes] += v * v
	}
	for _, v := range part {
		sum += v
	}
	f.size[r] = math.Log2(sum/float64(n)) / 2
	if sum > 0 {
		for g, v := range part {
			f.group[g] += v / sum
		}
	}
}

// observed ends the rows.
func (f *feedback) observed() {
	for g, v := range f.group {
		share := float64(f.a.height(g)) / float64(f.a.n) * float64(len(f.want))
		f.group[g] = math.Log2(v/share+1e-6) / 2
	}
}

// excess returns by how much the rows' sizes exceed their scales at a step of
// one, as a sum of logarithms to base 2.
func (f *feedback) excess() (sum float64) {
	for r, w := range f.want {
		sum += max(f.size[r], -40) - w
	}
	return sum
}

// shift multiplies all scales by 2^by.
func (f *feedback) shift(by float64) {
	for r := range f.want {
		f.want[r] += by
	}
}

// columns sets the column scales to 1/root.
func (f *feedback) columns(root []float64) {
	n := len(root)
	step := make([]float64, n) // logarithms to base 2
	for k := range f.perm {
		step[k] = -math.Log2(root[k])
	}
	least := slices.Min(step)
	top := 0
	codes := make([]uint8, n) // in the order of the matrix
	for k, j := range f.perm {
		codes[j] = uint8(min(math.Round((step[k]-least)*(1<<colFrac)), colRange))
		top = max(top, int(codes[j]))
	}
	f.col = rans.Scales{Base: float32(math.Exp2(least)), Frac: colFrac, Code: codes}
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

// rowPlan is what rows of a matrix get at a step.
type rowPlan struct {
	scale rans.Scales
	class []uint8 // per row
	group []uint8 // per lane group; a row's class there is the sum
	n     int     // classes
	alike bool    // all rows are of class 0
}

// reach is the largest ratio, as log2, of a row's root mean square to its step
// that levels of so many raw planes are made for.
var reach = [...]float64{2, 3, 4, 5}

// classWidth says how many octaves the sizes in steps may differ of rows, and of
// lane groups, that share tables. +Inf puts all in one class; otherwise both are
// the same.
type classWidth struct{ row, group float64 }

// planRows plans the rows for a step.
func (f *feedback) planRows(mode rans.Mode, planes int, step float64, width classWidth) rowPlan {
	most := reach[planes]
	if mode == rans.Scalar {
		most-- // its levels are all in use, not every second one
	}
	at := make([]float64, len(f.want))
	least := math.Inf(1)
	for r, w := range f.want {
		at[r] = min(max(w+math.Log2(step), f.size[r]-most), f.size[r]+2)
		if f.size[r] > math.Inf(-1) {
			least = min(least, at[r])
		}
	}
	if math.IsInf(least, 1) {
		least = 0
	}
	p := rowPlan{scale: rans.Scales{Base: float32(math.Exp2(least)), Frac: rowFrac, Code: make([]uint8, len(at))}}
	top := 0
	ratio := make([]float64, len(at))
	low, high := math.Inf(1), math.Inf(-1)
	for r, x := range at {
		code := int(min(max(math.Round((x-least)*(1<<rowFrac)), 0), 255))
		p.scale.Code[r] = uint8(code)
		top = max(top, code)
		ratio[r] = max(f.size[r]-(least+float64(code)/(1<<rowFrac)), -2)
		low, high = min(low, ratio[r]), max(high, ratio[r])
	}
	for 1<<p.scale.Bits <= top {
		p.scale.Bits++
	}
	if p.scale.Bits == 0 {
		p.scale.Code = nil
	}
	gLow, gHigh := slices.Min(f.group), slices.Max(f.group)
	least = (high - low + gHigh - gLow) / (rans.MaxClasses - 2)
	width.row, width.group = max(width.row, least), max(width.group, least)
	p.class, p.group = make([]uint8, len(at)), make([]uint8, len(f.group))
	most1, most2 := uint8(0), uint8(0)
	for r := range p.class {
		p.class[r] = uint8((ratio[r]-low)/width.row + 0.5)
		most1 = max(most1, p.class[r])
	}
	for g := range p.group {
		p.group[g] = uint8((f.group[g]-gLow)/width.group + 0.5)
		most2 = max(most2, p.group[g])
	}
	p.n = int(most1) + int(most2) + 1
	p.alike = most1 == 0
	return p
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
// and leaves their errors in values. coders gives the coders of a lane group by
// class of row, column takes what was chosen; level and delta (what goes to the
// sparse list) are overwritten later. It returns the squared error in steps.
func (q *feedbackLoop) run(f *feedback, values []float32, class []uint8, coders func(group int) []*quant.Coder, column func(j int, level []uint8, delta []int32)) (loss float64) {
	return q.part(f, values, class, coders, 0, len(f.a.left), column)
}

// part is run for lane groups [first, end) alone. Values before them are errors
// that later columns are to make up for; columns behind them do so exactly.
func (q *feedbackLoop) part(f *feedback, values []float32, class []uint8, coders func(group int) []*quant.Coder, first, end int, column func(j int, level []uint8, delta []int32)) (loss float64) {
	n := f.a.n
	rows := len(values) / n
	q.target = slices.Grow(q.target[:0], rows*tile.Lanes)[:rows*tile.Lanes]
	q.rec, q.v = slices.Grow(q.rec[:0], rows)[:rows], slices.Grow(q.v[:0], rows)[:rows]
	q.level, q.delta = slices.Grow(q.level[:0], rows)[:rows], slices.Grow(q.delta[:0], rows)[:rows]
	q.pack = slices.Grow(q.pack[:0], feedbackTile*n)[:feedbackTile*n]
	q.product = slices.Grow(q.product[:0], feedbackTile*tile.Lanes)[:feedbackTile*tile.Lanes]
	for t := first; t < len(f.a.left); t++ {
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
		c := coders(t)
		for k := range h {
			target := q.target[k*rows:][:rows]
			if t >= end {
				for r, x := range target {
					e := &values[r*n+b+k]
					*e -= x
					q.v[r] = *e
				}
				q.spread(f, t, k, rows)
				continue
			}
			inv := 1 / f.scale[b+k]
			for r, x := range target {
				q.v[r], q.delta[r] = c[class[r]].Split(x * inv)
			}
			if c[0].Mode == rans.DQ {
				q.trellis.Classes(c, class, q.v, q.level, q.rec)
			} else {
				for r, v := range q.v {
					q.level[r], q.rec[r] = c[class[r]].Scalar(v)
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
			q.spread(f, t, k, rows)
		}
	}
	return loss
}

// spread adds what the errors of column k of lane group t ask of the columns
// after it in the group.
func (q *feedbackLoop) spread(f *feedback, t, k, rows int) {
	h := f.a.height(t)
	for k2 := k + 1; k2 < h; k2++ {
		kern.Axpy(q.target[k2*rows:][:rows], f.a.diag[t][k2*h+k], q.v)
	}
}

// counts holds how often symbols were used, per quantiser.
type counts [2][rans.Alphabet]int64

// plan plans the rows for a step with as many classes as the bound of side
// information allows: the smaller a matrix, the more a class costs.
func (f *feedback) plan(mode rans.Mode, planes int, step float64) rowPlan {
	if len(f.want)*f.a.n > 1<<20 {
		return f.planRows(mode, planes, step, classWidth{0.3, 0.3})
	}
	inf := math.Inf(1)
	for _, width := range []classWidth{{0.5, 0.5}, {1, 1}, {inf, 0.5}} {
		if p := f.planRows(mode, planes, step, width); f.side(mode, &p)+f.fixed <= sideMost {
			return p
		}
	}
	return f.planRows(mode, planes, step, classWidth{inf, inf})
}

// side returns the side information of scales, classes and tables, in bits per
// weight.
func (f *feedback) side(mode rans.Mode, p *rowPlan) float64 {
	rowBits, colBits := float64(p.scale.Bits), float64(f.col.Bits)
	if !p.alike {
		rowBits += 4
	}
	if f.order != nil {
		colBits += 4
	}
	rows, n := float64(len(f.want)), float64(f.a.n)
	return float64(p.n*(1+int(mode))*24*8)/(rows*n) + colBits/rows + rowBits/n
}

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
