package kern

import "math"

// PanelRows is how many rows of a matrix stand side by side in [Panels].
const PanelRows = 64

// Panels is a matrix of rows x cols put in order for [MatMulPanels]: the rows of
// a panel stand side by side for every column, so that no sum is taken across
// lanes. Coarse ones hold numbers in bfloat16 where the processor multiplies such
// (otherwise float32): products are of numbers of 8 bits then, a relative error of 2^-8
// at most for each, and sums are of float32 still.
//
// The zero Panels is empty. Different panels may be packed by several goroutines.
// What is packed coarse on one tier is multiplied on that.
type Panels struct {
	rows, cols int
	coarse     bool
	steps      int       // elements of 32 bits along the columns
	block      int       // elements of a panel
	data       []float32 // panels, of pairs in bfloat16 if coarse
}

// Vectors are what [MatMulPanels] multiplies a matrix with: columns [c0, c1) of n
// vectors. The zero Vectors is empty. Different vectors may be packed by several
// goroutines.
type Vectors struct {
	n      int
	c0, c1 int
	coarse bool
	ld     int // elements between vectors
	step   int // elements between elements of a vector
	block  int // elements between every 64th vector
	data   []float32
}

// Reset makes room for a matrix of rows x cols that is yet to be packed; memory
// is kept for the next one.
func (p *Panels) Reset(rows, cols int, coarse bool) {
	checkDims(rows, cols, 0)
	p.rows, p.cols, p.coarse = rows, cols, coarse && hasCoarse()
	p.steps = elements(cols, p.coarse)
	p.block = panelBlock(p.steps)
	n := p.Len() * p.block
	if cap(p.data) < n {
		p.data = make([]float32, n)
	}
	p.data = p.data[:n]
}

// panelBlock returns the elements of a panel, whose steps are stored 16 at a time.
func panelBlock(steps int) int { return (steps + 15) &^ 15 * PanelRows }

// elements returns how many elements of 32 bits hold n numbers.
func elements(n int, coarse bool) int {
	if coarse {
		return (n + 1) / 2
	}
	return n
}

// PanelBytes returns the memory of Panels of rows x cols.
func PanelBytes(rows, cols int, coarse bool) int64 {
	return 4 * int64(panelBlock(elements(cols, coarse && hasCoarse()))) * int64((rows+PanelRows-1)/PanelRows)
}

// Len returns the number of panels.
func (p *Panels) Len() int { return (p.rows + PanelRows - 1) / PanelRows }

// Rows returns the number of rows.
func (p *Panels) Rows() int { return p.rows }

// Cols returns the number of columns.
func (p *Panels) Cols() int { return p.cols }

// Coarse reports whether numbers are in bfloat16.
func (p *Panels) Coarse() bool { return p.coarse }

// panel returns panel i and how many rows it has.
func (p *Panels) panel(i int) (panel []float32, height int) {
	return p.data[i*p.block : (i+1)*p.block], min(PanelRows, p.rows-i*PanelRows)
}

// Pack packs panel i of w, whose rows are ld numbers apart.
func (p *Panels) Pack(i int, w []float32, ld int) {
	panel, h := p.panel(i)
	if p.cols == 0 {
		return
	}
	w = w[i*PanelRows*ld : (i*PanelRows+h-1)*ld+p.cols]
	r := packRows(panel, w, h, p.cols, ld, p.coarse)
	if p.coarse {
		for ; r < h; r++ { // of a group of 16 that is not whole
			for s := range p.steps {
				panel[s*PanelRows+r] = pair(w[r*ld:r*ld+p.cols], s)
			}
		}
		return
	}
	packPlain(panel, w, r, h, p.cols, ld)
}

// pair returns element s of a coarse row.
func pair(row []float32, s int) float32 {
	bits := (math.Float32bits(row[2*s]) + 0x8000) >> 16
	if 2*s+1 < len(row) {
		bits |= (math.Float32bits(row[2*s+1]) + 0x8000) &^ 0xffff
	}
	return math.Float32frombits(bits)
}

// packPlain packs rows [r, h) of a panel in float32: four at a time and few columns,
// so that few cache lines are written to at once.
func packPlain(panel, w []float32, r, h, cols, ld int) {
	const some = 16
	for c0 := 0; c0 < cols; c0 += some {
		m, r := min(some, cols-c0), r
		part := panel[c0*PanelRows:]
		for ; r+4 <= h; r += 4 {
			at := r*ld + c0
			r0, r1, r2, r3 := w[at:][:m], w[at+ld:][:m], w[at+2*ld:][:m], w[at+3*ld:][:m]
			for c, v := range r0 {
				to := part[c*PanelRows+r:][:4]
				to[0], to[1], to[2], to[3] = v, r1[c], r2[c], r3[c]
			}
		}
		for ; r < h; r++ {
			for c, v := range w[r*ld+c0:][:m] {
				part[c*PanelRows+r] = v
			}
		}
	}
}

// PackTransposed packs columns [c0, c1) of panel i of the transpose of w, which
// has cols rows of at least rows numbers, ld numbers apart. c0 is even, and c1 is
// even or the number of columns. Different columns may be packed by several goroutines.
func (p *Panels) PackTransposed(i int, w []float32, ld, c0, c1 int) {
	if c0&1 != 0 || c1&1 != 0 && c1 != p.cols {
		panic("kern: half an element")
	}
	if c0 >= c1 {
		return
	}
	panel, h := p.panel(i)
	r0 := i * PanelRows
	w = w[c0*ld+r0 : (c1-1)*ld+r0+h]
	panel = panel[elements(c0, p.coarse)*PanelRows:]
	if p.coarse {
		joinRows(panel, w, c1-c0, ld, h)
		return
	}
	for c := range c1 - c0 {
		copy(panel[c*PanelRows:][:h], w[c*ld:])
	}
}

// PackListed is PackTransposed of a whole panel where row r of the matrix, which is
// not coarse, is column list[r] of w instead of column r.
func (p *Panels) PackListed(i int, w []float32, ld int, list []int32) {
	if p.coarse {
		panic("kern: listed columns are packed in float32")
	}
	panel, h := p.panel(i)
	list = list[i*PanelRows:][:h]
	for c := range p.cols {
		row, from := panel[c*PanelRows:][:h], w[c*ld:(c+1)*ld]
		for r, j := range list {
			row[r] = from[j]
		}
	}
}

// Vectors returns the rows of p, which are not to be packed anew in the meantime.
func (p *Panels) Vectors() Vectors {
	return Vectors{n: p.rows, c1: p.cols, coarse: p.coarse, ld: 1, step: PanelRows, block: p.block, data: p.data}
}

// Reset makes room for columns [c0, c1) of n vectors that are yet to be packed;
// memory is kept for the next ones. c0 is even.
func (v *Vectors) Reset(n, c0, c1 int, coarse bool) {
	checkDims(n, c0, c1-c0)
	if c0&1 != 0 {
		panic("kern: half an element")
	}
	v.n, v.c0, v.c1, v.coarse = n, c0, c1, coarse && hasCoarse()
	v.ld, v.step = elements(c1-c0, v.coarse)+vectorGap, 1
	v.block = PanelRows * v.ld
	if size := n * v.ld; cap(v.data) < size {
		v.data = make([]float32, size)
	}
	v.data = v.data[:n*v.ld]
}

// vectorGap is what lies between packed vectors, so that they do not all want the
// same places of a cache.
const vectorGap = 16

// VectorBytes returns the memory of Vectors of n times cols numbers.
func VectorBytes(n, cols int, coarse bool) int64 {
	return 4 * int64(n) * int64(elements(cols, coarse && hasCoarse())+vectorGap)
}

// Pack packs vectors [t0, t1), which are ld numbers apart: x begins with the first
// packed column of vector 0.
func (v *Vectors) Pack(t0, t1 int, x []float32, ld int) {
	width := v.c1 - v.c0
	for t := t0; t < t1; t++ {
		dst, row := v.data[t*v.ld:][:elements(width, v.coarse)], x[t*ld:][:width]
		if v.coarse {
			roundRow(dst, row)
		} else {
			copy(dst, row)
		}
	}
}

// from returns what begins with element e of vector t.
func (v *Vectors) from(t, e int) []float32 {
	return v.data[t/PanelRows*v.block+t%PanelRows*v.ld+(e-elements(v.c0, v.coarse))*v.step:]
}

// panelSteps is how many elements of a panel stay in the first-level cache while
// all vectors pass over them, and how many products are summed before they are added
// to a result. Elements of vectors that are panels themselves are in every fourth set
// of that cache alone.
const panelSteps = 96

// MatMulPanels multiplies panel i of p with vectors [t0, t1) of v, as far as
// columns [c0, c1) go:
//
//	dst[t*ldd+r] = p[64i+r][c0:c1] . v[t0+t][c0:c1]
//
// or adds that with add. Both are coarse or neither is; c0 is even, and c1 is even
// or the number of columns. On a tier each element is summed in an order that
// depends on the columns alone: chains of products, 96 of them or 96 pairs, with fused
// additions but for the generic tier, then their sums in order. dst overlaps nothing
// else.
func MatMulPanels(dst []float32, ldd int, p *Panels, i int, v *Vectors, t0, t1, c0, c1 int, add bool) {
	if p.coarse != v.coarse || t0 < 0 || t1 > v.n || c0 < v.c0 || c1 > min(v.c1, p.cols) || c0&1 != 0 || c1&1 != 0 && c1 != p.cols {
		panic("kern: operands do not fit")
	}
	if t0 >= t1 {
		return
	}
	panel, h := p.panel(i)
	if ldd < h && t1-t0 > 1 {
		panic("kern: rows overlap")
	}
	dst = dst[:(t1-t0-1)*ldd+h]
	if c0 >= c1 {
		for t := range t1 - t0 {
			if !add {
				clear(dst[t*ldd : t*ldd+h])
			}
		}
		return
	}
	e0, e1 := c0, c1
	if p.coarse {
		e0, e1 = c0/2, (c1+1)/2
	}
	for e := e0; e < e1; e += panelSteps {
		steps := min(panelSteps, e1-e)
		matMulPanel(dst, ldd, panel[e*PanelRows:(e+steps)*PanelRows], v, t0, t1, e, h, add)
		add = true
	}
}

// matMulPanelGeneric multiplies the first rows of some steps of a panel, from e on.
func matMulPanelGeneric(dst []float32, ldd int, panel []float32, v *Vectors, t0, t1, e, rows int, add bool) {
	for t := t0; t < t1; t++ {
		x := v.from(t, e)
		var sum [PanelRows]float32
		for s := range len(panel) / PanelRows {
			w, f := (*[PanelRows]float32)(panel[s*PanelRows:]), x[s*v.step]
			for r := range sum {
				sum[r] += f * w[r]
			}
		}
		store(dst[(t-t0)*ldd:][:rows], sum[:], add)
	}
}

// store copies or adds what src has for dst.
func store(dst, src []float32, add bool) {
	if add {
		Add(dst, src[:len(dst)])
	} else {
		copy(dst, src)
	}
}
