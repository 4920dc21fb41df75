package pack

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/pack/fisher"
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
