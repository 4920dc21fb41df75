// Package selftext lets a model write text by itself: tokens drawn from its own
// predictions, many sequences side by side, so that one pass over the weights
// serves them all. Such text stands for what the model was trained on where no
// other text is at hand (Liu et al., LLM-QAT, 2023).
//
// The package reads no file. [Write] is a function of its arguments: the same
// weights and options give the same tokens on one processor tier, however many
// workers there are and however many sequences are written at a time.
package selftext

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/lamina-llm/lamina/internal/kern"
	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/kv"
	"github.com/lamina-llm/lamina/model/llama"
)

// Options says what to write.
type Options struct {
	Tokens      int     // in all, at least 1
	Stretch     int     // tokens of a sequence, 1 to the model's context; each begins a document
	BOS         int32   // token that documents begin with; -1: any, all alike
	Temperature float64 // that logits are divided by, more than 0
	Seed        uint64  // of all draws
	CacheBytes  int64   // of keys and values, at most, but at least one stretch is held

	// Progress, if not nil, hears how many tokens are there.
	Progress func(done, total int)
}

// maxSide bounds the sequences that are written side by side: more do not make
// products faster.
const maxSide = 256

// validate reports the first option that makes no sense.
func (o *Options) validate(c llama.Config) error {
	switch {
	case o.Tokens < 1:
		return fmt.Errorf("selftext: %d tokens, want at least 1", o.Tokens)
	case o.Stretch < 1 || o.Stretch > c.MaxContext:
		return fmt.Errorf("selftext: sequences of %d tokens, want 1 to %d", o.Stretch, c.MaxContext)
	case o.BOS < -1 || int(o.BOS) >= c.Vocab:
		return fmt.Errorf("selftext: first token %d is outside the vocabulary of %d", o.BOS, c.Vocab)
	case !(o.Temperature > 0) || math.IsInf(o.Temperature, 0):
		return fmt.Errorf("selftext: temperature %v, want more than 0", o.Temperature)
	}
	return nil
}

// Write returns o.Tokens tokens: stretches of o.Stretch tokens, the last may be
// shorter, one after another. A stretch is a document that breaks off; when the
// model ends it before, with a token of c.EOS, the next begins there, and sees
// nothing of it. w is used by this call alone until it returns.
func Write(ctx context.Context, c llama.Config, w llama.Weights, pool model.Pool, o Options) ([]int32, error) {
	if err := o.validate(c); err != nil {
		return nil, err
	}
	count := (o.Tokens + o.Stretch - 1) / o.Stretch
	geometry := kv.Geometry{Layers: c.Layers, KVHeads: c.KVHeads, HeadDim: c.HeadDim, PageTokens: llama.PageTokens(min(o.Stretch, kv.DefaultPageTokens))}
	pages := int64(geometry.Pages(o.Stretch))
	side := int(min(int64(count), maxSide, max(1, o.CacheBytes/(pages*geometry.PageBytes()))))
	side = (count + (count+side-1)/side - 1) / ((count + side - 1) / side) // rounds of about the same size
	cache, err := kv.New(geometry, make([]byte, int64(side)*pages*geometry.PageBytes()))
	if err != nil {
		return nil, fmt.Errorf("selftext: %w", err)
	}
	m, err := llama.New(c, w, pool, llama.Options{MaxBatchTokens: side, MaxContext: o.Stretch, LogitRows: min(side, 32)})
	if err != nil {
		return nil, fmt.Errorf("selftext: %w", err)
	}
	out := make([]int32, o.Tokens)
	wr := writer{config: c, options: o, model: m}
	for first := 0; first < count; first += side {
		if err := wr.round(ctx, cache, out, first, min(first+side, count)); err != nil {
			return nil, fmt.Errorf("selftext: %w", err)
		}
	}
	return out, nil
}

// writer writes.
type writer struct {
	config  llama.Config
	options Options
	model   *llama.Model
	done    int
}

// round writes stretches first to end-1 of out side by side. The last stretch
// of all may be shorter than the others and drops out before them.
func (w *writer) round(ctx context.Context, cache *kv.Pool, out []int32, first, end int) error {
	o := &w.options
	text := make([][]int32, end-first)
	seqs := make([]llama.Seq, end-first)
	for i := range seqs {
		at := (first + i) * o.Stretch
		text[i] = out[at:min(at+o.Stretch, len(out))]
		seq, err := cache.NewSeq(o.Stretch)
		if err != nil {
			return err
		}
		defer seq.Close()
		text[i][0] = w.begin(at)
		seqs[i] = llama.Seq{KV: seq, Want: llama.Last}
	}
	w.done += len(seqs)
	for t := 1; t < len(text[0]); t++ {
		for len(text[len(seqs)-1]) <= t {
			seqs = seqs[:len(seqs)-1]
		}
		for i := range seqs {
			seqs[i].Tokens = text[i][t-1 : t]
			if slices.Contains(w.config.EOS, text[i][t-1]) {
				seqs[i].Tokens = nil
			}
		}
		if err := w.step(ctx, seqs, text, first, t); err != nil {
			return err
		}
		w.done += len(seqs)
		if o.Progress != nil {
			o.Progress(w.done, o.Tokens)
		}
	}
	return nil
}

// step fills in token t of every stretch.
func (w *writer) step(ctx context.Context, seqs []llama.Seq, text [][]int32, first, t int) error {
	batch, who := make([]llama.Seq, 0, len(seqs)), make([]int, 0, len(seqs))
	for i, s := range seqs {
		at := (first+i)*w.options.Stretch + t
		if s.Tokens == nil { // a document ended
			if err := s.KV.Truncate(0); err != nil {
				return err
			}
			text[i][t] = w.begin(at)
			continue
		}
		batch, who = append(batch, s), append(who, i)
	}
	if len(batch) == 0 {
		return nil
	}
	return w.model.Forward(ctx, batch, func(seq, _ int, logits []float32) error {
		i := who[seq]
		at := (first+i)*w.options.Stretch + t
		id, err := draw(logits, w.options.Temperature, Uniform(w.options.Seed, uint64(at)))
		text[i][t] = id
		return err
	})
}

// begin returns the first token of a document at a place in the text.
func (w *writer) begin(at int) int32 {
	if w.options.BOS >= 0 {
		return w.options.BOS
	}
	return int32(Uniform(w.options.Seed, uint64(at)) * float64(w.config.Vocab))
}

// draw picks the token at u, in [0, 1), of the distribution that logits mean.
func draw(logits []float32, temperature, u float64) (int32, error) {
	if temperature != 1 {
		kern.Scale(logits, float32(1/temperature))
	}
	kern.Softmax(logits)
	last := int32(-1)
	for v, p := range logits {
		if p > 0 {
			last = int32(v)
		}
		if u -= float64(p); u < 0 {
			return int32(v), nil
		}
	}
	if last < 0 {
		return 0, fmt.Errorf("the model predicts nothing; its weights may be damaged")
	}
	return last, nil // rounding left a little
}

// Uniform returns number i, from 0 on, of the sequence of a seed, in [0, 1) (SplitMix64).
func Uniform(seed, i uint64) float64 {
	z := seed + (i+1)*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return float64((z^z>>31)>>11) / (1 << 53)
}
