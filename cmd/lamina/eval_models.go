package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/lamina-llm/lamina/internal/engine"
	"github.com/lamina-llm/lamina/internal/eval"
	"github.com/lamina-llm/lamina/internal/source"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/model/token"
	"github.com/lamina-llm/lamina/runtime/budget"
	"github.com/lamina-llm/lamina/runtime/plan"
	"github.com/lamina-llm/lamina/weights"
)

// evaluated is a model that is measured, and what it is compared with.
type evaluated struct {
	model     *engine.Model
	reference *engine.Model // nil without one
	refPath   string
	size      modelSize
}

// open opens the model and the reference within one budget: the reference
// takes what streaming needs, the model what is left.
func (c *evalCmd) open(ctx context.Context, a *app) (m *evaluated, err error) {
	m = &evaluated{refPath: c.Reference}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.close())
		}
	}()
	if m.size, err = sizeOf(c.Path, source.Rounding(c.Round)); err != nil {
		return m, err
	}
	if c.Window == 0 {
		c.Window = min(eval.DefaultWindow, m.size.context)
	}
	flags := runtimeFlags{RAM: c.RAM, Context: c.Window, Threads: c.Threads, KV: c.KV}
	o, err := flags.options(a, "eval")
	if err != nil {
		return m, err
	}
	o.Parallel = 1
	own, beside := o, o
	beside.KV = engine.KVQ16 // what is measured is the model's own cache
	var need, limit int64
	if c.Reference != "" {
		if need, err = engine.ReferenceBytes(c.Reference, beside); err != nil {
			return m, fmt.Errorf("eval: reference: %w", err)
		}
		if own.RAM == 0 {
			own.RAM = budget.DetectLimit().Bytes
		}
		limit = own.RAM
		own.RAM = max(limit-need, 1) // 0 would be no limit
	}
	open := engine.Open
	if isCheckpoint(c.Path) {
		open, own.Round = engine.OpenSource, source.Rounding(c.Round)
	}
	if m.model, err = open(ctx, c.Path, own); err != nil {
		var small *plan.TooSmallError
		if need > 0 && errors.As(err, &small) { // name a budget for both
			err = fmt.Errorf("eval: model and reference: %w", &plan.TooSmallError{Budget: limit, MinBudget: small.MinBudget + need})
		}
		return m, err
	}
	if c.Reference == "" {
		return m, nil
	}
	if m.reference, err = engine.OpenReference(ctx, c.Reference, beside); err != nil {
		return m, fmt.Errorf("eval: reference: %w", err)
	}
	if v, r := m.model.Config().Vocab, m.reference.Config().Vocab; v != r {
		return m, fmt.Errorf("eval: %s has a vocabulary of %d tokens and the reference %s one of %d: they are not of the same model", c.Path, v, c.Reference, r)
	}
	return m, nil
}

func (m *evaluated) close() error {
	var err error
	for _, x := range []*engine.Model{m.reference, m.model} {
		if x != nil {
			err = errors.Join(err, x.Close())
		}
	}
	return err
}

// encode tokenises a text for both models, which must agree.
func (m *evaluated) encode(name, text string) ([]int32, error) {
	ids, err := m.model.Tokenizer().Encode(text, token.EncodeOptions{})
	if err != nil {
		return nil, fmt.Errorf("eval: text %s: %w", name, err)
	}
	if len(ids) < 2 {
		return nil, fmt.Errorf("eval: text %s has %d tokens, want at least 2", name, len(ids))
	}
	if m.reference == nil {
		return ids, nil
	}
	other, err := m.reference.Tokenizer().Encode(text, token.EncodeOptions{})
	if err != nil {
		return nil, fmt.Errorf("eval: text %s: reference: %w", name, err)
	}
	if !slices.Equal(ids, other) {
		return nil, fmt.Errorf("eval: text %s is %d tokens for the model and %d other ones for the reference %s: they are not of the same model", name, len(ids), len(other), m.refPath)
	}
	return ids, nil
}

func (m *evaluated) referenceScorer() eval.Scorer {
	if m.reference == nil {
		return nil
	}
	return scorer{m.reference}
}

// scorer runs windows through a model.
type scorer struct{ m *engine.Model }

// Score implements eval.Scorer, a forward pass per BatchTokens.
func (s scorer) Score(ctx context.Context, ids []int32, emit func(i int, logits []float32) error) error {
	seq, err := s.m.NewSeq(len(ids))
	if err != nil {
		return err
	}
	defer seq.Close()
	return feed(ctx, s.m, llama.Seq{Tokens: ids, KV: seq, Want: llama.All}, emit)
}

// modelSize is what a model takes on disk.
type modelSize struct {
	Bytes int64   `json:"file_bytes"`
	Bits  float64 `json:"bits_per_weight"` // of all of Bytes

	context int // tokens that the model was trained for
}

// sizeOf returns the size of a .lamina file, of a checkpoint, or of what
// rounding a checkpoint would leave of its tensors.
func sizeOf(path string, round source.Rounding) (modelSize, error) {
	var bytes, n int64
	var config llama.Config
	if isCheckpoint(path) {
		r, err := showCheckpoint(path)
		if err != nil {
			return modelSize{}, err
		}
		bytes, n, config = r.Bytes, r.Weights, r.Config
		if round != "" {
			bytes = 0
			for _, t := range r.Tensors {
				bits := 32.0
				if t.Rows > 1 {
					bits = round.Bits()
				}
				bytes += int64(bits * float64(t.Weights) / 8)
			}
		}
	} else {
		f, err := weights.Open(path)
		if err != nil {
			return modelSize{}, err
		}
		defer f.Close()
		r := showReport{Path: path}
		for _, t := range f.Tensors() {
			r.Weights += t.Weights
		}
		if err := r.readProvenance(f); err != nil {
			return modelSize{}, err
		}
		raw, err := f.Section(weights.SectionConfig)
		if err != nil {
			return modelSize{}, err
		}
		if config, err = llama.ParseConfig(raw); err != nil {
			return modelSize{}, fmt.Errorf("%s: %w", path, err)
		}
		bytes, n = f.Size(), r.Weights
	}
	return modelSize{bytes, float64(bytes) * 8 / float64(max(n, 1)), config.MaxContext}, nil
}
