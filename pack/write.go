package pack

import (
	"context"
	"errors"
	"fmt"

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/weights"
)

// writing is a file that is being written, matrix by matrix, and what each
// leaves for those after it.
type writing struct {
	p      *packer
	w      *weights.Writer
	report *Report
	target int64 // bytes of the whole file; 0 if there is none
	room   int64 // of these for the matrices

	next        int   // matrix
	done, spent int64 // weights and bytes of those before it

	step     float64            // for the matrices that are left
	group    float64            // step of matrices that are quantised together
	groupEnd int                // matrix after them
	ahead    map[*matrix]*coded // coded already
	drift    *drift             // nil unless asked for
	restored []journalEntry     // that an earlier run had finished
}

// units writes everything behind the sections, in visiting order.
func (f *writing) units(ctx context.Context) error {
	p := f.p
	if err := errors.Join(f.w.BeginUnit("embed"), f.matrix(ctx, "embedding")); err != nil {
		return err
	}
	for i := range p.cfg.Layers {
		if err := f.layer(ctx, i); err != nil {
			return err
		}
	}
	if err := f.w.BeginUnit("head"); err != nil {
		return err
	}
	if err := p.vector(f.w, "norm", "model.norm.weight", 1); err != nil || p.cfg.Tied {
		return err
	}
	return f.matrix(ctx, "head")
}

// layer writes a layer. Where matrices do not wait for one another, some layers'
// are quantised side by side first.
func (f *writing) layer(ctx context.Context, i int) error {
	p := f.p
	if err := f.w.BeginUnit(fmt.Sprintf("layers.%d", i)); err != nil {
		return err
	}
	if f.drift == nil && p.opt.Tune == nil && p.mats[f.next].feedback != nil && f.next >= max(f.groupEnd, len(f.restored)) {
		more := 4 * min(max(1, p.opt.Workers/4), p.cfg.Layers-i)
		f.group, f.groupEnd = f.step, f.next+more
		var err error
		if f.ahead, err = p.layerAhead(ctx, p.mats[f.next:f.groupEnd], f.group); err != nil {
			return err
		}
	}
	for k, norm := range [4]string{"attn_norm", "", "ffn_norm", ""} {
		if norm != "" {
			m := p.mats[f.next]
			if err := p.vector(f.w, fmt.Sprintf("layers.%d.%s", i, norm), m.norm, 1-m.fold); err != nil {
				return err
			}
		}
		if err := f.matrix(ctx, "linear"); err != nil {
			return fmt.Errorf("matrix %d of layer %d: %w", k, i, err)
		}
	}
	return nil
}

// matrix writes the next matrix, or takes it from the journal.
func (f *writing) matrix(ctx context.Context, role string) error {
	p, m := f.p, f.p.mats[f.next]
	if f.next < len(f.restored) {
		return f.restore(m, &f.restored[f.next])
	}
	var out tensorWriter = f.w
	var kept *keeper // in the journal
	if p.journal != nil {
		kept = p.journal.record(f.w)
		out = kept
	}
	t, err := f.code(ctx, out, m, role)
	if err != nil {
		return m.failed(err)
	}
	t.Output = m.output
	f.finished(m, t)
	// What sampling misjudged so far is made up for by the matrices left.
	if left := p.mats[f.next:]; len(left) > 0 && f.target > 0 && p.opt.Tune == nil {
		if s, err := p.solve(left, f.room-f.spent, f.step); err == nil {
			f.step = min(max(s, f.step*0.97), f.step*1.03)
		}
	}
	if kept != nil {
		if err := kept.finish(t, writeState{f.step, f.group, f.groupEnd}); err != nil {
			return fmt.Errorf("pack: resume: %w", err)
		}
	}
	return nil
}

// failed names m in an error of coding it, and says what to do if levels do not
// reach its weights at a step.
func (m *matrix) failed(err error) error {
	if errors.Is(err, rans.ErrEncode) {
		return fmt.Errorf("%w: %s has weights too far out for steps as fine: ask for fewer bits, a smaller file or more error (%w)", ErrTarget, m.name, err)
	}
	return fmt.Errorf("pack: %s: %w", m.name, err)
}

// restore takes m from the journal, and what it left for those after it.
func (f *writing) restore(m *matrix, e *journalEntry) error {
	j := f.p.journal
	if e.Info.Name != m.name {
		return fmt.Errorf("pack: resume: the journal has tensor %s, want %s; remove %s", e.Info.Name, m.name, j.dir)
	}
	if err := j.replay(f.w, e); err != nil {
		return fmt.Errorf("pack: resume: %s: %w", m.name, err)
	}
	f.step, f.group, f.groupEnd = e.State.Step, e.State.Group, e.State.End
	m.parted = nil
	f.report.Resumed++
	f.finished(m, &e.Report)
	return nil
}

// code quantises m, unless that is done, and appends it to out.
func (f *writing) code(ctx context.Context, out tensorWriter, m *matrix, role string) (*TensorReport, error) {
	p := f.p
	switch {
	case m.parted != nil:
		t, err := p.encodeParted(ctx, out, m, role, m.step(f.step))
		m.parted = nil // its factors are in memory
		return t, err
	case m.pictures != nil:
		return p.encodePictures(ctx, out, m, role, m.step(f.step))
	case m.feedback == nil:
		return p.encode(ctx, out, m, role, m.step(f.step))
	}
	c := f.ahead[m]
	delete(f.ahead, m)
	if c == nil {
		step := f.step
		if f.next < f.groupEnd {
			step = f.group
		}
		if f.drift != nil {
			if err := f.drift.correct(ctx, f.next, m); err != nil {
				return nil, fmt.Errorf("drift: %w", err)
			}
		}
		var err error
		if c, err = p.encodeFeedback(ctx, m, m.step(step)); err != nil {
			return nil, err
		}
	}
	if err := c.write(out, m, role); err != nil {
		return nil, err
	}
	if f.drift != nil {
		if err := f.drift.follow(f.next, m, c); err != nil {
			return nil, fmt.Errorf("drift: %w", err)
		}
	}
	return c.report, nil
}

// finished counts m, which t reports on.
func (f *writing) finished(m *matrix, t *TensorReport) {
	f.report.Tensors = append(f.report.Tensors, *t)
	f.spent += t.Bytes
	f.done += m.weights()
	f.next++
	f.p.opt.Progress(Progress{"encode", m.name, f.done, f.p.matrixWeights()})
}
