package pack

import (
	"math"
	"slices"

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/tile"
	"github.com/lamina-llm/lamina/pack/quant"
)

// Tuning chooses the levels of all matrices in phases, and learning changes what
// later ones take. After each phase the column scales of those that are left
// follow the bits that the phases before took.

const (
	outlierBits = 24 // that a level beyond the alphabet takes, about
	streamBits  = 1  // by which a stream is longer than its symbols' information, besides its state
)

// maxSteer bounds one correction of column scales, in octaves.
const maxSteer = 0.25

// foresee sets what the phases should take, from the sample.
func (s *staged) foresee(mode rans.Mode) {
	f, fit := s.m.feedback, s.fit
	for k := range f.perm {
		s.exact = append(s.exact, math.Log2(float64(f.scale[k])))
	}
	s.expect = make([]float64, tunePhases)
	values, class := f.scaled(&fit.plan, 1)
	perClass, phase, tables := 1+int(mode), 0, fit.tables
	var loop feedbackLoop
	loop.run(f, values, class, fit.groupCoders, func(j int, level []uint8, delta []int32) {
		for _, end := s.columns(phase); j >= end; _, end = s.columns(phase) {
			phase++
		}
		first := int(fit.plan.group[j/tile.Lanes])
		add := func(i, q int) {
			t := &tables[(first+int(class[i]))*perClass+q]
			s.expect[phase] += float64(fit.planes) + 8 - math.Log2(max(float64(t.Freq[level[i]>>fit.planes]), 1.0/256))
		}
		for _, d := range delta {
			if d != 0 {
				s.expect[phase] += outlierBits
			}
		}
		if mode == rans.DQ {
			quant.Walk(level, add)
			return
		}
		for i := range level {
			add(i, 0)
		}
	})
	for phase := range s.expect {
		s.expect[phase] *= float64(s.m.rows) / float64(max(len(f.ids), 1))
	}
}

// steer changes the column scales of what is left after a phase so that all
// matrices together come to target bytes.
func (p *packer) steer(all []*staged, phase int, target int64) error {
	bits, left := 0.0, 0.0
	for _, s := range all {
		m := s.m
		_, took, err := p.refit(s)
		if err != nil {
			return err
		}
		for _, b := range s.bands {
			for _, o := range b.outliers {
				took += outlierBits * float64(len(o))
			}
		}
		past, rest := 0.0, 0.0
		for i, e := range s.expect {
			if i <= phase {
				past += e
			} else {
				rest += e
			}
		}
		if past > 0 {
			rest *= took / past
		}
		_, end := s.columns(phase)
		left += float64(m.rows) * float64(m.cols-end)
		bits += took + rest + float64(m.weights())*(m.feedback.side(p.opt.Mode, &s.fit.plan)+m.states()*(1+streamBits/16.5))
	}
	if left == 0 {
		return nil
	}
	by := min(max((bits-8*float64(target))/left, -maxSteer), maxSteer)
	for _, s := range all {
		s.rescale(phase, by)
	}
	return nil
}

// rescale multiplies the scales of the columns after a phase by 2^by on the
// average: codes are coarse, so a small change moves a part of them.
func (s *staged) rescale(phase int, by float64) {
	f := s.m.feedback
	_, end := s.columns(phase)
	if end == s.m.cols || f.col.Code == nil {
		return
	}
	f.col.Code = slices.Clone(f.col.Code)
	base, top := math.Log2(float64(f.col.Base)), 0
	for k := end; k < s.m.cols; k++ {
		s.exact[k] += by
		code := min(max(math.Floor((s.exact[k]-base)*(1<<colFrac)+uniform(uint64(k))), 0), colRange)
		f.col.Code[f.perm[k]] = uint8(code)
		f.scale[k] = f.col.Value(f.perm[k])
	}
	for _, code := range f.col.Code {
		top = max(top, int(code))
	}
	f.col.Bits = 0
	for 1<<f.col.Bits <= top {
		f.col.Bits++
	}
	for i := phase + 1; i < tunePhases; i++ {
		first, end := s.columns(i)
		s.expect[i] -= by * float64(s.m.rows) * float64(end-first)
	}
}
