package llama

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/kv"
)

// faulty passes calls on until one is due to fail.
type faulty struct {
	Weights
	layer  int // Acquire of this layer fails; Layers is the head
	err    error
	cancel context.CancelFunc // called at this layer instead, if set
	held   int                // layers acquired and not released
}

func (f *faulty) Acquire(ctx context.Context, i int) (*Layer, func(), error) {
	if i == f.layer {
		if f.cancel == nil {
			return nil, nil, f.err
		}
		f.cancel()
	}
	l, release, err := f.Weights.Acquire(ctx, i)
	f.held++
	return l, func() { f.held--; release() }, err
}

func (f *faulty) AcquireHead(ctx context.Context) (*Head, func(), error) {
	if f.layer < 0 {
		return nil, nil, f.err
	}
	h, release, err := f.Weights.AcquireHead(ctx)
	f.held++
	return h, func() { f.held--; release() }, err
}

// TestForwardErrors checks that every failure is reported as what it is and
// leaves the caches as they were, ready to go on.
func TestForwardErrors(t *testing.T) {
	v := tinyModels(t)[0]
	c, w := v.config, v.weights(t, model.Serial{}, false)
	broken := errors.New("broken")
	ctx, cancel := context.WithCancelCause(t.Context())
	other := c
	other.Layers++
	emit := func(int, int, []float32) error { return nil }
	for _, test := range []struct {
		name    string
		weights faulty
		seqs    func(a, b *kv.Seq) []Seq
		emit    Emit
		want    error
	}{
		{name: "layer", weights: faulty{layer: 1, err: broken}, want: broken},
		{name: "head", weights: faulty{layer: -1, err: broken}, want: broken},
		{name: "cancel", weights: faulty{layer: 0, cancel: func() { cancel(broken) }}, want: broken},
		{name: "emit", weights: faulty{layer: 99}, emit: func(int, int, []float32) error { return broken }, want: broken},
		{name: "no emit", weights: faulty{layer: 99}, emit: Emit(nil), want: model.ErrInvalid},
		{name: "vocabulary", weights: faulty{layer: 99}, want: model.ErrInvalid,
			seqs: func(a, b *kv.Seq) []Seq { return []Seq{{Tokens: []int32{1}, KV: a}, {Tokens: []int32{256}, KV: b}} }},
		{name: "negative", weights: faulty{layer: 99}, want: model.ErrInvalid,
			seqs: func(a, b *kv.Seq) []Seq { return []Seq{{Tokens: []int32{1}, KV: a}, {Tokens: []int32{-1}, KV: b}} }},
		{name: "empty", weights: faulty{layer: 99}, want: model.ErrInvalid,
			seqs: func(a, b *kv.Seq) []Seq { return []Seq{{Tokens: []int32{1}, KV: a}, {KV: b}} }},
		{name: "no cache", weights: faulty{layer: 99}, want: model.ErrInvalid,
			seqs: func(a, b *kv.Seq) []Seq { return []Seq{{Tokens: []int32{1}, KV: a}, {Tokens: []int32{1}}} }},
		{name: "wrong cache", weights: faulty{layer: 99}, want: model.ErrInvalid,
			seqs: func(a, b *kv.Seq) []Seq { return []Seq{{Tokens: []int32{1}, KV: newSeq(t, other, 8, 0)}} }},
		{name: "batch", weights: faulty{layer: 99}, want: model.ErrInvalid,
			seqs: func(a, b *kv.Seq) []Seq {
				return []Seq{{Tokens: make([]int32, 5), KV: a}, {Tokens: make([]int32, 4), KV: b}}
			}},
		{name: "context", weights: faulty{layer: 99}, want: model.ErrContextLength,
			seqs: func(a, b *kv.Seq) []Seq { return []Seq{{Tokens: make([]int32, 8), KV: a}} }},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := &test.weights
			f.Weights = w
			m := newModel(t, c, f, model.Serial{}, Options{MaxBatchTokens: 8, MaxContext: 9})
			good := newModel(t, c, w, model.Serial{}, Options{})
			a, b := newSeq(t, c, 32, 16), newSeq(t, c, 32, 16)
			forward(t, good, a, []int32{1, 2}, None)
			batch := []Seq{{Tokens: []int32{3}, KV: a, Want: Last}, {Tokens: []int32{4, 5}, KV: b, Want: All}, {Tokens: []int32{6}, KV: a, Want: Last}}
			if test.seqs != nil {
				batch = test.seqs(a, b)
			}
			take := emit
			if test.name == "emit" || test.name == "no emit" {
				take = test.emit
			}
			var run context.Context = t.Context()
			if f.cancel != nil {
				run = ctx
			}
			if err := m.Forward(run, batch, take); !errors.Is(err, test.want) {
				t.Errorf("error is %v, want %v", err, test.want)
			}
			if a.Len() != 2 || b.Len() != 0 || f.held != 0 {
				t.Errorf("afterwards the caches hold %d and %d tokens, %d layers are held, want 2, 0, 0", a.Len(), b.Len(), f.held)
			}
		})
	}
	m := newModel(t, c, w, model.Serial{}, Options{})
	if err := m.Forward(t.Context(), nil, nil); err != nil {
		t.Errorf("empty batch: %v", err)
	}
	full := newSeq(t, c, 4, 16)
	if err := m.Forward(t.Context(), []Seq{{Tokens: make([]int32, 17), KV: full}}, nil); err == nil || full.Len() != 0 {
		t.Errorf("a batch beyond the reservation: %v, %d tokens", err, full.Len())
	}
}

// misshapen returns a layer or head with a wrong shape.
type misshapen struct {
	Weights
	layer func(*Layer)
	head  func(*Head)
}

func (m misshapen) Acquire(ctx context.Context, i int) (*Layer, func(), error) {
	l, release, err := m.Weights.Acquire(ctx, i)
	l = new(*l)
	m.layer(l)
	return l, release, err
}

func (m misshapen) AcquireHead(ctx context.Context) (*Head, func(), error) {
	h, release, err := m.Weights.AcquireHead(ctx)
	h = new(*h)
	m.head(h)
	return h, release, err
}

func TestForwardShapes(t *testing.T) {
	v := tinyModels(t)[0]
	w := v.weights(t, model.Serial{}, false)
	keep, keepHead := func(*Layer) {}, func(*Head) {}
	for want, bad := range map[string]misshapen{
		"attention norm has 1 elements": {w, func(l *Layer) { l.AttnNorm = l.AttnNorm[:1] }, keepHead},
		"ffn norm has 0 elements":       {w, func(l *Layer) { l.FFNNorm = nil }, keepHead},
		"qkv is missing":                {w, func(l *Layer) { l.QKV = nil }, keepHead},
		"out is 288 x 64":               {w, func(l *Layer) { l.Out = l.GateUp }, keepHead},
		"gate and up is 64 x 64":        {w, func(l *Layer) { l.GateUp = l.Out }, keepHead},
		"down is 128 x 64":              {w, func(l *Layer) { l.Down = l.QKV }, keepHead},
		"final norm has 2 elements":     {w, keep, func(h *Head) { h.Norm = h.Norm[:2] }},
		"head is missing":               {w, keep, func(h *Head) { h.Logits = nil }},
	} {
		m := newModel(t, v.config, bad, model.Serial{}, Options{})
		err := m.Forward(t.Context(), []Seq{{Tokens: []int32{1}, KV: newSeq(t, v.config, 8, 0), Want: Last}}, func(int, int, []float32) error { return nil })
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want %q", err, want)
		}
	}
}

func TestNewChecksOptions(t *testing.T) {
	v := tinyModels(t)[0]
	w := v.weights(t, model.Serial{}, false)
	need := ScratchBytes(v.config, Options{MaxBatchTokens: 4}) / 4
	if _, err := New(v.config, w, model.Serial{}, Options{MaxBatchTokens: 4, Scratch: make([]float32, need-1)}); err == nil {
		t.Error("New took too little scratch")
	}
	scratch := make([]float32, need)
	for i := range scratch {
		scratch[i] = 1e30 // stale contents must not matter
	}
	m := newModel(t, v.config, w, model.Serial{}, Options{MaxBatchTokens: 4, Scratch: scratch})
	want := forward(t, newModel(t, v.config, w, model.Serial{}, Options{}), newSeq(t, v.config, 8, 0), []int32{5, 6, 7, 8}, All)
	got := forward(t, m, newSeq(t, v.config, 8, 0), []int32{5, 6, 7, 8}, All)
	for i := range want {
		if !slices.Equal(got[i], want[i]) {
			t.Errorf("logits %d depend on the scratch", i)
		}
	}
	if o := newModel(t, v.config, w, model.Serial{}, Options{MaxBatchTokens: 3, MaxContext: 1 << 30}).Options(); o.LogitRows != 3 || o.MaxContext != v.config.MaxContext {
		t.Errorf("options are %+v", o)
	}
	for _, bad := range []Options{{MaxBatchTokens: -1}, {MaxBatchTokens: maxBatchTokens + 1}, {MaxContext: -1}, {LogitRows: -1}} {
		if _, err := New(v.config, w, model.Serial{}, bad); err == nil {
			t.Errorf("New took %+v", bad)
		}
	}
	if _, err := New(Config{}, w, model.Serial{}, Options{}); err == nil {
		t.Error("New took an empty configuration")
	}
}

// TestForwardAllocates checks that a step of decoding allocates nothing.
func TestForwardAllocates(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	v := tinyModels(t)[2]
	m := newModel(t, v.config, v.weights(t, model.Serial{}, false), model.Serial{}, Options{})
	batch := []Seq{
		{Tokens: []int32{1}, KV: newSeq(t, v.config, 128, 0), Want: Last},
		{Tokens: []int32{2, 3, 4}, KV: newSeq(t, v.config, 128, 0), Want: All},
	}
	emit := func(_, _ int, logits []float32) error { return nil }
	allocs := testing.AllocsPerRun(20, func() {
		if err := m.Forward(context.Background(), batch, emit); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 0 {
		t.Errorf("a step allocates %v times", allocs)
	}
}

func TestFloatWeights(t *testing.T) {
	broken := errors.New("broken")
	for _, v := range tinyModels(t) {
		c := v.config
		for _, stream := range []bool{false, true} {
			total, reads := int64(0), map[string]int64{}
			read := func(name string, row0, rows int, dst []float32) error {
				total += 4 * int64(len(dst))
				reads[name] += int64(len(dst))
				return v.read(name, row0, rows, dst)
			}
			w, err := NewFloatWeights(t.Context(), c, read, model.Serial{}, stream)
			if err != nil {
				t.Fatal(err)
			}
			if stream != (total == 0) || !stream && total != FloatBytes(c, false) {
				t.Errorf("%s, stream %v: %d bytes read at first, FloatBytes is %d", v.Name, stream, total, FloatBytes(c, false))
			}
			if _, has := reads["lm_head.weight"]; !stream && has == c.Tied {
				t.Errorf("%s: lm_head.weight read: %v, tied: %v", v.Name, has, c.Tied)
			}
			if err := w.Embed(t.Context(), make([]float32, c.Hidden), []int32{int32(c.Vocab)}); !errors.Is(err, model.ErrInvalid) {
				t.Errorf("embedding beyond the vocabulary: %v", err)
			}
			if _, _, err := w.Acquire(t.Context(), c.Layers); err == nil {
				t.Error("there is a layer too many")
			}
		}
		// Each tensor that cannot be read is an error, at once or when streamed.
		names := []string{"model.embed_tokens.weight", "model.norm.weight", "model.layers.1.mlp.up_proj.weight", "model.layers.0.input_layernorm.weight"}
		if !c.Tied {
			names = append(names, "lm_head.weight")
		}
		for _, bad := range names {
			read := func(name string, row0, rows int, dst []float32) error {
				if name == bad {
					return fmt.Errorf("%s: %w", name, broken)
				}
				return v.read(name, row0, rows, dst)
			}
			if _, err := NewFloatWeights(t.Context(), c, read, model.Serial{}, false); !errors.Is(err, broken) {
				t.Errorf("without %s: %v", bad, err)
			}
			w, err := NewFloatWeights(t.Context(), c, read, model.Serial{}, true)
			if err != nil {
				t.Fatal(err)
			}
			m := newModel(t, c, w, model.Serial{}, Options{})
			err = m.Forward(t.Context(), []Seq{{Tokens: []int32{1}, KV: newSeq(t, c, 8, 0), Want: Last}}, func(int, int, []float32) error { return nil })
			if !errors.Is(err, broken) {
				t.Errorf("streamed without %s: %v", bad, err)
			}
		}
	}
}
