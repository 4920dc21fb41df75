package decode

// Slice returns bands [b0, b1), at least one, of a matrix coded by "rans1" as a
// matrix of their own. Its chunks come by its own Attach.
func (m *Matrix) Slice(b0, b1 int) *Matrix {
	s, r := *m, m.rans.Slice(b0, b1)
	r0, _ := m.Band(b0)
	_, r1 := m.Band(b1 - 1)
	s.chunked, s.rans, s.layout, s.check = r, r, r.Layout(), nil
	s.row, s.first = m.row[r0:r1], m.first+r0
	s.low = nil
	s.shareRows()
	return &s
}

// Pieces is the operator of a matrix whose slices come and go, each when its turn
// is: a matrix that is larger than the memory for it. The input is quantised once;
// results are those of [Coded], bit for bit.
type Pieces struct {
	*Matrix
	ws      *Workspace
	n       int
	acquire func(k int) (Operator, func(), error)
}

// NewPieces returns the operator of m, whose own chunks are not needed. acquire
// returns the operator, in ws, of the k-th of n slices that together are m, and
// what releases it; both are called in the course of Apply alone.
func NewPieces(m *Matrix, ws *Workspace, n int, acquire func(k int) (op Operator, release func(), err error)) *Pieces {
	return &Pieces{m, ws, n, acquire}
}

// Apply computes n products; see model.Linear. It returns the error of acquire, or
// that of a slice's product.
func (p *Pieces) Apply(dst, x []float32, n int) error {
	rows, cols := p.Dims()
	dst, x = dst[:n*rows], x[:n*cols]
	if n == 0 {
		return nil
	}
	a := p.quantise(p.ws, x, cols, rows, n)
	for k := range p.n {
		op, release, err := p.acquire(k)
		if err != nil {
			return err
		}
		err = op.apply(dst[op.matrix().first:], a)
		release()
		if err != nil {
			return err
		}
	}
	return nil
}
