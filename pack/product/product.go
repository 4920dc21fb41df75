// Package product multiplies float32 matrices for packing: for training, which
// needs a matrix, its transpose and gradients, and for writing text with many
// sequences side by side. A product runs block by block: one operand is packed
// into panels of kern.OuterCols columns, the other is read where it is.
//
// Each element is summed in an order that depends on the number of terms alone,
// so results do not depend on the number of workers.
package product

import (
	"github.com/lamina-llm/lamina/internal/kern"
	"github.com/lamina-llm/lamina/model"
)

const (
	terms    = 256 // of a block: a panel stays in the first-level cache
	rowsMost = 192 // of a task
	colsMost = 512 // of a task: its panels stay in the second-level cache
)

// Operand is a packed matrix of k rows and n columns. The zero value is empty.
type Operand struct {
	data []float32 // Panel by panel, k rows of kern.OuterCols each
	k, n int
}

// Panels returns the number of panels of n columns.
func Panels(n int) int { return (n + kern.OuterCols - 1) / kern.OuterCols }

// packedSize returns the elements of an Operand.
func packedSize(k, n int) int { return Panels(n) * kern.OuterCols * k }

// Rows returns the number of rows.
func (b *Operand) Rows() int { return b.k }

// Cols returns the number of columns.
func (b *Operand) Cols() int { return b.n }

// rows returns operand rows [from, to) of panel q.
func (b *Operand) rows(q, from, to int) []float32 {
	return b.data[(q*b.k+from)*kern.OuterCols : (q*b.k+to)*kern.OuterCols]
}

// Set makes b a packed w, of k rows that are ld apart.
func (b *Operand) Set(w []float32, ld, k, n int) {
	b.Resize(k, n)
	for q := range Panels(n) {
		b.Panel(q, w, ld)
	}
}

// Resize makes b a matrix of k rows and n columns that are yet to be packed.
func (b *Operand) Resize(k, n int) {
	b.k, b.n = k, n
	if size := packedSize(k, n); cap(b.data) < size {
		b.data = make([]float32, size)
	} else {
		b.data = b.data[:size]
	}
}

// Panel packs panel q of w.
func (b *Operand) Panel(q int, w []float32, ld int) {
	const cols = kern.OuterCols
	dst, width := b.rows(q, 0, b.k), min(cols, b.n-q*cols)
	for p := range b.k {
		row := dst[p*cols : (p+1)*cols]
		clear(row[copy(row[:width], w[p*ld+q*cols:]):])
	}
}

// TurnedPanel packs panel q of the transpose of w, of n rows that are ld apart.
func (b *Operand) TurnedPanel(q int, w []float32, ld int) {
	const cols, step = kern.OuterCols, 16
	dst, width := b.rows(q, 0, b.k), min(cols, b.n-q*cols)
	for p0 := 0; p0 < b.k; p0 += step {
		h := min(step, b.k-p0)
		part := dst[p0*cols : (p0+h)*cols]
		if width < cols {
			clear(part)
		}
		// Four rows at a time, so that few cache lines are written to at once.
		j := 0
		for ; j+4 <= width; j += 4 {
			at := (q*cols+j)*ld + p0
			r0, r1, r2, r3 := w[at:][:h], w[at+ld:][:h], w[at+2*ld:][:h], w[at+3*ld:][:h]
			for p, v := range r0 {
				to := part[p*cols+j:][:4]
				to[0], to[1], to[2], to[3] = v, r1[p], r2[p], r3[p]
			}
		}
		for ; j < width; j++ {
			for p, v := range w[(q*cols+j)*ld+p0:][:h] {
				part[p*cols+j] = v
			}
		}
	}
}

// SetTurned makes b the packed transpose of w, of n rows that are ld apart.
func (b *Operand) SetTurned(w []float32, ld, k, n int) {
	b.Resize(k, n)
	for q := range Panels(n) {
		b.TurnedPanel(q, w, ld)
	}
}

// ListedPanel packs panel q of some columns of w.
func (b *Operand) ListedPanel(q int, w []float32, ld int, list []int32) {
	const cols = kern.OuterCols
	dst := b.rows(q, 0, b.k)
	list = list[q*cols : min((q+1)*cols, b.n)]
	for p := range b.k {
		row, from := dst[p*cols:(p+1)*cols], w[p*ld:(p+1)*ld]
		for j, c := range list {
			row[j] = from[c]
		}
		clear(row[len(list):])
	}
}

// BlockElements is the size of a Block.
const BlockElements = (terms+gap)*kern.OuterRows + kern.OuterRows*kern.OuterCols

// gap is what lies between copied rows, so that they do not all want the same
// places of a cache.
const gap = 16

// Block is the working memory of one task. The zero value is ready; one goroutine
// uses it at a time.
type Block struct {
	a   [(terms + gap) * kern.OuterRows]float32
	out [kern.OuterRows * kern.OuterCols]float32
}

// Strip computes up to kern.OuterRows rows of a product, in panels [q0, q1):
// dst[i*ldd+j] = a[i*sa+p*ka] b[p][j] summed over from <= p < to, or adds that.
func (s *Block) Strip(dst []float32, ldd, rows int, a []float32, sa, ka int, b *Operand, from, to, q0, q1 int, add bool) {
	if from == to && !add {
		for i := range rows {
			clear(dst[i*ldd+q0*kern.OuterCols : i*ldd+min(q1*kern.OuterCols, b.n)])
		}
		return
	}
	for p0 := from; p0 < to; p0 += terms {
		p1 := min(p0+terms, to)
		x, sx, kx := s.copyRows(a, sa, ka, rows, p0, p1)
		for q := q0; q < q1; q++ {
			at, width := q*kern.OuterCols, min(kern.OuterCols, b.n-q*kern.OuterCols)
			if rows == kern.OuterRows && width == kern.OuterCols {
				kern.OuterF32(dst[at:], ldd, x, sx, kx, b.rows(q, p0, p1), p1-p0, add)
				continue
			}
			kern.OuterF32(s.out[:], kern.OuterCols, x, sx, kx, b.rows(q, p0, p1), p1-p0, false)
			for i := range rows {
				to, part := dst[i*ldd+at:][:width], s.out[i*kern.OuterCols:]
				if add {
					kern.Add(to, part[:width])
				} else {
					copy(to, part[:width])
				}
			}
		}
		add = true
	}
}

// copyRows copies terms [p0, p1) of some rows, followed by rows of zeros, to where
// they are close together: rows that are far apart fight for places of the cache,
// columns even take a cache line for every term.
func (s *Block) copyRows(a []float32, sa, ka, rows, p0, p1 int) (x []float32, sx, kx int) {
	if ka == 1 {
		for i := range rows {
			copy(s.a[i*(terms+gap):], a[i*sa+p0:i*sa+p1])
		}
		clear(s.a[rows*(terms+gap):])
		return s.a[:], terms + gap, 1
	}
	for p := range p1 - p0 {
		row, src := s.a[p*kern.OuterRows:][:kern.OuterRows], a[(p0+p)*ka:]
		if rows == kern.OuterRows && sa == 1 {
			*(*[kern.OuterRows]float32)(row) = [kern.OuterRows]float32(src)
			continue
		}
		for i := range rows {
			row[i] = src[i*sa]
		}
		clear(row[rows:])
	}
	return s.a[:], 1, kern.OuterRows
}

// Runner runs products on a pool. One goroutine uses it at a time.
type Runner struct {
	pool    model.Pool
	blocks  []Block // per worker
	weights Operand // of Forward, Backward and Gradient
}

// New returns a runner on a pool.
func New(pool model.Pool) *Runner {
	return &Runner{pool: pool, blocks: make([]Block, pool.Workers())}
}

// Multiply computes dst = a b, or adds it, where a has m rows: element (i, p) is
// a[i*sa+p*ka].
func (s *Runner) Multiply(dst []float32, ldd, m int, a []float32, sa, ka int, b *Operand, add bool) {
	height := rowsMost
	wide := (b.n + colsMost - 1) / colsMost
	for height > kern.OuterRows && (m+height-1)/height*wide < 4*s.pool.Workers() {
		height = (height/2 + kern.OuterRows - 1) / kern.OuterRows * kern.OuterRows
	}
	tall := (m + height - 1) / height
	s.pool.For(tall*wide, func(worker, task int) {
		// Tasks that follow one another share their panels.
		r0, q0 := task%tall*height, task/tall*(colsMost/kern.OuterCols)
		r1, q1 := min(r0+height, m), min(q0+colsMost/kern.OuterCols, Panels(b.n))
		w := &s.blocks[worker]
		for p0 := 0; p0 < b.k; p0 += terms {
			p1 := min(p0+terms, b.k)
			for r := r0; r < r1; r += kern.OuterRows {
				w.Strip(dst[r*ldd:], ldd, min(kern.OuterRows, r1-r), a[r*sa:], sa, ka, b, p0, p1, q0, q1, add || p0 > 0)
			}
		}
	})
}

// Forward computes dst[t] = w x[t] for n vectors; w is rows x cols.
func (s *Runner) Forward(dst, w, x []float32, rows, cols, n int) {
	s.weights.Resize(cols, rows)
	s.pool.For(Panels(rows), func(_, q int) { s.weights.TurnedPanel(q, w, cols) })
	s.Multiply(dst, rows, n, x, cols, 1, &s.weights, false)
}

// Backward computes dx[t] = w^T dy[t].
func (s *Runner) Backward(dx, w, dy []float32, rows, cols, n int) {
	s.weights.Resize(rows, cols)
	s.pool.For(Panels(cols), func(_, q int) { s.weights.Panel(q, w, cols) })
	s.Multiply(dx, cols, n, dy, rows, 1, &s.weights, false)
}

// Gradient adds dy^T x to g (rows x len(list)), for some columns of the n vectors x.
func (s *Runner) Gradient(g, x, dy []float32, rows, cols, n int, list []int32) {
	s.weights.Resize(n, len(list))
	s.pool.For(Panels(len(list)), func(_, q int) { s.weights.ListedPanel(q, x, cols, list) })
	s.Multiply(g, len(list), rows, dy, 1, rows, &s.weights, true)
}
