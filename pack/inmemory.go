package pack

import (
	"context"
	"math"

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/tile"
)

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
