package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/lamina-llm/lamina/internal/source"
	"github.com/lamina-llm/lamina/model/kv"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/runtime/arena"
	"github.com/lamina-llm/lamina/runtime/budget"
	"github.com/lamina-llm/lamina/runtime/plan"
	"github.com/lamina-llm/lamina/runtime/sched"
)

// OpenSource opens a source checkpoint in float32, for evaluation and
// comparison, within o.RAM bytes of memory for the process. It keeps four bytes
// per weight, or streams: one layer, or the head, at a time, read anew for
// every batch, if the whole does not fit. The error is plan.ErrTooSmall, with
// the smallest workable budget, if that does not fit either.
func OpenSource(ctx context.Context, path string, o Options) (*Model, error) {
	s, err := openSource(path, o)
	if err != nil {
		return nil, err
	}
	limit := o.RAM
	if limit == 0 {
		limit = budget.DetectLimit().Bytes
	}
	own := processBytes(o.Serve) + heapMost
	stream := own+s.bytes(false) > limit
	if need := own + s.bytes(true); need > limit {
		return nil, errors.Join(&plan.TooSmallError{Budget: limit, MinBudget: need}, s.src.Close())
	}
	return s.open(ctx, stream, limit-own)
}

// ReferenceBytes returns the memory that OpenReference takes for a checkpoint.
func ReferenceBytes(path string, o Options) (int64, error) {
	s, err := openSource(path, o)
	if err != nil {
		return 0, err
	}
	return s.bytes(true) + heapMost, s.src.Close()
}

// OpenReference opens a source checkpoint in float32 to run beside another
// model of the process, opened before. It always streams and takes
// ReferenceBytes, which the other model's budget must leave free; o.RAM is not
// used.
func OpenReference(ctx context.Context, path string, o Options) (*Model, error) {
	s, err := openSource(path, o)
	if err != nil {
		return nil, err
	}
	m, err := s.open(ctx, true, s.bytes(true))
	if err == nil {
		limitHeap(0) // the other model's limit did not know of this one
	}
	return m, err
}

// floatSource is an open checkpoint of which nothing is loaded.
type floatSource struct {
	src  *source.Source
	opt  Options
	d    draft
	rows llama.RowReader
}

func openSource(path string, o Options) (*floatSource, error) {
	o = o.withDefaults()
	src, err := source.Open(path)
	if err != nil {
		return nil, err
	}
	s := &floatSource{src: src, opt: o, rows: src.ReadRows}
	if o.Round != "" {
		if s.rows, err = src.Rounded(o.Round); err != nil {
			return nil, errors.Join(err, src.Close())
		}
	}
	s.d = draft{cfg: src.Config(), parallel: max(1, o.Parallel), batch: o.BatchTokens}
	if o.KV == KVQ8 {
		s.d.format = kv.Q8
	}
	s.d.context = min(s.d.cfg.MaxContext, 2048)
	if o.Context > 0 {
		s.d.context = o.Context
	}
	if s.d.context > s.d.cfg.MaxContext {
		return nil, errors.Join(fmt.Errorf("context of %d tokens: the model was trained for %d", s.d.context, s.d.cfg.MaxContext), src.Close())
	}
	if s.d.batch == 0 {
		s.d.batch = 512
	}
	return s, nil
}

// bytes is what the model takes once it is open.
func (s *floatSource) bytes(stream bool) int64 {
	return llama.FloatBytes(s.d.cfg, stream) + arena.Footprint(s.d.kvBytes(), 0) +
		arena.Footprint(llama.ScratchBytes(s.d.cfg, s.d.llamaOptions()), 0)
}

// open loads the model; it owns the checkpoint from now on.
func (s *floatSource) open(ctx context.Context, stream bool, limit int64) (m *Model, err error) {
	m = &Model{
		name: s.src.Name(), cfg: s.d.cfg, sampling: s.src.Sampling(), context: s.d.context, batch: s.d.batch,
		ledger: budget.New(limit), closers: []func() error{s.src.Close},
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.Close())
			m = nil
		}
	}()
	if m.tok, err = s.src.Tokenizer(); err != nil {
		return m, err
	}
	if err := m.setTemplate(s.src.ChatTemplate(), s.opt.Logger); err != nil {
		return m, err
	}
	lease, err := m.ledger.TryAcquire(budget.Unpacked, llama.FloatBytes(m.cfg, stream))
	if err != nil {
		return m, err
	}
	m.onClose(func() error { lease.Release(); return nil })
	pool := sched.New(s.opt.Threads)
	m.onClose(func() error { pool.Close(); return nil })
	w, err := llama.NewFloatWeights(ctx, m.cfg, s.rows, pool, stream)
	if err != nil {
		return m, err
	}
	return m, m.start(&s.d, w, pool)
}
