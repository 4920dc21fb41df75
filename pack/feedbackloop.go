package pack

import (
	"slices"

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/kern"
	"github.com/lamina-llm/lamina/internal/tile"
	"github.com/lamina-llm/lamina/pack/quant"
)

// feedbackLoop is the working memory of one band.
type feedbackLoop struct {
	trellis quant.Trellis
	target  []float32 // columns of a lane group
	rec, v  []float32
	level   []uint8
	delta   []int32
	pack    []float32
	product []float32
}

const feedbackTile = 16 // rows of one product

// run quantises rows x n values in coded order, in units of row scale and step,
// and leaves their errors in values. coders gives the coders of a lane group by
// class of row, column takes what was chosen; level and delta (what goes to the
// sparse list) are overwritten later. It returns the squared error in steps.
func (q *feedbackLoop) run(f *feedback, values []float32, class []uint8, coders func(group int) []*quant.Coder, column func(j int, level []uint8, delta []int32)) (loss float64) {
	return q.part(f, values, class, coders, 0, len(f.a.left), column)
}

// part is run for lane groups [first, end) alone. Values before them are errors
// that later columns are to make up for; columns behind them do so exactly.
func (q *feedbackLoop) part(f *feedback, values []float32, class []uint8, coders func(group int) []*quant.Coder, first, end int, column func(j int, level []uint8, delta []int32)) (loss float64) {
	n := f.a.n
	rows := len(values) / n
	q.target = slices.Grow(q.target[:0], rows*tile.Lanes)[:rows*tile.Lanes]
	q.rec, q.v = slices.Grow(q.rec[:0], rows)[:rows], slices.Grow(q.v[:0], rows)[:rows]
	q.level, q.delta = slices.Grow(q.level[:0], rows)[:rows], slices.Grow(q.delta[:0], rows)[:rows]
	q.pack = slices.Grow(q.pack[:0], feedbackTile*n)[:feedbackTile*n]
	q.product = slices.Grow(q.product[:0], feedbackTile*tile.Lanes)[:feedbackTile*tile.Lanes]
	for t := first; t < len(f.a.left); t++ {
		b, h := t*tile.Lanes, f.a.height(t)
		for r0 := 0; r0 < rows; r0 += feedbackTile {
			part := min(feedbackTile, rows-r0)
			for r := range part {
				copy(q.pack[r*b:(r+1)*b], values[(r0+r)*n:])
			}
			kern.MatMulF32(q.product, f.a.left[t], q.pack, h, b, part)
			for r := range part {
				for k := range h {
					q.target[k*rows+r0+r] = values[(r0+r)*n+b+k] + q.product[r*h+k]
				}
			}
		}
		c := coders(t)
		for k := range h {
			target := q.target[k*rows:][:rows]
			if t >= end {
				for r, x := range target {
					e := &values[r*n+b+k]
					*e -= x
					q.v[r] = *e
				}
				q.spread(f, t, k, rows)
				continue
			}
			inv := 1 / f.scale[b+k]
			for r, x := range target {
				q.v[r], q.delta[r] = c[class[r]].Split(x * inv)
			}
			if c[0].Mode == rans.DQ {
				q.trellis.Classes(c, class, q.v, q.level, q.rec)
			} else {
				for r, v := range q.v {
					q.level[r], q.rec[r] = c[class[r]].Scalar(v)
				}
			}
			sum := float32(0)
			for r, v := range q.v {
				d := v - q.rec[r]
				sum += d * d
				e := &values[r*n+b+k]
				*e -= (q.rec[r] + float32(q.delta[r])) * f.scale[b+k]
				q.v[r] = *e
			}
			loss += float64(sum)
			column(b+k, q.level, q.delta)
			q.spread(f, t, k, rows)
		}
	}
	return loss
}

// spread adds what the errors of column k of lane group t ask of the columns
// after it in the group.
func (q *feedbackLoop) spread(f *feedback, t, k, rows int) {
	h := f.a.height(t)
	for k2 := k + 1; k2 < h; k2++ {
		kern.Axpy(q.target[k2*rows:][:rows], f.a.diag[t][k2*h+k], q.v)
	}
}
