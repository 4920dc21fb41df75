package pack

import (
	"context"
	"fmt"
	"math"

	"golang.org/x/sync/errgroup"

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/pack/quant"
)

// Range of quantiser steps, relative to a row's root mean square.
const (
	minStep = 1.0 / 128
	maxStep = 4.0
)

// coderFit is the coder of one matrix at one step.
type coderFit struct {
	coder  *quant.Coder
	tables []rans.Table
	planes int
	bits   float64 // per weight, estimated on the sample, outliers included
	cost   float64 // squared error plus lambda * bits, per weight, in steps

	loss float64 // squared error per weight, in steps; without error feedback relative to the weights' energy

	errors []float32 // of the rows of the sample, in coded order and row scales; with feedback.keep

	// With error feedback there are classes of rows and lane groups, and a coder
	// for each.
	coders []*quant.Coder
	plan   rowPlan
}

// groupCoders returns the coders of a lane group by class of row.
func (f *coderFit) groupCoders(group int) []*quant.Coder { return f.coders[f.plan.group[group]:] }

// fit finds planes and tables for m at a step, by turns of quantising every
// thin-th column of the sample and refitting the tables.
func (m *matrix) fit(kind quant.Kind, step float64, thin, turns int) (*coderFit, error) {
	if m.feedback != nil {
		release, err := m.feedback.a.hold(context.Background())
		if err != nil {
			return nil, err
		}
		defer release()
		return m.feedback.fit(kind, step, thin, turns)
	}
	var best *coderFit
	for planes := range kind.MaxPlanes() + 1 {
		f, reach, err := m.fitPlanes(kind, planes, step, thin, turns)
		if err != nil {
			return nil, err
		}
		if best == nil || f.cost < best.cost {
			best = f
		}
		if reach {
			break // one plane more would only cost
		}
	}
	return best, nil
}

// fitPlanes is fit for a number of raw planes; reach reports whether the
// alphabet covers practically all weights.
func (m *matrix) fitPlanes(kind quant.Kind, planes int, step float64, thin, turns int) (f *coderFit, reach bool, err error) {
	mode, inv := kind.Mode, float32(1/step)
	rows := m.sample.rows
	cols := len(m.sample.v) / rows
	v, rec, index := make([]float32, rows), make([]float32, rows), make([]uint8, rows)
	f = &coderFit{coder: quant.Uniform(mode, planes), planes: planes}
	f.coder.Lambda = quant.Lambda(mode)
	var trellis quant.Trellis
	for range turns {
		var count [2][rans.Alphabet]int64
		outliers, total, cost := 0, 0, 0.0
		loss, energy := 0.0, 0.0
		for j := 0; j < cols; j += thin {
			for i, x := range m.sample.v[j*rows : (j+1)*rows] {
				var delta int32
				if v[i], delta = f.coder.Split(x * inv); delta != 0 {
					outliers++
				}
			}
			cost += tally(f.coder, &trellis, v, index, rec, &count)
			total += rows
			for i, x := range v {
				d, w := float64(x-rec[i]), float64(m.sample.v[j*rows+i])
				loss, energy = loss+d*d, energy+w*w
			}
		}
		f.tables, f.bits = nil, float64(outliers)*24
		for q := range 1 + int(mode) {
			t, err := kind.FitTable(count[q])
			if err != nil {
				return nil, false, err
			}
			f.tables = append(f.tables, t)
			for s, n := range count[q] {
				if n > 0 && t.Freq[s] > 0 {
					f.bits += float64(n) * (8 - math.Log2(float64(t.Freq[s])))
				} else if n > 0 {
					f.bits += float64(n) * 24 // dropped symbols become outliers
				}
			}
		}
		f.bits = f.bits/float64(total) + float64(planes)
		f.cost = (cost + float64(quant.Lambda(mode))*24*float64(outliers)) / float64(total)
		f.loss = loss / max(energy, 1e-300)
		f.coder = quant.NewCoder(mode, planes, quant.Lambda(mode), f.tables)
		reach = outliers*20000 <= total
	}
	return f, reach, nil
}

// tally quantises one column of the sample, counts its symbols and returns the
// cost: squared error plus lambda * bits. rec becomes what the levels stand for.
func tally(c *quant.Coder, t *quant.Trellis, v []float32, index []uint8, rec []float32, count *[2][rans.Alphabet]int64) (cost float64) {
	if c.Mode == rans.DQ {
		cost = float64(t.Column(c, v, index, rec))
		quant.Walk(index, func(i, q int) { count[q][index[i]>>c.Planes]++ })
		return cost
	}
	for i, x := range v {
		index[i], rec[i] = c.Scalar(x)
		count[0][index[i]>>c.Planes]++
		cost += float64((x-rec[i])*(x-rec[i])) + float64(c.Lambda*c.Bits(index[i]))
	}
	return cost
}

// curveSteps is the grid of the rate curve: points per octave of the step.
const curveSteps = 2

// rateThin is how thinly the sample is used for a point of the rate curve.
const rateThin = 3

// rate estimates the bits per weight of m's levels at a step, by interpolation
// in the logarithm of the step.
func (m *matrix) rate(kind quant.Kind, step float64) (float64, error) {
	x := math.Log2(step) * curveSteps
	lo := int(math.Floor(x))
	var at [2]float64
	for i := range at {
		b, ok := m.curve[lo+i]
		if !ok {
			f, err := m.fit(kind, math.Exp2(float64(lo+i)/curveSteps), rateThin, 2)
			if err != nil {
				return 0, err
			}
			b = f.bits
			m.curve[lo+i] = b
			switch {
			case m.losses == nil:
			case m.exact:
				m.losses[lo+i] = m.feedback.outputs(m.gram, f.errors, &f.plan.scale, rateThin)
			case m.feedback != nil:
				m.losses[lo+i] = m.spread(f)
			default:
				step := math.Exp2(float64(lo+i) / curveSteps)
				m.losses[lo+i] = f.loss * step * step * m.energy
			}
		}
		at[i] = b
	}
	t := x - float64(lo)
	return at[0]*(1-t) + at[1]*t, nil
}

// lanes returns the columns of m, padding included.
func (m *matrix) lanes() int { return (m.cols + rans.Lanes - 1) / rans.Lanes * rans.Lanes }

// states returns the bits per weight that initial states and lengths of streams take.
func (m *matrix) states() float64 {
	return float64(m.lanes()) * 16.5 / float64(min(m.band, m.rows)*m.depth*m.cols)
}

// fixedSide returns the side information that no choice of tables changes, in bits
// per weight: that of chunks, the header, and a span's entry in the directory each.
func (m *matrix) fixedSide() float64 {
	return m.states() + float64(24+8*(m.chunks()+1))*8/float64(m.weights())
}

// bits estimates the coded bits per weight of m at a step, side information of
// chunks and rows included.
func (m *matrix) bits(kind quant.Kind, step float64) (float64, error) {
	if m.parted != nil {
		return m.parted.bits(kind, step)
	}
	if m.pictures != nil {
		return m.pictureBits(step)
	}
	rate, err := m.rate(kind, step)
	if err != nil {
		return 0, err
	}
	rows := float64(m.row.Bits) / float64(m.cols)
	tables := 60 * 8 / float64(m.weights())
	if m.feedback != nil {
		tables, rows = 0, 0 // in the fit
	}
	pad := float64(m.lanes()) / float64(m.cols)
	return rate*(1+(pad-1)*0.5) + m.states() + rows + tables, nil
}

// solve finds the common step at which the given matrices take target bytes,
// by bisection from hint.
func (p *packer) solve(mats []*matrix, target int64, hint float64) (float64, error) {
	size := func(step float64) (int64, error) {
		bytes := make([]float64, len(mats))
		var g errgroup.Group
		g.SetLimit(p.opt.Workers)
		for i, m := range mats {
			g.Go(func() error {
				b, err := m.bits(p.opt.kind(), m.step(step))
				bytes[i] = b * float64(m.weights()) / 8
				return err
			})
		}
		err := g.Wait()
		total := 0.0
		for _, b := range bytes {
			total += b
		}
		return int64(total), err
	}
	lo, hi := hint, hint
	for ; ; lo /= 1.5 {
		if lo < minStep {
			return 0, p.unreachable(target, "more than the finest step gives")
		}
		n, err := size(lo)
		if err != nil {
			return 0, err
		}
		if n >= target {
			break
		}
	}
	for ; ; hi *= 1.5 {
		if hi > maxStep {
			return 0, p.unreachable(target, "less than the coarsest step gives")
		}
		n, err := size(hi)
		if err != nil {
			return 0, err
		}
		if n <= target {
			break
		}
	}
	for range 40 {
		mid := math.Sqrt(lo * hi)
		n, err := size(mid)
		if err != nil {
			return 0, err
		}
		if n > target {
			lo = mid
		} else {
			hi = mid
		}
	}
	return math.Sqrt(lo * hi), nil
}

func (p *packer) unreachable(target int64, why string) error {
	n := p.matrixWeights()
	if target <= 0 {
		return fmt.Errorf("%w: tokenizer, norms and directory alone take %d bytes more", ErrTarget, -target)
	}
	return fmt.Errorf("%w: %.2f bits each for %d weights, after tokenizer, norms and directory, are %s",
		ErrTarget, float64(target)*8/float64(n), n, why)
}
