package pack

import (
	"cmp"
	"math"
	"slices"

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/tile"
	"github.com/lamina-llm/lamina/model"
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
