package pack

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/lamina-llm/lamina/decode"
	"github.com/lamina-llm/lamina/decode/rans"
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
