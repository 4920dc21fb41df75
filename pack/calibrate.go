package pack

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/kv"
	"github.com/lamina-llm/lamina/model/llama"
)

// Calibration is text that stands for what the model will read. Error feedback
// then makes outputs on such text exact, not weights.
type Calibration struct {
	Name   string  // for the provenance
	Tokens []int32 // at least minCalibration
}

const (
	minCalibration = 64
	window         = 512     // tokens that see one another
	maxGrams       = 1 << 30 // bytes of statistics that are held
	maxHeld        = 1 << 30 // bytes of a float32 model that are held; a larger one is streamed
)

// calibrate runs the source model over the calibration text and gives every
// matrix of a layer the Gram matrix of its inputs.
func (p *packer) calibrate(ctx context.Context) error {
	c, cal := p.cfg, p.opt.Calibrate
	s := &statistics{pool: workers(p.opt.Workers), grams: map[int][4]*triangle{}}
	width := max(c.Hidden, c.Intermediate, c.Heads*c.HeadDim)
	if need := int64(c.Layers) * (2*triangleBytes(c.Hidden) + triangleBytes(c.Heads*c.HeadDim) + triangleBytes(c.Intermediate)); need > maxGrams {
		return fmt.Errorf("pack: calibrating this model takes %d MiB of statistics, at most %d MiB are held; pack without calibration", need>>20, maxGrams>>20)
	}
	span := min(window, c.MaxContext)
	s.scratch = make([]float32, span*width)
	var err error
	if s.FloatWeights, err = llama.NewFloatWeights(ctx, c, p.src.ReadRows, s.pool, llama.FloatBytes(c, false) > maxHeld); err != nil {
		return fmt.Errorf("pack: calibrate: %w", err)
	}
	m, err := llama.New(c, s, s.pool, llama.Options{MaxBatchTokens: span, MaxContext: span})
	if err != nil {
		return fmt.Errorf("pack: calibrate: %w", err)
	}
	geometry := kv.Geometry{Layers: c.Layers, KVHeads: c.KVHeads, HeadDim: c.HeadDim, PageTokens: span}
	cache, err := kv.New(geometry, make([]byte, geometry.PageBytes()))
	if err != nil {
		return fmt.Errorf("pack: calibrate: %w", err)
	}
	for first := 0; first < len(cal.Tokens); first += span {
		part := cal.Tokens[first:min(first+span, len(cal.Tokens))]
		seq, err := cache.NewSeq(len(part))
		if err == nil {
			err = m.Forward(ctx, []llama.Seq{{Tokens: part, KV: seq}}, nil)
			seq.Close()
		}
		if err != nil {
			return fmt.Errorf("pack: calibrate: %w", err)
		}
		p.opt.Progress(Progress{"calibrate", cal.Name, int64(first + len(part)), int64(len(cal.Tokens))})
	}
	for i := range c.Layers {
		for k, g := range s.grams[i] {
			p.mats[1+4*i+k].gram = g
		}
	}
	return nil
}

// statistics is a float32 model whose operators record their inputs.
type statistics struct {
	*llama.FloatWeights
	pool    model.Pool
	grams   map[int][4]*triangle // by layer: qkv, out, gate_up, down
	scratch []float32
}

// Acquire returns layer i with operators that record.
func (s *statistics) Acquire(ctx context.Context, i int) (*llama.Layer, func(), error) {
	layer, release, err := s.FloatWeights.Acquire(ctx, i)
	if err != nil {
		return nil, nil, err
	}
	own := *layer
	grams := s.grams[i]
	for k, l := range [4]*model.Linear{&own.QKV, &own.Out, &own.GateUp, &own.Down} {
		if grams[k] == nil {
			_, cols := (*l).Dims()
			grams[k] = newTriangle(cols)
		}
		*l = recorder{*l, s, grams[k]}
	}
	s.grams[i] = grams
	return &own, release, nil
}

// recorder is an operator that records its inputs.
type recorder struct {
	model.Linear
	s    *statistics
	gram *triangle
}

// Apply implements model.Linear.
func (r recorder) Apply(dst, x []float32, n int) error {
	r.gram.add(x, n, r.s.pool, r.s.scratch)
	return r.Linear.Apply(dst, x, n)
}

// workers is a pool that starts its goroutines anew for each loop.
type workers int

// Workers returns the number of goroutines.
func (w workers) Workers() int { return int(w) }

// For implements model.Pool.
func (w workers) For(n int, f func(worker, i int)) {
	var next atomic.Int64
	var wait sync.WaitGroup
	for worker := range min(int(w), n) {
		wait.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(worker, i)
			}
		})
	}
	wait.Wait()
}
