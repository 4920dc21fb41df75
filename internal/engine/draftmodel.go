package engine

import (
	"bytes"
	"context"
	"fmt"
	"math"

	"github.com/lamina-llm/lamina/decode"
	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/loader"
	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/kv"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/model/sample"
	"github.com/lamina-llm/lamina/runtime/arena"
	"github.com/lamina-llm/lamina/runtime/plan"
	"github.com/lamina-llm/lamina/runtime/residency"
	"github.com/lamina-llm/lamina/runtime/sched"
)

// draftBatch is the most tokens of a prompt that a draft model reads at a time.
const draftBatch = 64

// newSecond reads the headers of the draft model at path for the model in f,
// and plans it: coded, all of it resident. The caller closes its file.
func newSecond(ctx context.Context, path string, f *loader.Model, c llama.Config) (*draft, error) {
	g, err := loader.Open(path, loader.Options{Layout: layout, DropCache: true})
	if err != nil {
		return nil, err
	}
	d := &draft{file: g}
	if err := d.readSecond(ctx, f, c); err != nil {
		g.Close()
		return nil, fmt.Errorf("draft model: %w", err)
	}
	return d, nil
}

func (d *draft) readSecond(ctx context.Context, f *loader.Model, c llama.Config) error {
	var tok [2][]byte
	for i, m := range []*loader.Model{f, d.file} {
		var err error
		if tok[i], err = m.Section("tokenizer"); err != nil {
			return err
		}
	}
	raw, err := d.file.Section("config")
	if err != nil {
		return err
	}
	if d.cfg, err = llama.ParseConfig(raw); err != nil {
		return fmt.Errorf("%s: %w", d.file.Name(), err)
	}
	if !bytes.Equal(tok[0], tok[1]) || d.cfg.Vocab != c.Vocab {
		return fmt.Errorf("%s: its tokenizer is not that of %s", d.file.Name(), f.Name())
	}
	if d.units, d.layers, d.norm, err = readUnits(ctx, d.file, d.cfg); err != nil {
		return err
	}
	in := plan.Input{Budget: math.MaxInt64 / 2, Slack: rans.Slack, Page: int64(arena.PageSize())}
	for i := range headUnit(d.cfg) + 1 {
		in.Units = append(in.Units, plan.Unit{Name: d.file.Units()[i].Name, CodedBytes: d.file.Units()[i].Bytes})
	}
	if d.embed = !d.cfg.Tied; d.embed {
		e := d.file.Units()[embedUnit(d.cfg)]
		in.Units = append(in.Units, plan.Unit{Name: e.Name, CodedBytes: e.Bytes})
	}
	d.plan, err = plan.Make(in)
	return err
}

// follow takes over what was chosen for the model that d drafts for.
func (d *draft) follow(of *draft) {
	d.context, d.parallel, d.format = min(of.context, d.cfg.MaxContext), of.parallel, of.format
	d.batch = min(of.batch, draftBatch)
}

// openSecond loads the draft model of d, which shares ledger, pool and
// workspace with m.
func (m *Model) openSecond(ctx context.Context, d *draft, o Options, pool *sched.Pool, ws *decode.Workspace) error {
	s := &Model{name: d.file.Name(), cfg: d.cfg, file: d.file, plan: d.plan, context: d.context, batch: d.batch, ledger: m.ledger}
	m.second = s
	m.onClose(func() error { return s.Close() })
	b := newBinder(d, d.file, ws, &s.meter)
	var err error
	s.store, err = residency.Open(ctx, residency.Options[*bound]{
		Plan: d.plan, Ledger: m.ledger, Source: d.file, Binder: b, Workers: o.Threads, HugePages: true, Logger: o.Logger,
	})
	if err != nil {
		return err
	}
	s.onClose(s.store.Close)
	w, err := s.weights(ctx, d, d.file, ws, o.Logger)
	if err != nil {
		return err
	}
	return s.start(d, w, pool)
}

// modelDrafter guesses with a second, cheaper model, and by looking up where
// that promises more. It draws with the request's own seed, so its guesses
// follow the request's sampling.
type modelDrafter struct {
	ctx     context.Context
	m       *Model
	lookup  drafter
	seq     *kv.Seq // holds the first tokens of certain, then ahead
	sampler *sample.Sampler
	certain []int32 // tokens that are certain, from the first on
	ahead   []int32 // guesses that are in seq behind all of certain
	latest  []int32 // guesses of the last proposal that were not yet judged
	right   float64 // of them, smoothed; with the weight all
	all     float64
	err     error // ends guessing
}

// newModelDrafter returns a drafter for one request. Where the draft model's
// cache has no room it looks up alone.
func newModelDrafter(ctx context.Context, m *Model, r model.Request) drafter {
	l := newLookup(r)
	seq, err := m.NewSeq(min(len(r.Prompt)+r.MaxTokens, m.context))
	if err != nil {
		return l
	}
	s, err := sample.New(r.Sampling, r.Prompt, m.cfg.Vocab)
	if err != nil {
		seq.Close()
		return l
	}
	return &modelDrafter{ctx: ctx, m: m, lookup: l, seq: seq, sampler: s, right: 2, all: 3}
}

// extend implements drafter. The prompt is read at once, but for its last token.
func (d *modelDrafter) extend(ids ...int32) {
	d.lookup.extend(ids...)
	prompt := d.certain == nil
	d.certain = append(d.certain, ids...)
	if prompt {
		d.err = d.read(d.certain[:len(d.certain)-1], nil)
		return
	}
	for _, id := range ids {
		d.sampler.Accept(id)
		if len(d.latest) > 0 {
			hit := d.latest[0] == id
			d.right, d.all = d.right*remember, d.all*remember+1
			if hit {
				d.right, d.latest = d.right+1, d.latest[1:]
			} else {
				d.latest = nil
			}
		}
	}
	// What is cached agrees with what is certain up to here.
	keep := d.seq.Len() - len(d.ahead)
	for _, id := range d.ahead {
		if keep == len(d.certain) || d.certain[keep] != id {
			break
		}
		keep++
	}
	if keep < d.seq.Len() {
		d.fail(d.seq.Truncate(keep))
	}
	d.ahead = d.ahead[:0]
}

func (d *modelDrafter) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

// read lets the draft model read the tokens of all that it has not yet, and
// hands the logits after the last to emit, if that is not nil.
func (d *modelDrafter) read(all []int32, emit func(logits []float32) error) error {
	for d.seq.Len() < len(all) {
		part := all[d.seq.Len():min(len(all), d.seq.Len()+d.m.batch)]
		s := llama.Seq{Tokens: part, KV: d.seq}
		if emit != nil && d.seq.Len()+len(part) == len(all) {
			s.Want = llama.Last
		}
		if d.seq.Len()+len(part) > d.seq.Cap() || len(all) > d.m.context {
			return model.ErrContextLength
		}
		err := d.m.Forward(d.ctx, []llama.Seq{s}, func(_, _ int, logits []float32) error { return emit(logits) })
		if err != nil {
			return err
		}
	}
	return nil
}

// chance implements drafter.
func (d *modelDrafter) chance() float64 {
	if d.err != nil {
		return d.lookup.chance()
	}
	return max(d.right/d.all, d.lookup.chance())
}

// propose implements drafter.
func (d *modelDrafter) propose(ctx context.Context, dst []int32, n int) []int32 {
	if d.err != nil || d.lookup.chance() > d.right/d.all {
		return d.lookup.propose(ctx, dst, n)
	}
	first := len(dst)
	all := d.certain
	for i := range n {
		var id int32
		err := d.read(all, func(logits []float32) (err error) {
			id, err = d.sampler.Guess(logits, i)
			return err
		})
		if err != nil {
			d.fail(err)
			break
		}
		if i > 0 {
			d.ahead = append(d.ahead, all[len(all)-1])
		}
		dst, all = append(dst, id), append(all, id)
	}
	d.latest = append(d.latest[:0], dst[first:]...)
	return dst
}

// close implements drafter.
func (d *modelDrafter) close() { d.seq.Close() }
