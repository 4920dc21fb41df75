package decode

import (
	"fmt"
	"slices"

	"github.com/lamina-llm/lamina/internal/kern"
)

// Operator is the product with one coded matrix: [Coded] or [Unpacked].
type Operator interface {
	// Dims returns the output width (rows) and the input width (cols).
	Dims() (rows, cols int)
	// Apply computes n products; see model.Linear.
	Apply(dst, x []float32, n int) error
	// Rows writes single rows; see [Coded.Rows].
	Rows(dst []float32, ids []int32) error

	matrix() *Matrix
	apply(dst []float32, a *activations) error
}

// matrix returns m, to whom it is embedded in.
func (m *Matrix) matrix() *Matrix { return m }

// Factored is the operator of a matrix in parts: dense ones, and pairs of
// factors that are multiplied with one after the other, y = A (B x). No product
// A B is ever formed. What multiplies the input comes first, and the input is
// quantised once for all of it whose column scales agree; its results are
// vectors of the workspace, of which each A takes its own elements. A part
// with both has A (B x) + Q x. As with [Coded] and [Unpacked], of which it
// consists, results are the same bits on every path.
type Factored struct {
	factors *Factors
	ws      *Workspace
	inputs  []factoredInput
	parts   []factoredPart
	width   int // of the vectors between the products
}

// factoredInput is one of the matrices that multiply the input.
type factoredInput struct {
	op     Operator
	direct bool // results are rows of the whole, not vectors in between
	at     int  // first of them
	shares bool // the columns are those of the input before it
}

// factoredPart is what is left to do for one part after the inputs.
type factoredPart struct {
	row, rows int
	a         Operator // nil if the part has no factors
	down      int      // where B x begins in the middle
	dense     int      // where Q x begins there; -1 if there is none, or none to add
}

// NewFactored joins the operators of the matrices that f.Shapes lists, in that
// order, which share ws. Its size must cover them and f. f must be valid.
func NewFactored(f *Factors, ops []Operator, ws *Workspace) (*Factored, error) {
	shapes := f.Shapes()
	if len(ops) != len(shapes) {
		return nil, fmt.Errorf("decode: %d operators for %d matrices", len(ops), len(shapes))
	}
	for i, op := range ops {
		if rows, cols := op.Dims(); rows != shapes[i][0] || cols != shapes[i][1] {
			return nil, fmt.Errorf("decode: matrix %d of a factored one is %d x %d, want %d x %d", i, rows, cols, shapes[i][0], shapes[i][1])
		}
	}
	direct, at, width := f.middle()
	o := &Factored{factors: f, ws: ws, width: width}
	for k := range direct {
		shares := k > 0 && ops[k-1].matrix().sameColumns(ops[k].matrix())
		o.inputs = append(o.inputs, factoredInput{ops[k], direct[k], at[k], shares})
	}
	ops = ops[len(direct):]
	next := slices.Clone(at)
	row := 0
	for _, p := range f.Parts {
		part := factoredPart{row: row, rows: p.Rows, dense: -1}
		if p.Dense >= 0 && !direct[p.Dense] {
			part.dense = next[p.Dense]
			next[p.Dense] += p.Rows
		}
		if p.Rank > 0 {
			part.a, ops = ops[0], ops[1:]
			part.down = next[p.Down]
			next[p.Down] += p.Rank
		}
		if part.a != nil || part.dense >= 0 {
			o.parts = append(o.parts, part)
		}
		row += p.Rows
	}
	return o, nil
}

// sameColumns reports whether activations quantised for m serve o.
func (m *Matrix) sameColumns(o *Matrix) bool {
	return m.layout.Cols == o.layout.Cols && m.transform == o.transform && slices.Equal(m.perm, o.perm) && slices.Equal(m.col, o.col)
}

// Dims returns rows and columns of the whole matrix.
func (f *Factored) Dims() (rows, cols int) { return f.factors.Rows, f.factors.Cols }

// Apply computes n products; see model.Linear. Errors are those of
// [Coded.Apply].
func (f *Factored) Apply(dst, x []float32, n int) error {
	rows, cols := f.Dims()
	dst, x = dst[:n*rows], x[:n*cols]
	if n == 0 {
		return nil
	}
	mid := f.ws.mid[:n*f.width]
	var a *activations
	for i := range f.inputs {
		in := &f.inputs[i]
		y, ld := mid, f.width
		if in.direct {
			y, ld = dst, rows
		}
		if in.shares {
			a.ld = ld
		} else {
			a = in.op.matrix().quantise(f.ws, x, cols, ld, n)
		}
		if err := in.op.apply(y[in.at:], a); err != nil {
			return fmt.Errorf("input %d: %w", i, err)
		}
	}
	for i := range f.parts {
		p := &f.parts[i]
		if p.a != nil {
			a := p.a.matrix().quantise(f.ws, mid[p.down:], f.width, rows, n)
			if err := p.a.apply(dst[p.row:], a); err != nil {
				return fmt.Errorf("rows from %d on: %w", p.row, err)
			}
		}
		if p.dense >= 0 {
			f.merge(p, dst, mid, n)
		}
	}
	return nil
}

// merge adds the dense products of a part to those of its factors, or puts them
// in their place.
func (f *Factored) merge(p *factoredPart, dst, mid []float32, n int) {
	one := func(_, t int) {
		y, q := dst[t*f.factors.Rows+p.row:][:p.rows], mid[t*f.width+p.dense:][:p.rows]
		if p.a != nil {
			kern.Add(y, q)
		} else {
			copy(y, q)
		}
	}
	if n == 1 {
		one(0, 0)
		return
	}
	f.ws.pool.For(n, one)
}
