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
// What is packed on one tier is multiplied on that.
type Panels struct {
	rows, cols int
	coarse     bool
	steps      int       // elements of 32 bits along the columns
	block      int       // elements of a panel
	data       []float32 // panels, of pairs in bfloat16 if coarse; the matrix itself where nothing multiplies panels
}

// Vectors are what [MatMulPanels] multiplies a matrix with: n vectors of cols
// numbers. The zero Vectors is empty. Different vectors may be packed by several
// goroutines.
type Vectors struct {
	n, cols int
	coarse  bool
	ld      int // elements between vectors
	step    int // elements between elements of a vector
	block   int // elements between every 64th vector
	data    []float32
}

// Reset makes room for a matrix of rows x cols that is yet to be packed; memory
// is kept for the next one.
func (p *Panels) Reset(rows, cols int, coarse bool) {
	checkDims(rows, cols, 0)
	p.rows, p.cols, p.coarse = rows, cols, coarse && hasCoarse()
	n := rows * cols
	if hasPanels() {
		p.steps = elements(cols, p.coarse)
		p.block = (p.steps + 15) &^ 15 * PanelRows
		n = p.Len() * p.block
	}
	if cap(p.data) < n {
		p.data = make([]float32, n)
	}
	p.data = p.data[:n]
}

// elements returns how many elements of 32 bits hold n numbers.
func elements(n int, coarse bool) int {
	if coarse {
		return (n + 1) / 2
	}
	return n
}

// PanelBytes returns the memory of Panels of rows x cols.
func PanelBytes(rows, cols int, coarse bool) int64 {
	if !hasPanels() {
		return 4 * int64(rows) * int64(cols)
	}
	steps := (elements(cols, coarse && hasCoarse()) + 15) &^ 15
	return 4 * int64(steps) * int64((rows+PanelRows-1)/PanelRows*PanelRows)
}

// Len returns the number of panels.
func (p *Panels) Len() int { return (p.rows + PanelRows - 1) / PanelRows }

// Pack packs panel i of w, whose rows are ld numbers apart.
func (p *Panels) Pack(i int, w []float32, ld int) {
	r0 := i * PanelRows
	h := min(PanelRows, p.rows-r0)
	if h <= 0 || p.cols == 0 {
		return
	}
	w = w[r0*ld : (r0+h-1)*ld+p.cols]
	if !hasPanels() {
		for r := range h {
			copy(p.data[(r0+r)*p.cols:][:p.cols], w[r*ld:])
		}
		return
	}
	panel := p.data[i*p.block : (i+1)*p.block]
	r := packRows(panel, w, h, p.cols, ld, p.coarse)
	for ; r < h; r++ { // of a group of 16 that is not whole
		row := w[r*ld : r*ld+p.cols]
		for s := range p.steps {
			panel[s*PanelRows+r] = element(row, s, p.coarse)
		}
	}
}

// element returns element s of a row.
func element(row []float32, s int, coarse bool) float32 {
	if !coarse {
		return row[s]
	}
	bits := (math.Float32bits(row[2*s]) + 0x8000) >> 16
	if 2*s+1 < len(row) {
		bits |= (math.Float32bits(row[2*s+1]) + 0x8000) &^ 0xffff
	}
	return math.Float32frombits(bits)
}

// PackTransposed packs columns [c0, c1) of panel i of the transpose of w, which
// has cols rows of at least rows numbers, ld numbers apart. c0 is even, and c1 is
// even or the number of columns. Different columns may be packed by several goroutines.
func (p *Panels) PackTransposed(i int, w []float32, ld, c0, c1 int) {
	if c0&1 != 0 || c1&1 != 0 && c1 != p.cols {
		panic("kern: half an element")
	}
	r0 := i * PanelRows
	h := min(PanelRows, p.rows-r0)
	if h <= 0 || c0 >= c1 {
		return
	}
	w = w[c0*ld+r0 : (c1-1)*ld+r0+h]
	if !hasPanels() {
		for c := range c1 - c0 {
			for r, v := range w[c*ld : c*ld+h] {
				p.data[(r0+r)*p.cols+c0+c] = v
			}
		}
		return
	}
	panel := p.data[i*p.block+elements(c0, p.coarse)*PanelRows : (i+1)*p.block]
	if p.coarse {
		joinRows(panel, w, c1-c0, ld, h)
		return
	}
	for c := range c1 - c0 {
		copy(panel[c*PanelRows:][:h], w[c*ld:])
	}
}

// Vectors returns the rows of p, which are not to be packed anew in the meantime.
func (p *Panels) Vectors() Vectors {
	v := Vectors{n: p.rows, cols: p.cols, coarse: p.coarse, data: p.data}
	v.ld, v.step, v.block = p.cols, 1, PanelRows*p.cols
	if hasPanels() {
		v.ld, v.step, v.block = 1, PanelRows, p.block
	}
	return v
}

// Reset makes room for n vectors of cols numbers that are yet to be packed;
// memory is kept for the next ones.
func (v *Vectors) Reset(n, cols int, coarse bool) {
	checkDims(n, cols, 0)
	v.n, v.cols, v.coarse = n, cols, coarse && hasCoarse()
	v.ld, v.step = elements(cols, v.coarse), 1
	v.block = PanelRows * v.ld
	if size := n * v.ld; cap(v.data) < size {
		v.data = make([]float32, size)
	}
	v.data = v.data[:n*v.ld]
}

// Pack packs vectors [t0, t1) of x, which are ld numbers apart.
func (v *Vectors) Pack(t0, t1 int, x []float32, ld int) {
	for t := t0; t < t1; t++ {
		dst, row := v.data[t*v.ld:(t+1)*v.ld], x[t*ld:t*ld+v.cols]
		if v.coarse {
			roundRow(dst, row)
		} else {
			copy(dst, row)
		}
	}
}

// MatMulPanels multiplies panel i of p with vectors [t0, t1) of v, as far as
// columns [c0, c1) go:
//
//	dst[t*ldd+r] = p[64i+r][c0:c1] . v[t0+t][c0:c1]
//
// or adds that with add. Both are coarse or neither
// is; c0 is even, and c1 is even or the number of columns. On a tier each element is summed
// in an order that depends on the columns alone. On amd64 with AVX-512 that
// is a chain of fused additions, so its error has the bound of [Dot] for any order.
// Otherwise sums are those of [MatMulF32].
func MatMulPanels(dst []float32, ldd int, p *Panels, i int, v *Vectors, t0, t1, c0, c1 int, add bool) {
	if p.cols != v.cols || p.coarse != v.coarse || c0&1 != 0 || c1&1 != 0 && c1 != p.cols {
		panic("kern: operands do not fit")
	}
	r0 := i * PanelRows
	h := min(PanelRows, p.rows-r0)
	if t0 >= t1 || h <= 0 {
		return
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
	if hasPanels() {
		e0, e1 := c0, c1
		if p.coarse {
			e0, e1 = c0/2, (c1+1)/2
		}
		matMulPanel(dst, ldd, p.data[i*p.block:(i+1)*p.block], v, t0, t1, e0, e1, h, add)
		return
	}
	plainPanel(dst, ldd, p, r0, h, v, t0, t1, c0, c1, add)
}

// plainPanel is MatMulPanels where the matrix is not in panels.
func plainPanel(dst []float32, ldd int, p *Panels, r0, h int, v *Vectors, t0, t1, c0, c1 int, add bool) {
	const some = 32 // vectors
	var part [PanelRows * some]float32
	for t := t0; t < t1; t += some {
		n := min(some, t1-t)
		if w, x := p.data[r0*p.cols:], v.data[t*v.ld:]; c1-c0 == p.cols {
			matMulF32(part[:n*h], w[:h*p.cols], x[:n*p.cols], h, p.cols, n)
		} else {
			for k := range n {
				for r := range h {
					part[k*h+r] = Dot(w[r*p.cols+c0:r*p.cols+c1], x[k*p.cols+c0:])
				}
			}
		}
		for k := range n {
			row := dst[(t-t0+k)*ldd:][:h]
			if add {
				Add(row, part[k*h:])
			} else {
				copy(row, part[k*h:])
			}
		}
	}
}
