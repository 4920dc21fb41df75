package pack

import (
	"context"
	"fmt"
	"math"

	"golang.org/x/sync/errgroup"

	"github.com/lamina-llm/lamina/decode/rans"
)

// sample is a part of a matrix, divided by its row scales, in columns: what
// rates are estimated and tables are fitted on.
type sample struct {
	rows int
	v    []float32 // columns of rows values
}

const (
	sampleCols = 96
	sampleRows = 512
	scanBand   = 512 // rows read at a time
	rowFrac    = 3   // row scales in steps of 2^(1/8)
)

// scan reads every matrix once: row scales, energy and a sample.
func (p *packer) scan(ctx context.Context) error {
	var done int64
	total := p.matrixWeights()
	for _, m := range p.mats {
		if m.fold != 0 {
			m.gain = make([]float32, m.cols)
			if err := p.src.ReadRows(m.norm, 0, 1, m.gain); err != nil {
				return err
			}
			for j, g := range m.gain {
				m.gain[j] = float32(math.Copysign(math.Pow(math.Abs(float64(g)), m.fold), float64(g)))
			}
		}
		if err := p.scanMatrix(ctx, m); err != nil {
			return fmt.Errorf("pack: %s: %w", m.name, err)
		}
		done += m.weights()
		p.opt.Progress(Progress{"scan", m.name, done, total})
	}
	return nil
}

func (p *packer) scanMatrix(ctx context.Context, m *matrix) error {
	rms := make([]float64, m.rows)
	blocks := (m.rows + scanBand - 1) / scanBand
	// Sampled rows lie in up to sampleRows/64 runs of 64, so that columns of the
	// sample are runs of real columns.
	stride := max(1, blocks*scanBand/64/(sampleRows/64))
	cols := min(sampleCols, m.cols)
	rows := make([][]float32, blocks) // per block, sampled rows x cols
	ids := make([][]int, blocks)
	clipped := make([][len(tails)]float64, blocks)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(p.opt.Workers)
	for b := range blocks {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			r0, r1 := b*scanBand, min((b+1)*scanBand, m.rows)
			buf := make([]float32, (r1-r0)*m.cols)
			if err := p.read(m, r0, r1, buf); err != nil {
				return err
			}
			for r := range r1 - r0 {
				row := buf[r*m.cols : (r+1)*m.cols]
				sum := 0.0
				for _, v := range row {
					sum += float64(v) * float64(v)
				}
				rms[r0+r] = math.Sqrt(sum / float64(m.cols))
				if m.pictures != nil {
					countTails(&clipped[b], row, rms[r0+r])
				}
				if (r0+r)/64%stride == 0 {
					ids[b] = append(ids[b], r0+r)
					for j := range cols {
						rows[b] = append(rows[b], row[j*m.cols/cols])
					}
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, s := range rms {
		m.energy += s * s * float64(m.cols)
		if m.gram != nil {
			// A row's error counts for what it does to the output; a step that
			// only half follows the row's size was best.
			rms[i] = math.Sqrt(s)
		}
	}
	if f := m.pictures; f != nil && m.energy > 0 {
		for _, c := range clipped {
			for i := range c {
				f.clipped[i] += c[i] / m.energy
			}
		}
	}
	m.row = rowScales(rms)
	m.sample.rows = 0
	for b := range ids {
		m.sample.rows += len(ids[b])
	}
	m.sample.v = make([]float32, cols*m.sample.rows)
	at := 0
	for b := range ids {
		for k, r := range ids[b] {
			inv := 1 / m.row.Value(r)
			for j := range cols {
				m.sample.v[j*m.sample.rows+at] = rows[b][k*cols+j] * inv
			}
			at++
		}
	}
	return nil
}

// rowScales codes the root mean squares of the rows on a logarithmic grid.
// Rows of zeros take the smallest scale.
func rowScales(rms []float64) rans.Scales {
	lo, hi := math.Inf(1), 0.0
	for _, v := range rms {
		if v > 0 {
			lo, hi = min(lo, v), max(hi, v)
		}
	}
	if hi == 0 {
		return rans.Scales{Base: 1, Frac: rowFrac}
	}
	lo = max(lo, hi*math.Exp2(-255.0/(1<<rowFrac)))
	s := rans.Scales{Base: float32(lo), Frac: rowFrac, Code: make([]uint8, len(rms))}
	top := 0
	for i, v := range rms {
		c := 0
		if v > lo {
			c = int(math.Round(math.Log2(v/lo) * (1 << rowFrac)))
		}
		s.Code[i] = uint8(min(c, 255))
		top = max(top, min(c, 255))
	}
	for 1<<s.Bits <= top {
		s.Bits++
	}
	if s.Bits == 0 {
		s.Code = nil
	}
	return s
}
