// Package product multiplies float32 matrices for packing, which runs models
// forward and backward over many tokens: products with a matrix, with its transpose,
// gradients, and causal attention of a head. The work is all done by
// kern.MatMulPanels; what is here divides it among workers and keeps operands in
// caches.
//
// Each element is summed in an order that depends on the number of terms alone,
// so results do not depend on the number of workers.
package product

import (
	"github.com/lamina-llm/lamina/internal/kern"
	"github.com/lamina-llm/lamina/model"
)

const (
	tall = 192 // vectors of a task: packed, their columns stay in the second-level cache
	low  = 24  // of which a task is worth it
	wide = 8   // panels of a task
	deep = 384 // columns that are packed together
	some = 64  // rows of a task that packs
)

// Runner runs products on a pool. One goroutine uses it at a time.
type Runner struct {
	pool    model.Pool
	vectors []kern.Vectors // of Multiply, per worker
	blocks  []kern.Panels  // of Gradient, per worker
	weights kern.Panels    // of Forward, Backward and Gradient
}

// New returns a runner on a pool.
func New(pool model.Pool) *Runner {
	return &Runner{pool: pool, vectors: make([]kern.Vectors, pool.Workers()), blocks: make([]kern.Panels, pool.Workers())}
}

// WorkerBytes returns the memory that each worker takes for products with n vectors.
func WorkerBytes(n int) int64 {
	return kern.VectorBytes(tall, deep, false) + kern.PanelBytes(kern.PanelRows, n, false)
}

// Pack puts w (rows x cols) into panels.
func (s *Runner) Pack(p *kern.Panels, w []float32, rows, cols int, coarse bool) {
	p.Reset(rows, cols, coarse)
	s.pool.For(p.Len(), func(_, i int) { p.Pack(i, w, cols) })
}

// Turn puts the transpose of w (rows x cols) into panels.
func (s *Runner) Turn(p *kern.Panels, w []float32, rows, cols int, coarse bool) {
	p.Reset(cols, rows, coarse)
	// By rows of w, so that those of wide matrices are read one after another.
	s.pool.For((rows+some-1)/some, func(_, b int) {
		for i := range p.Len() {
			p.PackTransposed(i, w, cols, b*some, min((b+1)*some, rows))
		}
	})
}

// Multiply computes dst[t] = p x[t] for n vectors that follow each other; neither
// dst nor x has gaps.
func (s *Runner) Multiply(dst []float32, p *kern.Panels, x []float32, n int) {
	rows, cols := p.Rows(), p.Cols()
	height, across := tall, (p.Len()+wide-1)/wide
	for height > low && (n+height-1)/height*across < 4*s.pool.Workers() {
		height /= 2
	}
	down := (n + height - 1) / height
	s.pool.For(down*across, func(worker, task int) {
		// Tasks that follow one another share their panels.
		i0, t := task/down*wide, task%down*height
		h, v := min(height, n-t), &s.vectors[worker]
		for c := 0; c == 0 || c < cols; c += deep {
			end := min(c+deep, cols)
			v.Reset(h, c, end, p.Coarse())
			v.Pack(0, h, x[t*cols+c:], cols)
			for i := i0; i < min(i0+wide, p.Len()); i++ {
				kern.MatMulPanels(dst[t*rows+i*kern.PanelRows:], rows, p, i, v, 0, h, c, end, c > 0)
			}
		}
	})
}

// Forward computes dst[t] = w x[t] for n vectors; w is rows x cols.
func (s *Runner) Forward(dst, w, x []float32, rows, cols, n int) {
	s.Pack(&s.weights, w, rows, cols, false)
	s.Multiply(dst, &s.weights, x, n)
}

// Backward computes dx[t] = w^T dy[t].
func (s *Runner) Backward(dx, w, dy []float32, rows, cols, n int) {
	s.Turn(&s.weights, w, rows, cols, false)
	s.Multiply(dx, &s.weights, dy, n)
}

// Gradient adds dy^T x to g (rows x len(list)), for some columns of the n vectors x.
func (s *Runner) Gradient(g, x, dy []float32, rows, cols, n int, list []int32) {
	width := len(list)
	s.weights.Reset(width, n, false)
	s.pool.For(s.weights.Len(), func(_, i int) { s.weights.PackListed(i, x, cols, list) })
	s.pool.For((rows+kern.PanelRows-1)/kern.PanelRows, func(worker, b int) {
		r0 := b * kern.PanelRows
		h, own := min(kern.PanelRows, rows-r0), &s.blocks[worker]
		own.Reset(h, n, false)
		own.PackTransposed(0, dy[r0:], rows, 0, n)
		v := own.Vectors()
		for i := range s.weights.Len() {
			kern.MatMulPanels(g[r0*width+i*kern.PanelRows:], width, &s.weights, i, &v, 0, h, 0, n, true)
		}
	})
}
