// Package lowrankbench measures what low rank does to a model, in float32 and
// without any codec: perplexity and distance from the source for ways to choose
// ranks and to make factors, and the time of a token.
//
// It holds the source model and every variant of it in float32. Run makes
// factors matrix by matrix and predicts text window by window, each on one of as
// many goroutines as it is given, which end before it returns.
package lowrankbench

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lamina-llm/lamina/internal/eval"
	"github.com/lamina-llm/lamina/internal/source"
	"github.com/lamina-llm/lamina/model"
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
	Turns    int     // tokens of each model that are timed; 0 leaves times out
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
	KL        float64 `json:"kl"`       // from the source, nats per token
	Top1      float64 `json:"top1"`     // same likeliest token
	Token     float64 `json:"token_ms"` // 0 if times are left out
}

// Report is the table.
type Report struct {
	Source eval.Result `json:"source"`
	Token  float64     `json:"token_ms"` // one token of the source; 0 if times are left out
	Rows   []Row       `json:"rows"`
}

// bench is one run.
type bench struct {
	src  *source.Source
	cfg  llama.Config
	low  *pack.LowRank
	o    Options
	base *checkpoint
}

// Run measures every way at every share.
func Run(ctx context.Context, src *source.Source, low *pack.LowRank, o Options) (*Report, error) {
	b := &bench{src: src, cfg: src.Config(), low: low, o: o}
	r, err := b.run(ctx)
	if err != nil {
		return nil, fmt.Errorf("lowrankbench: %w", err)
	}
	return r, nil
}

func (b *bench) run(ctx context.Context) (*Report, error) {
	var err error
	if b.base, err = load(ctx, b.src, b.low); err != nil {
		return nil, err
	}
	rows, models, err := b.build(ctx)
	if err != nil {
		return nil, err
	}
	models = append([][]factors{nil}, models...) // the source first
	results, err := b.measure(ctx, models)
	if err != nil {
		return nil, err
	}
	times := make([]float64, len(models))
	if b.o.Turns > 0 {
		if times, err = b.times(ctx, models); err != nil {
			return nil, err
		}
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
func (b *bench) build(ctx context.Context) ([]Row, [][]factors, error) {
	total := float64(b.low.Params(make([]int, len(b.low.Matrices))))
	var rows []Row
	var all []variant
	for _, keep := range b.o.Keep {
		eps, err := b.low.Tolerance(keep)
		if err != nil {
			return nil, nil, err
		}
		for _, w := range b.o.Ways {
			v := variant{method: w.Method, ranks: b.low.Ranks(eps, eps), factors: make([]factors, len(b.low.Matrices))}
			row := Row{Keep: keep, Way: w.Name, Tolerance: eps}
			if w.Uniform {
				v.ranks, row.Tolerance = b.low.Uniform(keep), 0
			}
			row.Kept = float64(b.low.Params(v.ranks)) / total
			all, rows = append(all, v), append(rows, row)
		}
	}
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
			e, err := b.matrix(k, all)
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
	models := make([][]factors, len(rows))
	for i := range rows {
		sum := 0.0
		for k := range errs {
			if all[i].ranks[k] > 0 {
				rows[i].Factored++
				sum += errs[k][i] * errs[k][i]
			}
		}
		rows[i].Error = math.Sqrt(sum / float64(max(rows[i].Factored, 1)))
		models[i] = all[i].factors
	}
	return rows, models, nil
}

// variant is one share and way: ranks, and the factors that come out.
type variant struct {
	method  pack.Method
	ranks   []int
	factors []factors
}

// matrix makes the factors of matrix k for all variants, and returns their
// errors on the calibration text.
func (b *bench) matrix(k int, all []variant) ([]float64, error) {
	m := &b.low.Matrices[k]
	layer, err := b.low.Layer(k, 1)
	if err != nil {
		return nil, err
	}
	errs := make([]float64, len(all))
	for i, v := range all {
		if v.ranks[k] == 0 {
			continue
		}
		p, err := v.method.Pair(layer, v.ranks[k])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.Name, err)
		}
		if p.Errors != nil {
			errs[i] = p.Errors[len(p.Errors)-1]
		}
		v.factors[k] = newFactors(m.Rows, m.Cols, p)
	}
	return errs, nil
}

// measure runs all models over the text. Each window is for one goroutine, which
// runs the source and then every model beside what that said.
func (b *bench) measure(ctx context.Context, models [][]factors) ([]eval.Result, error) {
	var windows [][]int32
	for rest := b.o.Tokens; len(rest) >= 2; rest = rest[min(b.o.Window, len(rest)):] {
		windows = append(windows, rest[:min(b.o.Window, len(rest))])
	}
	parts := make([][]eval.Result, len(models))
	for i := range parts {
		parts[i] = make([]eval.Result, len(windows))
	}
	g, within := errgroup.WithContext(ctx)
	var next, done atomic.Int64
	var mu sync.Mutex
	for range min(b.o.Workers, len(windows)) {
		g.Go(func() error {
			s, all, err := b.scorer(models, alone{})
			if err != nil {
				return err
			}
			seen := &replay{vocab: b.cfg.Vocab}
			for i := int(next.Add(1)) - 1; i < len(windows); i = int(next.Add(1)) - 1 {
				ids := windows[i]
				s.Weights = all[0]
				if err := seen.record(within, s, ids[:len(ids)-1]); err != nil {
					return err
				}
				for k := range models {
					var run eval.Scorer = seen
					if k > 0 {
						s.Weights, run = all[k], s
					}
					if parts[k][i], err = eval.Perplexity(within, run, ids, eval.Options{Window: b.o.Window, Reference: seen}); err != nil {
						return err
					}
				}
				mu.Lock()
				b.o.Progress("eval", "", int(done.Add(int64(len(ids)))), len(b.o.Tokens))
				mu.Unlock()
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	out := make([]eval.Result, len(parts))
	for i := range parts {
		out[i] = eval.Merge(parts[i])
	}
	return out, nil
}

// alone is a pool of the calling goroutine.
type alone struct{}

// Workers returns 1.
func (alone) Workers() int { return 1 }

// For implements model.Pool.
func (alone) For(n int, f func(worker, i int)) {
	for i := range n {
		f(0, i)
	}
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

// scorer runs windows of tokens through the model whose weights it is given.
type scorer struct {
	llama.Weights
	*llama.Windows
}

// scorer returns one for the calling goroutine, and the weights of all models.
func (b *bench) scorer(models [][]factors, pool model.Pool) (*scorer, []*weights, error) {
	c := b.cfg
	// One scratch of a batch for all: products do not run side by side. Ranks were
	// filled up.
	scratch := make([]float32, b.o.Window*(max(c.Hidden, c.Intermediate, c.Heads*c.HeadDim)+8))
	all := make([]*weights, len(models))
	for i, f := range models {
		var err error
		if all[i], err = newWeights(b.base, f, pool, scratch); err != nil {
			return nil, nil, err
		}
	}
	s := &scorer{Weights: all[0]}
	m, err := llama.New(c, s, pool, llama.Options{MaxBatchTokens: b.o.Window, MaxContext: b.o.Window})
	if err != nil {
		return nil, nil, err
	}
	s.Windows, err = llama.NewWindows(m)
	return s, all, err
}

// times returns the median milliseconds of a token of each model, the models
// taking turns.
func (b *bench) times(ctx context.Context, models [][]factors) ([]float64, error) {
	pool := sched.New(b.o.Workers)
	defer pool.Close()
	s, weights, err := b.scorer(models, pool)
	if err != nil {
		return nil, err
	}
	all := make([][]float64, len(models))
	for turn := range b.o.Turns {
		for i := range models {
			s.Weights = weights[i]
			id := b.o.Tokens[turn%len(b.o.Tokens)]
			start := time.Now()
			err := s.Score(ctx, []int32{id}, func(int, []float32) error { return nil })
			all[i] = append(all[i], float64(time.Since(start).Microseconds())/1000)
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
