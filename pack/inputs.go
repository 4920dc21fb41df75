package pack

import (
	"context"
	"fmt"

	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/kv"
	"github.com/lamina-llm/lamina/model/llama"
)

// observeInputs runs the source model over the calibration text and gives every
// matrix of the layers the plain Gram matrix of its inputs, X^T X: every token
// counts the same, as in the papers on low rank. Calibrate, which packing uses,
// runs backward as well and weighs tokens by what errors of the outputs cost.
func (p *packer) observeInputs(ctx context.Context) error {
	c, cal := p.cfg, p.opt.Calibrate
	if need := int64(c.Layers) * (2*triangleBytes(c.Hidden) + triangleBytes(c.Heads*c.HeadDim) + triangleBytes(c.Intermediate)); need > maxGrams {
		return fmt.Errorf("pack: inputs of this model take %d MiB of statistics, at most %d MiB are held", need>>20, maxGrams>>20)
	}
	span := min(window, c.MaxContext)
	r := &recording{pool: workers(p.opt.Workers), grams: make([][4]*triangle, c.Layers)}
	var err error
	if r.FloatWeights, err = llama.NewFloatWeights(ctx, c, p.src.ReadRows, r.pool, llama.FloatBytes(c, false) > maxHeld); err != nil {
		return fmt.Errorf("pack: inputs: %w", err)
	}
	m, err := llama.New(c, r, r.pool, llama.Options{MaxBatchTokens: span, MaxContext: span})
	if err != nil {
		return fmt.Errorf("pack: inputs: %w", err)
	}
	geometry := kv.Geometry{Layers: c.Layers, KVHeads: c.KVHeads, HeadDim: c.HeadDim, PageTokens: llama.PageTokens(span)}
	cache, err := kv.New(geometry, make([]byte, geometry.PageBytes()))
	if err != nil {
		return fmt.Errorf("pack: inputs: %w", err)
	}
	for first := 0; first < len(cal.Tokens); first += span {
		part := cal.Tokens[first:min(first+span, len(cal.Tokens))]
		seq, err := cache.NewSeq(len(part))
		if err == nil {
			err = m.Forward(ctx, []llama.Seq{{Tokens: part, KV: seq}}, nil)
			seq.Close()
		}
		if err != nil {
			return fmt.Errorf("pack: inputs: %w", err)
		}
		p.opt.Progress(Progress{"calibrate", cal.Name, int64(first + len(part)), int64(len(cal.Tokens))})
	}
	for i := range r.grams {
		for k, g := range r.grams[i] {
			g.scale(1 / float64(len(cal.Tokens)))
			p.mats[1+4*i+k].gram = g
		}
	}
	return nil
}

// recording is a float32 model whose operators record what they are given.
type recording struct {
	*llama.FloatWeights
	pool    model.Pool
	grams   [][4]*triangle // by layer: qkv, out, gate_up, down
	columns columns
}

// Acquire returns layer i with operators that record.
func (r *recording) Acquire(ctx context.Context, i int) (*llama.Layer, func(), error) {
	layer, release, err := r.FloatWeights.Acquire(ctx, i)
	if err != nil {
		return nil, nil, err
	}
	own := *layer
	for k, l := range [4]*model.Linear{&own.QKV, &own.Out, &own.GateUp, &own.Down} {
		if r.grams[i][k] == nil {
			_, cols := (*l).Dims()
			r.grams[i][k] = newTriangle(cols)
		}
		*l = recorder{*l, r, r.grams[i][k]}
	}
	return &own, release, nil
}

// recorder is an operator that records its inputs.
type recorder struct {
	model.Linear
	in   *recording
	gram *triangle
}

// Apply implements model.Linear.
func (r recorder) Apply(dst, x []float32, n int) error {
	r.gram.add(x, n, r.in.pool, &r.in.columns)
	return r.Linear.Apply(dst, x, n)
}
