package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sort"

	"github.com/lamina-llm/lamina/decode"
	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/source"
	"github.com/lamina-llm/lamina/loader"
	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/chat"
	"github.com/lamina-llm/lamina/model/kv"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/model/token"
	"github.com/lamina-llm/lamina/runtime/arena"
	"github.com/lamina-llm/lamina/runtime/budget"
	"github.com/lamina-llm/lamina/runtime/plan"
	"github.com/lamina-llm/lamina/runtime/residency"
	"github.com/lamina-llm/lamina/runtime/sched"
)

// Options says how a model is run. The zero value lets the machine decide.
type Options struct {
	RAM         int64       // bytes that the whole process may take; 0 is what the machine and its control group allow
	Context     int         // most tokens of one sequence; 0 is what the model and the memory allow
	Parallel    int         // sequences of full length that the KV cache holds; 0 is up to 4, as memory allows
	Threads     int         // workers; 0 is one per processor
	BatchTokens int         // tokens of one forward pass; 0 is up to 512, as memory allows
	Queue       int         // requests that may wait; 0 is 64
	Speculate   Speculation // guesses checked along with generated tokens; empty is SpeculateAuto
	KV          KV          // how the KV cache stores numbers; "" is KVAuto
	Coded       bool        // unpack no weights even where there is room, to measure regime B
	Logger      *slog.Logger

	// Draft is a smaller .lamina file with the same tokenizer, kept in memory,
	// that guesses tokens ahead; "" is none. Answers stay the same.
	Draft string

	NoPrefixCache bool // every request computes its whole prompt
	Serve         bool // set memory aside for the connections and request bodies of a server

	// Round rounds the matrices of a source checkpoint as a GGUF format would;
	// "" leaves them alone. Files take no notice.
	Round source.Rounding
}

// KV says how the KV cache stores numbers.
type KV string

// The choices of KV.
const (
	KVAuto KV = "auto" // F16, or 8-bit where F16 would stream weights or shorten the context
	KVF16  KV = "f16"  // two bytes a number
	KVQ8   KV = "q8"   // one byte a number and a scale per head and token
)

func (o Options) withDefaults() Options {
	if o.Threads <= 0 {
		o.Threads = runtime.GOMAXPROCS(0)
	}
	if o.Queue <= 0 {
		o.Queue = 64
	}
	if o.Speculate == "" {
		o.Speculate = SpeculateAuto
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Model is a model that is ready to run batches, for one caller at a time.
type Model struct {
	name     string
	cfg      llama.Config
	tok      *token.Tokenizer
	template *chat.Template
	sampling model.Sampling
	context  int
	batch    int
	plan     plan.Plan
	ledger   *budget.Ledger
	http     int64
	store    *residency.Store[*bound] // nil for a float32 model
	file     *loader.Model            // nil for a float32 model
	llama    *llama.Model
	cache    *kv.Pool
	second   *Model // drafts for this one; nil is none
	meter    meter
	closers  []func() error // in order of opening
}

// Open opens a .lamina file within o.RAM bytes of memory for the process. The
// error is plan.ErrTooSmall, with the smallest workable budget, if they do not
// suffice.
func Open(ctx context.Context, path string, o Options) (*Model, error) {
	f, err := loader.Open(path, loader.Options{Layout: layout, DropCache: true})
	if err != nil {
		return nil, err
	}
	return open(ctx, f, o)
}

// OpenReaderAt is Open for a model of size bytes inside r.
func OpenReaderAt(ctx context.Context, r io.ReaderAt, size int64, name string, o Options) (*Model, error) {
	f, err := loader.OpenReaderAt(r, size, name, loader.Options{Layout: layout})
	if err != nil {
		return nil, err
	}
	return open(ctx, f, o)
}

// Plan returns the memory plan that Open would make for a file, reading its
// headers and side information alone.
func Plan(ctx context.Context, path string, o Options) (plan.Plan, error) {
	f, err := loader.Open(path, loader.Options{Layout: layout})
	if err != nil {
		return plan.Plan{}, err
	}
	defer f.Close()
	o = o.withDefaults()
	text := &Model{} // takes its place in memory, as it will
	if err := text.readText(f, o.Logger); err != nil {
		return plan.Plan{}, err
	}
	d, err := newDraft(ctx, f, o)
	runtime.KeepAlive(text)
	if err != nil {
		return plan.Plan{}, err
	}
	return d.plan, d.close()
}

// draft is a model of which everything is known and nothing is loaded.
type draft struct {
	cfg      llama.Config
	units    []unit
	norm     []float32
	unread   int64       // bytes that the process will take besides, but does not yet
	sizes    []plan.Unit // of units: layers, head, and what follows
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

// heapReserve is what the Go heap may grow by while serving: requests, the
// collector's headroom, goroutines.
const heapReserve = 8 << 20

// httpReserve is what connections and request bodies may take of a budget, on
// the Go heap: a thirty-second, within bounds that make sense.
func httpReserve(limit int64) int64 { return min(max(limit/32, httpLeast), httpMost) }

// Bounds of httpReserve.
const (
	httpLeast = 2 << 20
	httpMost  = 128 << 20
)

// aroundHTTP returns the smallest budget of which n bytes are left beside what
// httpReserve sets aside.
func aroundHTTP(n int64) int64 {
	return n + int64(sort.Search(httpMost, func(k int) bool { return int64(k) >= httpReserve(n+int64(k)) }))
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
	if d.units, d.norm, err = readUnits(ctx, f, d.cfg); err != nil {
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
	d.grow(&d.work)
}

// grow raises s so that it serves d's operators.
func (d *draft) grow(s *decode.Size) {
	for i := range d.units {
		for k := range d.units[i].parts {
			s.Grow(d.units[i].parts[k].Matrix)
		}
		for _, op := range d.units[i].ops {
			if op.factors != nil {
				s.GrowFactored(op.factors)
			}
		}
	}
}

// choose settles everything within the draft's limit. Whether it can or not, the
// plan names the smallest budget that works with everything at its least.
func (d *draft) choose(o Options) error { return d.chooseAbove(o, processBytes()+d.unread) }

// chooseAbove is choose in a process that takes base bytes already.
func (d *draft) chooseAbove(o Options, base int64) error {
	switch o.KV {
	case KVF16, KVAuto, KVQ8, "":
	default:
		return fmt.Errorf("kv cache %q: want auto, f16 or q8", o.KV)
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
	if o.KV == KVF16 {
		d.format = kv.F16
	}
	return d.make(o, base)
}

// fitFormat settles the format of the cache, then the rest.
func (d *draft) fitFormat(o Options, base int64) error {
	d.format = kv.F16
	if o.KV == KVQ8 {
		d.format = kv.Q8
	}
	err := d.fit(o, base)
	if d.format == kv.Q8 || o.KV == KVF16 {
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
			if err = d.make(o, base); err == nil && (d.plan.Regime != plan.C || last) {
				return nil
			}
		}
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

// make plans the memory for the chosen context and batch.
func (d *draft) make(o Options, base int64) error {
	d.fixed = []plan.Amount{
		{Purpose: budget.Binary, Bytes: base}, {Purpose: budget.GoHeap, Bytes: heapReserve},
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
	for i := range d.cfg.Layers + 1 {
		u := d.sizes[i]
		u.Streamable = true
		if o.Coded {
			u.UnpackedBytes = 0
		}
		in.Units = append(in.Units, u)
	}
	d.embed = false
	if !d.cfg.Tied {
		// A resident embedding is worth having only where nothing is streamed for it.
		e := d.cfg.Layers + 1
		with := in
		with.Units = append(with.Units[:len(with.Units):len(with.Units)], plan.Unit{
			Name: d.sizes[e].Name, CodedBytes: d.sizes[e].CodedBytes, Streamable: false,
		})
		if p, err := plan.Make(with); err == nil && p.Regime != plan.C {
			d.plan, d.embed = p, true
			d.restate(o)
			return nil
		}
	}
	var err error
	d.plan, err = plan.Make(in)
	d.restate(o)
	return err
}

// restate corrects the budgets that the plan names: at each of them HTTP would
// have its share of that budget, not of the present one.
func (d *draft) restate(o Options) {
	if !o.Serve {
		return
	}
	for _, b := range []*int64{&d.plan.MinBudget, &d.plan.ResidentBudget, &d.plan.UnpackedBudget} {
		if *b > 0 {
			*b = aroundHTTP(*b - httpReserve(d.limit))
		}
	}
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

// processBytes is what the process occupies already: program, runtime,
// tokenizer, side information. Of the program it counts what serving needs.
func processBytes() int64 {
	debug.FreeOSMemory()
	if budget.TrimProgram() > 0 {
		return budget.RSS() + programReserve
	}
	return budget.RSS()
}

// open loads the model in f; it owns f from now on.
func open(ctx context.Context, f *loader.Model, o Options) (m *Model, err error) {
	o = o.withDefaults()
	m = &Model{name: f.Name(), file: f, closers: []func() error{f.Close}}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.Close())
			m = nil
		}
	}()
	if err := m.readText(f, o.Logger); err != nil {
		return m, err
	}
	d, err := newDraft(ctx, f, o)
	if err != nil {
		return m, err
	}
	m.cfg, m.plan, m.context, m.batch = d.cfg, d.plan, d.context, d.batch
	if d.format == kv.Q8 && o.KV != KVQ8 {
		o.Logger.Info("the memory is tight: keys and values are cached in 8 bits; --kv f16 keeps 16")
	}
	m.onClose(d.close)
	m.ledger = budget.New(d.limit)
	for _, a := range d.fixed {
		n := a.Bytes
		switch a.Purpose {
		case budget.KV, budget.Coded:
			continue // leased by their slabs
		case budget.Activations:
			n = d.size.Bytes(o.Threads)
		}
		lease, err := m.ledger.TryAcquire(a.Purpose, n)
		if err != nil {
			return m, err
		}
		m.onClose(func() error { lease.Release(); return nil })
	}
	pool := sched.New(o.Threads)
	m.onClose(func() error { pool.Close(); return nil })
	ws := decode.NewWorkspace(pool, d.size)
	b := &binder{units: d.units, layers: d.cfg.Layers, ws: ws, meter: &m.meter}
	m.store, err = residency.Open(ctx, residency.Options[*bound]{
		Plan: d.plan, Ledger: m.ledger, Source: f, Binder: b, Workers: o.Threads, HugePages: true, Logger: o.Logger,
	})
	if err != nil {
		return m, err
	}
	m.onClose(m.store.Close)
	w, err := m.weights(ctx, d, f, ws)
	if err != nil {
		return m, err
	}
	if err := m.start(d, w, pool); err != nil {
		return m, err
	}
	if d.second != nil {
		if err := m.openSecond(ctx, d.second, o, pool, ws); err != nil {
			return m, fmt.Errorf("draft model: %w", err)
		}
	}
	reserve := int64(heapReserve)
	if o.Serve {
		m.http = httpReserve(d.limit)
		reserve += m.http
	}
	if d.plan.Count(plan.Unpacked) == 0 { // no picture has been decoded yet
		reserve += d.size.PictureBytes(o.Threads)
	}
	limitHeap(reserve)
	return m, nil
}

// weights makes the forward pass's view of the store.
func (m *Model) weights(ctx context.Context, d *draft, f *loader.Model, ws *decode.Workspace) (*storedWeights, error) {
	w := &storedWeights{store: m.store, cfg: d.cfg, norm: d.norm, file: f}
	e := d.cfg.Layers
	if !d.cfg.Tied {
		e++
	}
	resident := d.embed || d.cfg.Tied && d.plan.Units[e].Placement != plan.Streamed
	if !resident {
		side := d.units[e].parts[0]
		w.tensor = f.Tensor("embed")
		if d.cfg.Tied { // the head streams through the other instance
			own, err := readPart(ctx, f, e, "embed", d.cfg.Vocab, d.cfg.Hidden)
			if err != nil {
				return nil, err
			}
			side = own
		}
		w.lookup = decode.NewCoded(side.Matrix, ws)
		return w, nil
	}
	held, release, err := m.store.Acquire(ctx, e)
	if err != nil {
		return nil, err
	}
	w.embed = held.op
	m.onClose(func() error { release(); return nil })
	return w, nil
}

// start makes cache and forward pass over w.
func (m *Model) start(d *draft, w llama.Weights, pool model.Pool) error {
	cache, err := arena.Alloc(m.ledger, budget.KV, int(d.kvBytes()), 0)
	if err != nil {
		return err
	}
	m.onClose(func() error { cache.Free(); return nil })
	if m.cache, err = kv.New(d.geometry(), cache.Bytes()); err != nil {
		return err
	}
	o := d.llamaOptions()
	scratch, err := arena.Alloc(m.ledger, budget.Activations, int(llama.ScratchBytes(d.cfg, o)), 0)
	if err != nil {
		return err
	}
	m.onClose(func() error { scratch.Free(); return nil })
	o.Scratch = floats(scratch.Bytes())
	m.llama, err = llama.New(d.cfg, w, pool, o)
	return err
}

// limitHeap lets the collector keep the Go heap at what it is now plus a
// reserve.
func limitHeap(reserve int64) {
	debug.FreeOSMemory()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	debug.SetMemoryLimit(int64(s.Sys-s.HeapReleased) + reserve)
}

func (m *Model) onClose(f func() error) { m.closers = append(m.closers, f) }

// Close frees everything. Nothing may be running.
func (m *Model) Close() error {
	var err error
	for i := len(m.closers) - 1; i >= 0; i-- {
		err = errors.Join(err, m.closers[i]())
	}
	m.closers = nil
	return err
}

// Name returns the base name of the file that the model came from.
func (m *Model) Name() string { return m.name }

// Config returns the hyper-parameters.
func (m *Model) Config() llama.Config { return m.cfg }

// Tokenizer returns the tokenizer; it is safe for concurrent use.
func (m *Model) Tokenizer() *token.Tokenizer { return m.tok }

// Template returns the chat template, or nil if the model has none.
func (m *Model) Template() *chat.Template { return m.template }

// Sampling returns the sampling defaults that came with the model.
func (m *Model) Sampling() model.Sampling { return m.sampling }

// Context returns the most tokens of one sequence.
func (m *Model) Context() int { return m.context }

// BatchTokens returns the most tokens of one forward pass.
func (m *Model) BatchTokens() int { return m.batch }

// Plan returns the memory plan; it is empty for a float32 model.
func (m *Model) Plan() plan.Plan { return m.plan }

// KVFormat returns how the KV cache stores numbers.
func (m *Model) KVFormat() kv.Format { return m.cache.Geometry().Format }

// HTTPBytes returns what is leased for connections and request bodies; 0
// without [Options.Serve].
func (m *Model) HTTPBytes() int64 { return m.http }

// BytesRead returns how many coded bytes were streamed since the start.
func (m *Model) BytesRead() int64 {
	if m.store == nil {
		return 0
	}
	return int64(m.store.Stats().BytesRead)
}

// NewSeq reserves cache for one sequence.
func (m *Model) NewSeq(maxTokens int) (*kv.Seq, error) { return m.cache.NewSeq(maxTokens) }

// Forward runs one batch; see llama.Model.Forward.
func (m *Model) Forward(ctx context.Context, batch []llama.Seq, emit llama.Emit) error {
	return m.llama.Forward(ctx, batch, emit)
}
