package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/lamina-llm/lamina/decode"
	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/loader"
	"github.com/lamina-llm/lamina/model/kv"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/runtime/arena"
	"github.com/lamina-llm/lamina/runtime/budget"
	"github.com/lamina-llm/lamina/runtime/plan"
)

// draft is a model of which everything is known and nothing is loaded.
type draft struct {
	cfg      llama.Config
	units    []unit
	layers   []norms
	norm     []float32
	unread   int64       // bytes that the process will take besides, but does not yet
	sizes    []plan.Unit // of units: matrices of layers, head, and what follows
	pieces   *pieces     // of matrices and head; nil of an estimate
	cuts     []plan.Unit // of pieces
	cutHead  int         // the first of those that are the head
	split    bool        // the plan's units are pieces
	work     decode.Size // for every batch
	size     decode.Size // for the chosen batch
	context  int
	parallel int
	batch    int
	format   kv.Format
	limit    int64
	embed    bool // an untied embedding is one of the plan's units
	fixed    []plan.Amount
	plan     plan.Plan

	second *draft        // of the model that drafts for this one
	file   *loader.Model // of such a model
}

// newDraft reads the headers of f and plans its memory.
func newDraft(ctx context.Context, f *loader.Model, o Options) (*draft, error) {
	raw, err := f.Section("config")
	if err != nil {
		return nil, err
	}
	d := &draft{}
	if d.cfg, err = llama.ParseConfig(raw); err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	if d.units, d.layers, d.norm, err = readUnits(ctx, f, d.cfg); err != nil {
		return nil, err
	}
	if d.limit = o.RAM; d.limit == 0 {
		d.limit = budget.DetectLimit().Bytes
	}
	d.measure(f)
	if o.Draft != "" {
		if d.second, err = newSecond(ctx, o.Draft, f, d.cfg); err != nil {
			return nil, err
		}
		d.second.grow(&d.work)
	}
	if err := d.choose(o); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

// close closes the file of the draft model, if there is one.
func (d *draft) close() error {
	if d.second == nil {
		return nil
	}
	return d.second.file.Close()
}

// measure sums up what the plan must know of the units of f.
func (d *draft) measure(f *loader.Model) {
	for i := range min(len(d.units), len(f.Units())) {
		d.sizes = append(d.sizes, plan.Unit{
			Name: f.Units()[i].Name, CodedBytes: f.Units()[i].Bytes, UnpackedBytes: d.units[i].unpackedBytes(),
		})
	}
	d.pieces = cut(f, d.units, d.sizes[:headUnit(d.cfg)+1])
	d.cuts, d.cutHead = d.pieces.sizes(d.sizes), d.pieces.first[headUnit(d.cfg)]
	d.grow(&d.work)
}

// grow raises s so that it serves d's operators.
func (d *draft) grow(s *decode.Size) {
	for i := range d.units {
		for k := range d.units[i].parts {
			s.Grow(d.units[i].parts[k].Matrix)
		}
		if f := d.units[i].factors; f != nil {
			s.GrowFactored(f)
		}
	}
}

// choose settles everything within the draft's limit. Whether it can or not, the
// plan names the smallest budget that works with everything at its least.
func (d *draft) choose(o Options) error { return d.chooseAbove(o, processBytes(o.Serve)+d.unread) }

// chooseAbove is choose in a process that takes base bytes already.
func (d *draft) chooseAbove(o Options, base int64) error {
	if o.KV == "f16" { // which q16 replaced
		o.KV = KVQ16
	}
	switch o.KV {
	case KVQ16, KVAuto, KVQ8, "":
	default:
		return fmt.Errorf("kv cache %q: want auto, q16 or q8", o.KV)
	}
	if o.Context > d.cfg.MaxContext {
		return fmt.Errorf("context of %d tokens: the model was trained for %d", o.Context, d.cfg.MaxContext)
	}
	least := *d
	small := least.least(o, base)
	if small != nil && !errors.Is(small, plan.ErrTooSmall) {
		return small
	}
	err := d.fitFormat(o, base)
	if err != nil && small == nil {
		err = d.least(o, base) // once more, so that the draft model follows
	}
	var e *plan.TooSmallError
	if errors.As(err, &e) {
		e.MinBudget = least.plan.MinBudget
	}
	d.plan.MinBudget = least.plan.MinBudget
	return err
}

// leastContext and leastBatch are the fewest tokens of a sequence and of a pass
// that are chosen without being asked for.
const (
	leastContext = 256
	leastBatch   = 32
)

// least settles for as little as o allows.
func (d *draft) least(o Options, base int64) error {
	d.context = cmp.Or(o.Context, min(leastContext, d.cfg.MaxContext))
	d.parallel, d.batch = cmp.Or(o.Parallel, 1), cmp.Or(o.BatchTokens, leastBatch)
	d.format = kv.Q8
	if o.KV == KVQ16 {
		d.format = kv.Q16
	}
	return d.make(o, base)
}

// fitFormat settles the format of the cache, then the rest.
func (d *draft) fitFormat(o Options, base int64) error {
	d.format = kv.Q16
	if o.KV == KVQ8 {
		d.format = kv.Q8
	}
	err := d.fit(o, base)
	if d.format == kv.Q8 || o.KV == KVQ16 {
		return err
	}
	full := o.Context
	if full == 0 {
		full = min(d.cfg.MaxContext, maxAutoContext)
	}
	if err == nil && d.plan.Regime != plan.C && d.context == full || err != nil && !errors.Is(err, plan.ErrTooSmall) {
		return err
	}
	small := *d
	small.format = kv.Q8
	if e := small.fit(o, base); e != nil {
		return e
	}
	*d = small
	return nil
}

// maxAutoContext is the longest context that is chosen without being asked for.
const maxAutoContext = 8192

// fit settles context, batch and placement: the longest context whose KV
// cache takes at most a third of the budget and does not push weights out of
// memory, or else the shortest useful one.
func (d *draft) fit(o Options, base int64) error {
	d.batch = o.BatchTokens
	if d.batch == 0 {
		for d.batch = 512; d.batch > leastBatch && d.activations(o.Threads) > d.limit/16; d.batch /= 2 {
		}
	}
	contexts, parallels := []int{o.Context}, []int{o.Parallel}
	if o.Context == 0 {
		contexts = nil
		for c := min(d.cfg.MaxContext, maxAutoContext); ; c /= 2 {
			contexts = append(contexts, c)
			if c <= 1024 {
				break
			}
		}
	}
	if o.Parallel == 0 {
		parallels = []int{4, 2, 1}
	}
	var err error
	for i, c := range contexts {
		for j, p := range parallels {
			d.context, d.parallel = c, p
			last := i == len(contexts)-1 && j == len(parallels)-1
			if d.kvBytes() > d.limit/3 && !last {
				continue
			}
			if err = d.make(o, base); err == nil && d.plan.Regime != plan.C {
				return nil
			}
		}
	}
	if err == nil { // streaming costs more than prompts in smaller pieces
		return d.shrinkBatch(o, base)
	}
	for o.Context == 0 && err != nil && d.context > leastContext && errors.Is(err, plan.ErrTooSmall) {
		d.context = max(d.context/2, leastContext)
		if o.BatchTokens == 0 {
			d.batch = min(d.batch, leastBatch)
		}
		err = d.make(o, base)
	}
	return err
}

// shrinkBatch gives a batch that was not asked for up to half of half and so on
// if that keeps all weights in memory.
func (d *draft) shrinkBatch(o Options, base int64) error {
	batch := d.batch
	for d.batch /= 2; o.BatchTokens == 0 && d.batch >= leastBatch; d.batch /= 2 {
		if err := d.make(o, base); err == nil && d.plan.Regime != plan.C {
			return nil
		}
	}
	d.batch = batch
	return d.make(o, base)
}

// make plans the memory for the chosen context and batch.
func (d *draft) make(o Options, base int64) error {
	d.fixed = []plan.Amount{
		{Purpose: budget.Binary, Bytes: base + o.mapped}, {Purpose: budget.GoHeap, Bytes: heapReserve(d.limit)},
		{Purpose: budget.KV, Bytes: arena.Footprint(d.kvBytes(), 0)},
		{Purpose: budget.Activations, Bytes: d.activations(o.Threads)},
	}
	if o.Serve {
		d.fixed = append(d.fixed, plan.Amount{Purpose: budget.HTTP, Bytes: httpReserve(d.limit)})
	}
	if s := d.second; s != nil {
		d.fixed = append(d.fixed, plan.Amount{Purpose: budget.KV, Bytes: arena.Footprint(s.kvBytes(), 0)},
			plan.Amount{Purpose: budget.Coded, Bytes: s.plan.Total})
	}
	in := plan.Input{Fixed: d.fixed, Budget: d.limit, Slack: rans.Slack, Page: int64(arena.PageSize())}
	whole := in
	in.Units = streamable(d.cuts, o)
	cut, cutErr := plan.Make(in)
	whole.Units = streamable(d.sizes[:headUnit(d.cfg)+1], o)
	p, err := plan.Make(whole)
	// Where everything stays, whole matrices are best.
	d.split = err != nil || p.Regime == plan.C
	if d.split {
		resident, unpacked := p.ResidentBudget, p.UnpackedBudget
		p, err = cut, cutErr
		if ahead, e := d.makeAhead(in); e == nil {
			p = ahead
		}
		p.ResidentBudget, p.UnpackedBudget = resident, unpacked
	}
	p.MinBudget = cut.MinBudget
	d.plan, d.embed = p, false
	if !d.cfg.Tied && !d.split {
		// A resident embedding is worth having only where nothing is streamed for it.
		e := embedUnit(d.cfg)
		whole.Units = append(whole.Units, plan.Unit{
			Name: d.sizes[e].Name, CodedBytes: d.sizes[e].CodedBytes, Streamable: false,
		})
		if with, e := plan.Make(whole); e == nil && with.Regime != plan.C {
			with.MinBudget = p.MinBudget
			d.plan, d.embed, err = with, true, nil
		}
	}
	d.restate(o)
	return err
}

// streamable returns units of which each may be streamed.
func streamable(units []plan.Unit, o Options) []plan.Unit {
	units = slices.Clone(units)
	for i := range units {
		units[i].Streamable = true
		if o.Coded {
			units[i].UnpackedBytes = 0
		}
	}
	return units
}

// makeAhead makes the plan of in, some units of which are streamed, with room to
// read ahead: enough to keep the disk busy while what stays is computed, though not
// much of the budget. If it can the head stays: more rows of logits than fit at a
// time go through it in turns.
func (d *draft) makeAhead(in plan.Input) (p plan.Plan, err error) {
	const least, most = 8 << 20, 32 << 20
	window := min(max(d.limit/24, least), d.limit/8, most)
	for _, room := range []struct {
		window int64
		slots  int
	}{{window, 4}, {window / 2, 4}, {0, 4}, {0, 3}} {
		in.Window, in.Slots = room.window, room.slots
		kept := in
		kept.Units = slices.Clone(in.Units)
		for i := range kept.Units[d.cutHead:] {
			kept.Units[d.cutHead+i].Streamable = false
		}
		if p, err = plan.Make(kept); err == nil {
			return p, nil
		}
		if p, err = plan.Make(in); err == nil {
			return p, nil
		}
	}
	return p, err
}

func (d *draft) geometry() kv.Geometry {
	return kv.Geometry{Layers: d.cfg.Layers, KVHeads: d.cfg.KVHeads, HeadDim: d.cfg.HeadDim, PageTokens: kv.DefaultPageTokens, Format: d.format}
}

func (d *draft) kvBytes() int64 {
	g := d.geometry()
	return int64(d.parallel) * int64(g.Pages(d.context)) * g.PageBytes()
}

func (d *draft) llamaOptions() llama.Options {
	return llama.Options{MaxBatchTokens: d.batch, MaxContext: max(d.context, 1), LogitRows: d.logitRows()}
}

// logitRows is how many rows of logits are computed at a time: what fits the
// memory that a layer needs anyway, since a large head is read, or decoded, once
// for all of them.
func (d *draft) logitRows() int {
	layer := d.batch * max(d.cfg.QKV()+d.cfg.Heads*d.cfg.HeadDim, 3*d.cfg.Intermediate)
	return min(max(8, layer/d.cfg.Vocab), 64, d.batch)
}

// activations is the work memory of the forward pass and the operators.
func (d *draft) activations(threads int) int64 {
	d.size = d.work
	d.size.Batch = d.batch
	c := d.context
	d.context = max(c, 1)
	n := arena.Footprint(llama.ScratchBytes(d.cfg, d.llamaOptions()), 0)
	d.context = c
	if s := d.second; s != nil {
		s.follow(d)
		n += arena.Footprint(llama.ScratchBytes(s.cfg, s.llamaOptions()), 0)
	}
	return n + d.size.Bytes(threads)
}
