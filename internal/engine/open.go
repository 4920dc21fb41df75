package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"runtime/debug"
	"slices"

	"github.com/lamina-llm/lamina/decode"
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
	Threads     int         // workers; 0 is one per processor, up to 64
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

	mapped int64 // bytes of the file that are memory of the process, and count once they are read

	// Round rounds the matrices of a source checkpoint as a GGUF format would;
	// "" leaves them alone. Files take no notice.
	Round source.Rounding
}

// KV says how the KV cache stores numbers.
type KV string

// The choices of KV.
const (
	KVAuto KV = "auto" // 16 bits, or 8 where 16 would stream weights or shorten the context
	KVQ16  KV = "q16"  // two bytes a number and a scale per head and token
	KVQ8   KV = "q8"   // one byte a number and such a scale
)

// maxThreads is how many workers there are on a large machine that is not told
// otherwise.
const maxThreads = 64

func (o Options) withDefaults() Options {
	if o.Threads <= 0 {
		o.Threads = min(runtime.GOMAXPROCS(0), maxThreads)
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
	source   residency.Source         // of the plan's units: the file, or its pieces
	llama    *llama.Model
	pool     model.Pool
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

// OpenReaderAt is Open for a model of size bytes inside r, which is memory of the
// process, such as a part of the program: what is read of it counts.
func OpenReaderAt(ctx context.Context, r io.ReaderAt, size int64, name string, o Options) (*Model, error) {
	f, err := loader.OpenReaderAt(r, size, name, loader.Options{Layout: layout})
	if err != nil {
		return nil, err
	}
	o.mapped = size
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
		o.Logger.Info("the memory is tight: keys and values are cached in 8 bits; --kv q16 keeps 16")
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
	b := newBinder(d, f, ws, &m.meter)
	if m.source = f; d.split {
		m.source = d.pieces
	}
	m.store, err = residency.Open(ctx, residency.Options[*bound]{
		Plan: d.plan, Ledger: m.ledger, Source: m.source, Binder: b, Workers: o.Threads, HugePages: true, Logger: o.Logger,
	})
	if err != nil {
		return m, err
	}
	m.onClose(m.store.Close)
	w, err := m.weights(ctx, d, f, ws, o.Logger)
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
	if o.Serve {
		m.http = httpReserve(d.limit)
	}
	reserve := o.reserve(d.limit)
	if d.plan.Count(plan.Unpacked) == 0 { // no picture has been decoded yet
		reserve += d.size.PictureBytes(o.Threads)
	}
	limitHeap(reserve)
	return m, nil
}

// weights makes the forward pass's view of the store.
func (m *Model) weights(ctx context.Context, d *draft, f *loader.Model, ws *decode.Workspace, log *slog.Logger) (*storedWeights, error) {
	w := &storedWeights{store: m.store, meter: &m.meter, log: log, cfg: d.cfg, norm: d.norm, file: f}
	w.visit(d, ws)
	first, n := d.place(embedUnit(d.cfg))
	if d.embed || d.cfg.Tied && n == 1 && d.plan.Units[first].Placement != plan.Streamed {
		held, release, err := m.store.Acquire(ctx, first)
		if err != nil {
			return nil, err
		}
		w.embed = held.op
		m.onClose(func() error { release(); return nil })
		return w, nil
	}
	side := d.units[embedUnit(d.cfg)].parts[0]
	if d.cfg.Tied && n == 1 { // the head streams through the other instance
		own, err := readPart(ctx, f, embedUnit(d.cfg), "embed", d.cfg.Vocab, d.cfg.Hidden)
		if err != nil {
			return nil, err
		}
		side = own
	}
	w.tensor, w.lookup, w.inMemory = f.Tensor("embed"), decode.NewCoded(side.Matrix, ws), make([][]byte, side.Chunks())
	if !d.cfg.Tied || n == 1 {
		return w, nil
	}
	chunk := 0
	for k := first; k < first+n; k++ {
		p := &d.pieces.all[k].unit.parts[0]
		if d.plan.Units[k].Placement == plan.Pinned {
			_, release, err := m.store.Acquire(ctx, k)
			if err != nil {
				return nil, err
			}
			m.onClose(func() error { release(); return nil })
			copy(w.inMemory[chunk:], p.chunks)
		}
		chunk += len(p.chunks)
	}
	if !slices.ContainsFunc(w.inMemory, func(c []byte) bool { return c == nil }) {
		w.embed = w.lookup
		return w, side.Attach(w.inMemory)
	}
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
	m.pool = pool
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
