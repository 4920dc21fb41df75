package kern

// Sums are the products of some rows of a weight panel with a batch of tokens,
// before they are added to the results in float32.
type Sums struct {
	D     []int32   // D[t*Rows+r], of token t and row r
	Rows  int       // of the panel
	N     int       // tokens
	Zero  int32     // offset with which the weights are stored
	Sum   []int32   // Sum[t*Ld]: sum of the activations of token t
	Scale []float32 // Scale[t*Ld]: scale of the activations of token t
	Ld    int       // distance between tokens in Sum and Scale
	First bool      // there are no results yet: they count as 0
	Row   []float32 // scale of each row, to multiply the results with at last; nil: not yet
}

// AddTo computes, for every token t and row r,
//
//	y[t*ldy+r] = (y[t*ldy+r] + float32(D - Zero*Sum) * Scale) * Row
//
// rounding the conversion, both products and the sum one after another. Exact.
// The difference must not overflow, y must not overlap an operand, and ldy >= Rows.
func (s *Sums) AddTo(y []float32, ldy int) {
	checkDims(s.Rows, s.Ld, s.N)
	if s.Rows == 0 || s.N == 0 {
		return
	}
	s.check(y, ldy)
	s.addTo(y, ldy, finishVectors(s, y, ldy))
}

// check panics if an operand is too short.
func (s *Sums) check(y []float32, ldy int) {
	if ldy < s.Rows {
		panic("kern: tokens overlap")
	}
	_, _ = s.D[:s.N*s.Rows], y[:(s.N-1)*ldy+s.Rows]
	_, _ = s.Sum[:(s.N-1)*s.Ld+1], s.Scale[:(s.N-1)*s.Ld+1]
	if s.Row != nil {
		_ = s.Row[:s.Rows]
	}
}

// MatMulTo multiplies a panel, Rows x cols, with the N vectors of x, as [MatMulU8S8]
// does, and adds the sums to y as AddTo does, in one go where the tier can. D is
// scratch. Exact.
func (s *Sums) MatMulTo(y []float32, ldy int, w []byte, x []int8, cols, ldx int) {
	checkPanel(s.Rows, cols, s.N)
	if s.N == 0 || s.Rows == 0 {
		return
	}
	if ldx < cols {
		panic("kern: tokens overlap")
	}
	s.check(y, ldy)
	w, x = w[:s.Rows*cols], x[:(s.N-1)*ldx+cols]
	if s.matMulTo(y, ldy, w, x, cols, ldx) {
		return
	}
	MatMulU8S8(s.D, w, x, s.Rows, cols, s.N, ldx)
	s.AddTo(y, ldy)
}

// from returns what concerns the tokens from t on.
func (s *Sums) from(t int) *Sums {
	rest := *s
	rest.D, rest.N, rest.Sum, rest.Scale = s.D[t*s.Rows:], s.N-t, s.Sum[t*s.Ld:], s.Scale[t*s.Ld:]
	return &rest
}

// addTo does the rows from first on.
func (s *Sums) addTo(y []float32, ldy, first int) {
	if first == s.Rows {
		return
	}
	for t := range s.N {
		out := y[t*ldy+first : t*ldy+s.Rows]
		if s.First {
			clear(out)
		}
		accumulateCentered(out, s.D[t*s.Rows+first:(t+1)*s.Rows], s.Zero*s.Sum[t*s.Ld], s.Scale[t*s.Ld])
		if s.Row != nil {
			mul(out, out, s.Row[first:s.Rows])
		}
	}
}

// SumPanels adds up what the panels of some rows give for one vector:
//
//	y[r] = row[r] * sum over p of float32(d[p*stride+r] - center[p]) * scale[p]
//
// in ascending order of p, rounding every operation as [Sums.AddTo] does panel
// by panel, with Zero*Sum as center. Exact in the same sense. len(y) is the number
// of rows, len(center) that of panels, at least 1; stride >= len(y).
func SumPanels(y []float32, d []int32, stride int, center []int32, scale, row []float32) {
	rows, panels := len(y), len(center)
	if panels == 0 || stride < rows {
		panic("kern: no panels, or they overlap")
	}
	if rows == 0 {
		return
	}
	d, scale, row = d[:(panels-1)*stride+rows], scale[:panels], row[:rows]
	done := sumPanelsVectors(y, d, stride, center, scale, row)
	if y = y[done:]; len(y) == 0 {
		return
	}
	clear(y)
	for p, c := range center {
		accumulateCentered(y, d[p*stride+done:][:len(y)], c, scale[p])
	}
	mul(y, y, row[done:])
}
