package pack

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/lamina-llm/lamina/decode"
	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/kern"
	"github.com/lamina-llm/lamina/internal/tile"
	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/weights"
)

// Factored is a matrix in parts that stand one below another, each dense, a pair
// of factors, or a dense matrix plus factors that correct it: W_i = Q + A B.
// It is coded as a tensor of codec "lowrank1".
type Factored struct {
	Name, Role string
	Cols       int // of the whole: width of the input
	Parts      []FactoredPart
	Mode       rans.Mode
	Fast       bool // as in Options
	Workers    int  // goroutines that quantise; 0 is one per processor

	gram *triangle // of the inputs, for error feedback; nil codes without data

	// want says how large an error each output may have at a step of one, as
	// log2: then all matrices are coded such that one more bit buys the same
	// anywhere. nil lets each part meet its own bits.
	want []float64
}

// FactoredPart is one part of Rows rows. Slices are row-major, borrowed and not
// changed. Bits are those of a level, as near as the codec's range of steps and
// an estimate on a sample allow; side information and heads of chunks, which
// count only in small matrices, come on top. Rows of Dense and B of the same
// bits, in all parts, are coded as one matrix. A multiple of 64 as rank wastes
// no lanes of the codec.
type FactoredPart struct {
	Rows      int
	Dense     []float32 // Rows x Cols; nil is none
	DenseBits float64
	Rank      int       // 0 is no factors
	A         []float32 // Rows x Rank
	ABits     float64
	B         []float32 // Rank x Cols
	BBits     float64
}

// WriteFactored codes f and appends it to w as the next tensor. The bits of the
// report are per element of the matrix multiplied out; it gives no error.
func WriteFactored(ctx context.Context, w *weights.Writer, f *Factored) (*TensorReport, error) {
	c, err := f.code(ctx)
	if err == nil {
		err = c.write(w, f)
	}
	if err != nil {
		return nil, fmt.Errorf("pack: %s: %w", f.Name, err)
	}
	n := c.layout.Rows * c.layout.Cols
	return &TensorReport{
		Name: f.Name, Rows: c.layout.Rows, Cols: c.layout.Cols, Bytes: c.bytes(), Bits: float64(c.bytes()) * 8 / float64(n),
	}, nil
}

// codedFactored is a factored matrix ready to be written.
type codedFactored struct {
	layout *decode.Factors
	head   []byte
	mats   []*coded // as layout.Shapes lists them
}

// bytes returns the size of all spans.
func (c *codedFactored) bytes() int64 {
	n := int64(len(c.head))
	for _, m := range c.mats {
		n += m.report.Bytes
	}
	return n
}

// write appends c as the next tensor.
func (c *codedFactored) write(w tensorWriter, f *Factored) error {
	rows, cols := c.layout.Rows, c.layout.Cols
	err := w.BeginTensor(weights.TensorInfo{
		Name: f.Name, Role: f.Role, Codec: decode.FactoredCodec, Rows: rows, Cols: cols, Weights: int64(rows) * int64(cols),
	})
	err = errors.Join(err, w.Span(c.head))
	for _, m := range c.mats {
		err = errors.Join(err, w.Span(m.side))
		for _, chunk := range m.chunks {
			err = errors.Join(err, w.Span(chunk))
		}
	}
	return err
}

// values decodes matrix i, as layout.Shapes lists them: what a reader of the
// file will multiply with.
func (c *codedFactored) values(i int) ([]float32, error) {
	s := c.layout.Shapes()[i]
	return c.mats[i].values(s[0], s[1])
}

// values decodes c, of rows x cols.
func (c *coded) values(rows, cols int) ([]float32, error) {
	m, err := decode.NewMatrix(rows, cols, c.side)
	if err == nil {
		err = m.Attach(c.chunks)
	}
	if err != nil {
		return nil, err
	}
	s := decode.Size{Batch: 1}
	s.Grow(m)
	out, ids := make([]float32, rows*cols), make([]int32, rows)
	for i := range ids {
		ids[i] = int32(i)
	}
	return out, decode.NewCoded(m, decode.NewWorkspace(model.Serial{}, s)).Rows(out, ids)
}

// target is one matrix to be coded, in memory.
type target struct {
	cols   int
	bits   float64
	values []float32
	weight []float64 // what an error in a row costs, as a root; nil is all one
	want   []float64 // log2 of the error of an output at a step of one, per row; nil is open
	reach  []float64 // squared effect on all outputs of a squared error of a row; with want
	kinds  []int     // ends of runs of rows that get the same bits on average
}

func (t *target) rows() int { return len(t.values) / t.cols }

// code quantises and codes all matrices of f.
func (f *Factored) code(ctx context.Context) (*codedFactored, error) {
	p := &packer{opt: Options{Mode: f.Mode, Fast: f.Fast, Workers: f.Workers}}
	if p.opt.Workers <= 0 {
		p.opt.Workers = runtime.GOMAXPROCS(0)
	}
	layout, mats, targets, err := p.prepare(f)
	if err != nil {
		return nil, err
	}
	c := &codedFactored{layout: layout}
	if c.head, err = layout.AppendTo(nil); err != nil {
		return nil, err
	}
	for i, m := range mats {
		done, err := p.codeAt(ctx, m, targets[i].bits)
		if err != nil {
			return nil, fmt.Errorf("matrix %d of %d x %d: %w", i, m.rows, m.cols, err)
		}
		c.mats = append(c.mats, done)
	}
	return c, nil
}

// prepare makes the matrices of f, as layout.Shapes lists them, ready to be
// coded at any step.
func (p *packer) prepare(f *Factored) (layout *decode.Factors, mats []*matrix, targets []target, err error) {
	if err := f.validate(); err != nil {
		return nil, nil, nil, err
	}
	layout, inputs, as := f.layOut()
	for i := range inputs {
		m, err := p.inMemory(&inputs[i], f.gram != nil)
		if err != nil {
			return nil, nil, nil, fmt.Errorf("input %d: %w", i, err)
		}
		mats = append(mats, m)
	}
	if f.gram != nil {
		if err := p.shareFeedback(f.gram, mats); err != nil {
			return nil, nil, nil, err
		}
	}
	for i := range as {
		m, err := p.inMemory(&as[i].target, true)
		if err == nil {
			err = p.shareFeedback(as[i].gram, []*matrix{m})
		}
		if err != nil {
			return nil, nil, nil, fmt.Errorf("first factor of part %d: %w", as[i].part, err)
		}
		mats = append(mats, m)
	}
	targets = inputs
	for _, a := range as {
		targets = append(targets, a.target)
	}
	return layout, mats, targets, nil
}

// validate reports what does not fit together.
func (f *Factored) validate() error {
	for i, p := range f.Parts {
		switch {
		case f.Mode > rans.DQ || f.Cols < 1 || p.Rows < 1 || p.Rank < 0:
			return fmt.Errorf("part %d: %d x %d, rank %d", i, p.Rows, f.Cols, p.Rank)
		case len(p.Dense) != 0 && !validBits(p.DenseBits) || p.Rank > 0 && !(validBits(p.ABits) && validBits(p.BBits)):
			return fmt.Errorf("part %d: %v, %v and %v bits, want 0.5 to 10", i, p.DenseBits, p.ABits, p.BBits)
		case len(p.Dense) != 0 && len(p.Dense) != p.Rows*f.Cols:
			return fmt.Errorf("part %d: %d dense elements, want %d x %d", i, len(p.Dense), p.Rows, f.Cols)
		case len(p.A) != p.Rows*p.Rank || len(p.B) != p.Rank*f.Cols:
			return fmt.Errorf("part %d: factors of %d and %d elements for rank %d of %d x %d", i, len(p.A), len(p.B), p.Rank, p.Rows, f.Cols)
		}
		for _, v := range [][]float32{p.Dense, p.A, p.B} {
			for _, x := range v {
				if x-x != 0 {
					return fmt.Errorf("part %d: an element is %v", i, x)
				}
			}
		}
	}
	if f.gram != nil && f.gram.n != f.Cols {
		return fmt.Errorf("gram matrix of %d inputs for %d columns", f.gram.n, f.Cols)
	}
	return nil
}

func validBits(b float64) bool { return b >= 0.5 && b <= 10 }

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

// inMemory makes a matrix of t, with row scales and a sample.
func (p *packer) inMemory(t *target, fed bool) (*matrix, error) {
	m := &matrix{name: "factor", rows: t.rows(), cols: t.cols, weigh: 1, values: t.values, curve: map[int]float64{}}
	m.band, m.depth = skinny(m.rows, m.cols)
	if t.want != nil {
		scale := make([]float64, m.rows)
		for r, w := range t.want {
			scale[r] = math.Exp2(w)
		}
		m.row, m.want, m.reach = rowScales(scale), t.want, t.reach
	} else {
		m.row = t.rowScales(fed)
	}
	for _, v := range t.values {
		m.energy += float64(v) * float64(v)
	}
	stride := max(1, m.rows/sampleRows)
	cols := min(sampleCols, m.cols)
	m.sample.rows = (m.rows + stride - 1) / stride
	for j := range cols {
		for r := 0; r < m.rows; r += stride {
			m.sample.v = append(m.sample.v, t.values[r*m.cols+j*m.cols/cols]/m.row.Value(r))
		}
	}
	return m, nil
}

// rowScales chooses the steps of t's rows. They follow the rows' sizes, or with
// error feedback (or weights) half so; the other half is what their errors
// cost. Each kind of rows gets the same step relative to its size, on average.
func (t *target) rowScales(fed bool) rans.Scales {
	scale := make([]float64, t.rows())
	r0 := 0
	for _, r1 := range t.kinds {
		mean, n := 0.0, 0
		for r := r0; r < r1; r++ {
			sum := 0.0
			for _, v := range t.values[r*t.cols : (r+1)*t.cols] {
				sum += float64(v) * float64(v)
			}
			rms := math.Sqrt(sum / float64(t.cols))
			w := 1.0
			if t.weight != nil {
				w = t.weight[r]
			}
			if scale[r] = rms; rms > 0 && w > 0 && (fed || w != 1) {
				scale[r] = math.Sqrt(rms / w)
			}
			if rms > 0 {
				mean += math.Log(rms / scale[r])
				n++
			}
		}
		for r := r0; r < r1 && n > 0; r++ {
			scale[r] *= math.Exp(mean / float64(n))
		}
		r0 = r1
	}
	return rowScales(scale)
}

// skinny is geometry for factors: a chunk of few rows takes more panels, since
// every chunk begins with two bytes of state per lane. What is less than
// skinnyCells is not worth sharing out.
func skinny(rows, cols int) (band, depth int) {
	const skinnyCells = 1 << 16
	l := tile.Layout{Rows: rows, Cols: cols}
	band, depth = geometry(rows, cols, 4096)
	room := (band + 15) / 16 * 16
	for depth < l.Panels() && room*(depth+1) <= rans.MaxBandPanels && (depth+1)*room*tile.MaxWidth <= skinnyCells {
		depth++
	}
	return band, depth
}

// shareFeedback plans error feedback for matrices with the same input: the same
// order and scales of columns for all, so that activations are quantised once.
func (p *packer) shareFeedback(g *triangle, mats []*matrix) error {
	rows := 0
	for _, m := range mats {
		rows += m.rows
	}
	f, err := newFeedback(g, rows, dampLight, workers(p.opt.Workers))
	if err != nil {
		return err
	}
	for _, m := range mats {
		own := *f
		want := make([]float64, m.rows)
		for r := range want {
			want[r] = math.Log2(float64(m.row.Value(r)))
			if m.want != nil {
				want[r] = m.want[r]
			}
		}
		own.rows(want)
		own.fixed = m.fixedSide()
		m.feedback = &own
		if err := p.observe(m); err != nil {
			return err
		}
		if m.want == nil {
			own.shift(own.excess() / float64(m.rows))
		}
	}
	return nil
}

// codeAt codes m at the step that gives the wanted bits per level.
func (p *packer) codeAt(ctx context.Context, m *matrix, bits float64) (*coded, error) {
	lo, hi := math.Log2(minStep), math.Log2(maxStep)
	for range 16 {
		mid := (lo + hi) / 2
		rate, err := m.rate(p.opt.kind(), math.Exp2(mid))
		if err != nil {
			return nil, err
		}
		if rate > bits {
			lo = mid
		} else {
			hi = mid
		}
	}
	step := math.Exp2((lo + hi) / 2)
	if m.feedback != nil {
		return p.encodeFeedback(ctx, m, step)
	}
	return p.encodePlain(ctx, m, step)
}
