package pack

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/tile"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/pack/fisher"
	"github.com/lamina-llm/lamina/pack/quant"
	"github.com/lamina-llm/lamina/pack/tune"
)

// Tuning trains what is not coded yet towards the predictions of the source:
// a part of the columns of every matrix is coded, the others learn to make up
// for its errors, and so on until all is coded. Layer norms learn to the end.
// Error feedback makes outputs of one matrix exact; this looks at the model.
type Tuning struct {
	Tokens int     // to learn from, over all phases; at least minTuning
	Text   []int32 // is repeated as often as it takes; nil is the calibration text
	Memory int64   // bytes that it may take; 0 is 4 GiB
}

// What tuning does was chosen with a model of the packer on 22 M weights at 2 and 3 bits
// (docs/EXPERIMENTS.md).
const (
	tuneWindow = 256 // tokens that see one another
	tuneBatch  = 8   // windows of a step
	tunePhases = 6
	tuneRate   = 0.0068 // of the weights' root mean square, at 0 bits per weight; half for each bit
	tuneWarm   = 8      // steps of a phase until the rate is reached: moments are yet to settle
	tuneEnd    = 0.02   // of the rate, at the end of a phase
	tuneNorms  = 3      // times the rate, once norms learn alone
	minTuning  = tuneWindow * tuneBatch
)

func (t *Tuning) validate(o *Options) error {
	switch {
	case o.Calibrate == nil || !o.dense() || o.Codec == VVC || o.Error != 0 || o.transforms() || o.Drift:
		return errors.New("pack: tuning is for dense matrices of the native codec, calibrated to a size, without a transform or correction of drift")
	case t.Tokens < minTuning:
		return fmt.Errorf("pack: tuning on %d tokens, want at least %d", t.Tokens, minTuning)
	case t.Text != nil && len(t.Text) < tuneWindow:
		return fmt.Errorf("pack: tuning text of %d tokens, want at least %d", len(t.Text), tuneWindow)
	}
	return nil
}

// TuningBytes returns the memory that tuning takes, about, beside the source.
func TuningBytes(c llama.Config, workers int) int64 {
	return tune.Bytes(c, min(tuneWindow, c.MaxContext), tuneBatch, max(workers, 1))
}

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

// tuned codes all matrices at a common step, which should give so many bytes.
func (p *packer) tuned(ctx context.Context, step float64, target int64) (map[*matrix]*coded, error) {
	c, o := p.cfg, p.opt.Tune
	limit := o.Memory
	if limit == 0 {
		limit = 4 << 30
	}
	need := TuningBytes(c, p.opt.Workers)
	if need > limit {
		return nil, fmt.Errorf("pack: tuning this model takes %d MiB, %d MiB are there; pack without it", need>>20, limit>>20)
	}
	if p.opt.Notice != nil {
		p.opt.Notice(fmt.Sprintf("tuning takes about %d MiB of memory", need>>20))
	}
	if o.Text == nil && p.opt.Calibrate.Tokens == nil {
		if err := p.writeText(ctx); err != nil {
			return nil, err
		}
	}
	source, err := newFloats(p.src, llama.FloatBytes(c, false) <= maxHeld, workers(p.opt.Workers))
	if err != nil {
		return nil, fmt.Errorf("pack: tune: %w", err)
	}
	all, err := p.stages(ctx, step)
	if err != nil {
		return nil, err
	}
	student, err := p.student()
	if err != nil {
		return nil, err
	}
	span := min(tuneWindow, c.MaxContext)
	trainer, err := tune.New(c, student, source, workers(p.opt.Workers), span, tuneBatch)
	if err != nil {
		return nil, fmt.Errorf("pack: tune: %w", err)
	}
	l := &lesson{
		all: all, trainer: trainer, student: student, target: target,
		text: &windows{text: o.Text, span: span, random: rand.New(rand.NewPCG(1, 2))},
		rate: p.weightSize() * tuneRate * math.Exp2(-float64(target)*8/float64(p.weights)),
		each: span * tuneBatch,
	}
	if l.text.text == nil {
		l.text.text = p.opt.Calibrate.Tokens
	}
	l.total = (o.Tokens + l.each - 1) / l.each
	for phase := p.resumeLesson(l); phase < tunePhases; phase++ {
		if err := p.learn(ctx, l, phase); err != nil {
			return nil, err
		}
		if p.journal != nil {
			if err := p.journal.saveTuning(tuningStateOf(student, all, phase+1, l.done)); err != nil {
				return nil, fmt.Errorf("pack: resume: %w", err)
			}
		}
	}
	p.norms = map[string][]float32{"model.norm.weight": student.Norm}
	for i, l := range student.Layers {
		p.norms[fmt.Sprintf("model.layers.%d.input_layernorm.weight", i)] = l.AttnNorm
		p.norms[fmt.Sprintf("model.layers.%d.post_attention_layernorm.weight", i)] = l.FFNNorm
	}
	out := map[*matrix]*coded{}
	for _, s := range all {
		if out[s.m], err = p.finishStaged(s); err != nil {
			return nil, fmt.Errorf("pack: %s: %w", s.m.name, err)
		}
	}
	return out, nil
}

// lesson is a run of tuning.
type lesson struct {
	all     []*staged
	trainer *tune.Trainer
	student *tune.Student
	text    *windows
	target  int64   // bytes of the matrices
	rate    float64 // of learning, at the start of a phase
	each    int     // tokens of a step
	total   int     // steps
	done    int
}

// resumeLesson goes on from what the journal has and returns the phase to begin with.
func (p *packer) resumeLesson(l *lesson) int {
	if p.journal == nil {
		return 0
	}
	t := p.journal.loadTuning()
	if t == nil || !t.restore(l.student, l.all) {
		return 0
	}
	for range t.Steps {
		l.text.next(tuneBatch)
	}
	l.done = t.Steps
	for phase := range t.Phases {
		l.freeze(phase)
	}
	return t.Phases
}

// freeze ends the training of the columns of a phase.
func (l *lesson) freeze(phase int) {
	for i, s := range l.all {
		first, end := s.columns(phase)
		l.trainer.Freeze(i, s.m.feedback.perm[first:end])
	}
}

// learn codes the columns of a phase and trains what is left. Nothing but weights and
// levels outlives a phase, so that a run can go on from there.
func (p *packer) learn(ctx context.Context, l *lesson, phase int) error {
	if err := p.codePhase(ctx, l.all, phase); err != nil {
		return err
	}
	if err := p.steer(l.all, phase, l.target); err != nil {
		return err
	}
	l.freeze(phase)
	l.trainer.Forget()
	// The last phase has norms alone to train, and takes half as long.
	steps, norms := (2*l.total*(phase+1)+tunePhases)/(2*tunePhases-1)-l.done, 1.0
	if phase == tunePhases-1 {
		steps, norms = l.total-l.done, tuneNorms
	}
	for k := range steps {
		r := l.rate * (1 - (1-tuneEnd)*float64(k)/float64(steps)) * min(1, float64(k+1)/tuneWarm)
		kl, err := l.trainer.Step(ctx, l.text.next(tuneBatch), float32(r), float32(r*norms))
		if errors.Is(err, tune.ErrDiverged) {
			return fmt.Errorf("pack: %w; pack without tuning", err)
		}
		if err != nil {
			return fmt.Errorf("pack: tune: %w", err)
		}
		l.done++
		p.opt.Progress(Progress{"tune", fmt.Sprintf("KL %.4f", kl), int64(l.done) * int64(l.each), int64(l.total) * int64(l.each)})
	}
	return nil
}

// weightSize returns the root mean square of the weights of the layers.
func (p *packer) weightSize() float64 {
	sum, n := 0.0, int64(0)
	for _, m := range p.mats[1 : 1+fisher.Kinds*p.cfg.Layers] {
		sum += m.energy
		n += m.weights()
	}
	return math.Sqrt(sum / float64(n))
}

// student reads the source into a student whose matrices become the values of
// p's.
func (p *packer) student() (*tune.Student, error) {
	s := tune.NewStudent(p.cfg)
	values := [][]float32{s.Embed}
	for i, l := range s.Layers {
		values = append(values, l.QKV, l.Out, l.GateUp, l.Down)
		prefix := fmt.Sprintf("model.layers.%d.", i)
		if err := errors.Join(p.src.ReadRows(prefix+"input_layernorm.weight", 0, 1, l.AttnNorm),
			p.src.ReadRows(prefix+"post_attention_layernorm.weight", 0, 1, l.FFNNorm)); err != nil {
			return nil, err
		}
	}
	if !p.cfg.Tied {
		values = append(values, s.Output)
	}
	for i, m := range p.mats {
		if err := p.read(m, 0, m.rows, values[i]); err != nil {
			return nil, fmt.Errorf("pack: %s: %w", m.name, err)
		}
		m.values = values[i]
	}
	return s, p.src.ReadRows("model.norm.weight", 0, 1, s.Norm)
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

// windows cuts a text, each time it is read anew elsewhere, and mixes the pieces.
type windows struct {
	text   []int32
	span   int
	random *rand.Rand
	order  []int // where those that are left begin
}

// next returns n windows. A text shorter than a window is one.
func (w *windows) next(n int) (out [][]int32) {
	for range n {
		if len(w.order) == 0 {
			at := 0
			if len(w.text) > 2*w.span {
				at = w.random.IntN(w.span)
			}
			for ; at+min(w.span, len(w.text)) <= len(w.text); at += w.span {
				w.order = append(w.order, at)
			}
			w.random.Shuffle(len(w.order), func(i, j int) { w.order[i], w.order[j] = w.order[j], w.order[i] })
		}
		at := w.order[len(w.order)-1]
		w.order = w.order[:len(w.order)-1]
		out = append(out, w.text[at:min(at+w.span, len(w.text))])
	}
	return out
}
