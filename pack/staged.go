package pack

import (
	"context"
	"fmt"
	"math"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/tile"
	"github.com/lamina-llm/lamina/pack/quant"
)

// staged is a matrix that is coded in phases.
type staged struct {
	m      *matrix
	fit    *coderFit
	bands  []*bandLevels
	counts [][]counts // per band, per class

	expect []float64 // per phase, bits of its levels
	exact  []float64 // per coded column, log2 of its scale

	given   []float32 // the matrix's values before tuning; nil is those of the source
	decoded []float32 // what the levels stand for, once all are chosen
}

// stages fits a coder to every matrix.
func (p *packer) stages(ctx context.Context, step float64) ([]*staged, error) {
	all := make([]*staged, len(p.mats))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(p.opt.Workers)
	for i, m := range p.mats {
		g.Go(func() error {
			release, err := m.feedback.a.hold(ctx)
			if err != nil {
				return err
			}
			defer release()
			s := &staged{m: m, given: m.values}
			if s.fit, err = m.feedback.fitAll(p.opt.kind(), m.step(step)); err != nil {
				return fmt.Errorf("pack: %s: %w", m.name, err)
			}
			l := tile.Layout{Rows: m.rows, Cols: m.cols}
			for r0 := 0; r0 < m.rows; r0 += m.band {
				s.bands = append(s.bands, newBandLevels(l, min(m.band, m.rows-r0)))
				s.counts = append(s.counts, make([]counts, s.fit.plan.n))
			}
			s.foresee(p.opt.Mode)
			all[i] = s
			return nil
		})
	}
	return all, g.Wait()
}

// groups returns the lane groups that a phase codes.
func (s *staged) groups(phase int) (first, end int) {
	n := len(s.fit.plan.group)
	return (phase*n + tunePhases/2) / tunePhases, ((phase+1)*n + tunePhases/2) / tunePhases
}

// columns returns these as columns in coded order.
func (s *staged) columns(phase int) (first, end int) {
	first, end = s.groups(phase)
	return min(first*tile.Lanes, s.m.cols), min(end*tile.Lanes, s.m.cols)
}

// codePhase chooses the levels of the columns of a phase. What is coded takes
// the value that it will decode to, the columns after it make up for the errors.
func (p *packer) codePhase(ctx context.Context, all []*staged, phase int) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(p.opt.Workers)
	for _, s := range all {
		g.Go(func() error {
			release, err := s.m.feedback.a.hold(ctx)
			if err != nil {
				return err
			}
			defer release()
			for band := range s.bands {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				if err := p.codeBand(s, band, phase); err != nil {
					return fmt.Errorf("pack: %s: %w", s.m.name, err)
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func (p *packer) codeBand(s *staged, band, phase int) error {
	m, f, plan := s.m, s.m.feedback, &s.fit.plan
	r0, r1 := band*m.band, min((band+1)*m.band, m.rows)
	first, end := s.groups(phase)
	b0, _ := s.columns(phase)
	values, err := p.ordered(m, &plan.scale, r0, r1)
	if err != nil {
		return err
	}
	for r := range r1 - r0 {
		clear(values[r*m.cols : r*m.cols+b0]) // errors of earlier phases are made up for
	}
	class, seen := plan.class[r0:r1], s.counts[band]
	q := feedbackLoops.Get().(*feedbackLoop)
	defer feedbackLoops.Put(q)
	q.part(f, values, class, s.fit.groupCoders, first, end, func(j int, level []uint8, delta []int32) {
		s.bands[band].take(j, level, delta)
		tallyLevels(p.opt.Mode, s.fit.planes, level, class, seen[plan.group[j/tile.Lanes]:])
	})
	for r := range r1 - r0 {
		scale := plan.scale.Value(r0 + r)
		row := m.values[(r0+r)*m.cols:][:m.cols]
		for k := b0; k < m.cols; k++ {
			row[f.perm[k]] -= values[r*m.cols+k] * scale
		}
	}
	return nil
}

// tallyLevels counts the symbols of a column; seen is by class of row.
func tallyLevels(mode rans.Mode, planes int, level, class []uint8, seen []counts) {
	if mode == rans.DQ {
		quant.Walk(level, func(i, q int) { seen[class[i]][q][level[i]>>planes]++ })
		return
	}
	for i, u := range level {
		seen[class[i]][0][u>>planes]++
	}
}

// refit makes the tables of s for the levels that were chosen, and returns the
// bits that these take.
func (p *packer) refit(s *staged) (tables []rans.Table, bits float64, err error) {
	perClass := 1 + int(p.opt.Mode)
	tables = slices.Clone(s.fit.tables)
	for class := range s.fit.plan.n {
		for q := range perClass {
			var count [rans.Alphabet]int64
			total := int64(0)
			for _, band := range s.counts {
				for u, n := range band[class][q] {
					count[u] += n
					total += n
				}
			}
			if total == 0 {
				continue
			}
			t, err := p.opt.kind().FitSymbols(count, 0x7<<(rans.Alphabet/2-1))
			if err != nil {
				return nil, 0, err
			}
			tables[class*perClass+q] = t
			bits += codeLength(&count, &t) + float64(total)*float64(s.fit.planes)
		}
	}
	return tables, bits, nil
}

// codeLength returns the bits of counted symbols under a table.
func codeLength(count *[rans.Alphabet]int64, t *rans.Table) (bits float64) {
	for u, n := range count {
		if n > 0 {
			bits += float64(n) * (8 - math.Log2(max(float64(t.Freq[u]), 1.0/256)))
		}
	}
	return bits
}

// finishStaged codes the levels of s, with tables that are made for them.
func (p *packer) finishStaged(s *staged) (*coded, error) {
	m := s.m
	var err error
	if s.fit.tables, _, err = p.refit(s); err != nil {
		return nil, err
	}
	c, enc, err := p.begin(m, s.fit)
	if err != nil {
		return nil, err
	}
	blocks := enc.Matrix().Blocks()
	for band, levels := range s.bands {
		if err := levels.encode(enc, band, c.chunks[band*blocks:(band+1)*blocks]); err != nil {
			return nil, err
		}
	}
	s.decoded, m.values = m.values, s.given
	loss, buf := 0.0, make([]float32, scanBand*m.cols)
	for r0 := 0; r0 < m.rows; r0 += scanBand {
		r1 := min(r0+scanBand, m.rows)
		part := buf[:(r1-r0)*m.cols]
		if err := p.read(m, r0, r1, part); err != nil {
			return nil, err
		}
		for i, v := range part {
			d := float64(v - s.decoded[r0*m.cols+i])
			loss += d * d
		}
	}
	c.finish(m, s.fit.planes, loss)
	return c, nil
}
