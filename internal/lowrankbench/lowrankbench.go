// Package lowrankbench measures what low rank does to a model, in float32 and
// without any codec: perplexity and distance from the source for ways to choose
// ranks and to make factors, and the time of a token.
//
// It holds the source model and every variant of it in float32. Run works in the calling goroutine and a pool
// of its own.
package lowrankbench

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lamina-llm/lamina/internal/eval"
	"github.com/lamina-llm/lamina/internal/source"
	"github.com/lamina-llm/lamina/model/kv"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/pack"
	"github.com/lamina-llm/lamina/runtime/sched"
)

// Way is one way to choose ranks and make factors.
type Way struct {
	Name    string // also on the command line
	Uniform bool   // the same share of every matrix; else one tolerance for all
	Method  pack.Method
}

// Ways are what the paper compares: PGSVD is the last but one.
var Ways = []Way{
	{"svd-uniform", true, pack.SVD},
	{"als-uniform", true, pack.ALS},
	{"svd", false, pack.SVD},
	{"pgsvd", false, pack.ALS},
	{"optimal", false, pack.Optimal},
}

// Options says what to measure.
type Options struct {
	Keep     []float64 // shares of the parameters of attention and MLP matrices
	Ways     []Way
	Tokens   []int32 // of the text
	Window   int     // tokens that see one another
	Workers  int     // goroutines
	Progress func(phase, item string, done, total int)
}

// Row is one line of the table.
type Row struct {
	Keep      float64 `json:"keep"`      // asked for
	Kept      float64 `json:"kept"`      // of the parameters of attention and MLP matrices
	Tolerance float64 `json:"tolerance"` // relative error of every factored matrix; 0 for uniform ranks
	Way       string  `json:"way"`
	Factored  int     `json:"factored"` // matrices
	Error     float64 `json:"error"`    // of the outputs on the calibration text, root of the mean over factored matrices
	PPL       float64 `json:"ppl"`
	KL        float64 `json:"kl"`   // from the source, nats per token
	Top1      float64 `json:"top1"` // same likeliest token
	Token     float64 `json:"token_ms"`
}

// Report is the table.
type Report struct {
	Source eval.Result `json:"source"`
	Token  float64     `json:"token_ms"` // one token of the source
	Rows   []Row       `json:"rows"`
}

// bench is one run.
type bench struct {
	src  *source.Source
	cfg  llama.Config
	low  *pack.LowRank
	o    Options
	pool *sched.Pool
	base *llama.FloatWeights
}

// Run measures every way at every share.
func Run(ctx context.Context, src *source.Source, low *pack.LowRank, o Options) (*Report, error) {
	b := &bench{src: src, cfg: src.Config(), low: low, o: o, pool: sched.New(o.Workers)}
	defer b.pool.Close()
	var err error
	if b.base, err = llama.NewFloatWeights(ctx, b.cfg, src.ReadRows, b.pool, false); err != nil {
		return nil, err
	}
	whole, err := b.scorer(b.base)
	if err != nil {
		return nil, err
	}
	rows, others, err := b.build(ctx)
	if err != nil {
		return nil, fmt.Errorf("lowrankbench: %w", err)
	}
	results, err := b.measure(ctx, whole, others)
	if err != nil {
		return nil, fmt.Errorf("lowrankbench: %w", err)
	}
	times, err := b.times(ctx, append([]*scorer{whole}, others...))
	if err != nil {
		return nil, fmt.Errorf("lowrankbench: %w", err)
	}
	r := &Report{Source: results[0], Token: times[0], Rows: rows}
	for i := range rows {
		x := results[i+1]
		rows[i].PPL, rows[i].KL, rows[i].Top1, rows[i].Token = x.PPL, *x.KL, *x.Top1, times[i+1]
	}
	r.Source.WindowNLL, r.Source.WindowKL = nil, nil
	return r, nil
}

// build makes the models of all shares and ways.
func (b *bench) build(ctx context.Context) ([]Row, []*scorer, error) {
	total := float64(b.low.Params(make([]int, len(b.low.Matrices))))
	var rows []Row
	var all []variant
	for _, keep := range b.o.Keep {
		eps, err := b.low.Tolerance(keep)
		if err != nil {
			return nil, nil, err
		}
		for _, w := range b.o.Ways {
			v := variant{method: w.Method, ranks: b.low.Ranks(eps, eps), ops: make([]operator, len(b.low.Matrices))}
			row := Row{Keep: keep, Way: w.Name, Tolerance: eps}
			if w.Uniform {
				v.ranks, row.Tolerance = b.low.Uniform(keep), 0
			}
			row.Kept = float64(b.low.Params(v.ranks)) / total
			all, rows = append(all, v), append(rows, row)
		}
	}
	// One scratch of a batch for all: products do not run side by side.
	width := max(b.cfg.Hidden, b.cfg.Intermediate, b.cfg.Heads*b.cfg.HeadDim)
	scratch := make([]float32, b.o.Window*width)
	errs := make([][]float64, len(b.low.Matrices))
	g, within := errgroup.WithContext(ctx)
	g.SetLimit(b.o.Workers)
	var mu sync.Mutex
	done := 0
	for k := range b.low.Matrices {
		g.Go(func() error {
			if within.Err() != nil {
				return context.Cause(within)
			}
			e, err := b.matrix(k, all, scratch)
			errs[k] = e
			mu.Lock()
			defer mu.Unlock()
			done++
			b.o.Progress("factor", b.low.Matrices[k].Name, done, len(b.low.Matrices))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, nil, err
	}
	var scorers []*scorer
	for i := range rows {
		sum := 0.0
		for k := range errs {
			if all[i].ranks[k] > 0 {
				rows[i].Factored++
				sum += errs[k][i] * errs[k][i]
			}
		}
		rows[i].Error = math.Sqrt(sum / float64(max(rows[i].Factored, 1)))
		w, err := newFactored(ctx, b.base, b.cfg.Layers, all[i].ops)
		if err != nil {
			return nil, nil, err
		}
		s, err := b.scorer(w)
		if err != nil {
			return nil, nil, err
		}
		scorers = append(scorers, s)
	}
	return rows, scorers, nil
}

// variant is one share and way: ranks, and the operators that come out.
type variant struct {
	method pack.Method
	ranks  []int
	ops    []operator
}

// matrix makes the operators of matrix k for all variants, and returns their
// errors on the calibration text.
func (b *bench) matrix(k int, all []variant, scratch []float32) ([]float64, error) {
	m := &b.low.Matrices[k]
	layer, err := b.low.Layer(k, 1)
	if err != nil {
		return nil, err
	}
	var whole *dense
	errs := make([]float64, len(all))
	for i, v := range all {
		r := v.ranks[k]
		if r == 0 {
			if whole == nil {
				whole = &dense{make([]float32, m.Rows*m.Cols), m.Rows, m.Cols, b.pool}
				if err := b.src.ReadRows(m.Name, 0, m.Rows, whole.w); err != nil {
					return nil, err
				}
			}
			v.ops[k] = whole
			continue
		}
		p, err := v.method.Pair(layer, r)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.Name, err)
		}
		if p.Errors != nil {
			errs[i] = p.Errors[len(p.Errors)-1]
		}
		if v.ops[k], err = newPair(m.Rows, m.Cols, p, b.pool, scratch); err != nil {
			return nil, err
		}
	}
	return errs, nil
}

// measure runs all models over the text, window by window, beside the source.
func (b *bench) measure(ctx context.Context, whole *scorer, others []*scorer) ([]eval.Result, error) {
	parts := make([][]eval.Result, 1+len(others))
	ids := b.o.Tokens
	seen := &replay{vocab: b.cfg.Vocab}
	for first := 0; len(ids)-first >= 2; first += b.o.Window {
		window := ids[first:min(first+b.o.Window, len(ids))]
		if err := seen.record(ctx, whole, window[:len(window)-1]); err != nil {
			return nil, err
		}
		for i, s := range append([]eval.Scorer{seen}, scorers(others)...) {
			r, err := eval.Perplexity(ctx, s, window, eval.Options{Window: b.o.Window, Reference: seen})
			if err != nil {
				return nil, err
			}
			parts[i] = append(parts[i], r)
		}
		b.o.Progress("eval", "", first+len(window), len(ids))
	}
	out := make([]eval.Result, len(parts))
	for i := range parts {
		out[i] = eval.Merge(parts[i])
	}
	return out, nil
}

func scorers(list []*scorer) (out []eval.Scorer) {
	for _, s := range list {
		out = append(out, s)
	}
	return out
}

// replay gives the logits of a window again and again.
type replay struct {
	vocab  int
	logits []float32
}

func (r *replay) record(ctx context.Context, s eval.Scorer, ids []int32) error {
	r.logits = r.logits[:0]
	return s.Score(ctx, ids, func(_ int, logits []float32) error {
		r.logits = append(r.logits, logits...)
		return nil
	})
}

// Score implements eval.Scorer for the window that was recorded.
func (r *replay) Score(_ context.Context, ids []int32, emit func(i int, logits []float32) error) error {
	for i := range ids {
		if err := emit(i, r.logits[i*r.vocab:(i+1)*r.vocab]); err != nil {
			return err
		}
	}
	return nil
}

// scorer is a model that runs windows of tokens.
type scorer struct {
	m     *llama.Model
	cache *kv.Pool
}

func (b *bench) scorer(w llama.Weights) (*scorer, error) {
	c := b.cfg
	m, err := llama.New(c, w, b.pool, llama.Options{MaxBatchTokens: b.o.Window, MaxContext: b.o.Window})
	if err != nil {
		return nil, err
	}
	g := kv.Geometry{Layers: c.Layers, KVHeads: c.KVHeads, HeadDim: c.HeadDim, PageTokens: llama.PageTokens(b.o.Window)}
	cache, err := kv.New(g, make([]byte, g.PageBytes()))
	if err != nil {
		return nil, err
	}
	return &scorer{m, cache}, nil
}

// Score implements eval.Scorer.
func (s *scorer) Score(ctx context.Context, ids []int32, emit func(i int, logits []float32) error) error {
	seq, err := s.cache.NewSeq(len(ids))
	if err != nil {
		return err
	}
	defer seq.Close()
	return s.m.Forward(ctx, []llama.Seq{{Tokens: ids, KV: seq, Want: llama.All}}, func(_, i int, logits []float32) error {
		return emit(i, logits)
	})
}

// tokenTurns is how many tokens of each model are timed.
const tokenTurns = 24

// times returns the median milliseconds of a token of each model, the models
// taking turns.
func (b *bench) times(ctx context.Context, models []*scorer) ([]float64, error) {
	all := make([][]float64, len(models))
	for turn := range tokenTurns {
		for i, s := range models {
			id := b.o.Tokens[turn%len(b.o.Tokens)]
			seq, err := s.cache.NewSeq(1)
			if err != nil {
				return nil, err
			}
			start := time.Now()
			err = s.m.Forward(ctx, []llama.Seq{{Tokens: []int32{id}, KV: seq, Want: llama.Last}}, func(int, int, []float32) error { return nil })
			all[i] = append(all[i], float64(time.Since(start).Microseconds())/1000)
			seq.Close()
			if err != nil {
				return nil, err
			}
		}
	}
	out := make([]float64, len(models))
	for i, v := range all {
		slices.Sort(v)
		out[i] = v[len(v)/2]
	}
	return out, nil
}
