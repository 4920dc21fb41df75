package llama

import (
	"context"

	"github.com/lamina-llm/lamina/model/kv"
)

// Windows runs windows of tokens through a model, none of which knows of
// another. Like the model it is for one goroutine at a time.
type Windows struct {
	model *Model
	cache *kv.Pool
}

// NewWindows returns the windows of m, each at most a batch and a context long,
// with a cache on the Go heap for one of them.
func NewWindows(m *Model) (*Windows, error) {
	c, tokens := m.config, min(m.options.MaxBatchTokens, m.options.MaxContext)
	g := kv.Geometry{Layers: c.Layers, KVHeads: c.KVHeads, HeadDim: c.HeadDim, PageTokens: PageTokens(tokens)}
	cache, err := kv.New(g, make([]byte, g.PageBytes()))
	return &Windows{m, cache}, err
}

// Score runs ids, at least one, through a model that has seen nothing before,
// and calls emit with the logits after each of them, in order. logits are valid
// until emit returns. An error of emit ends Score and is returned.
func (w *Windows) Score(ctx context.Context, ids []int32, emit func(i int, logits []float32) error) error {
	seq, err := w.cache.NewSeq(len(ids))
	if err != nil {
		return err
	}
	defer seq.Close()
	return w.model.Forward(ctx, []Seq{{Tokens: ids, KV: seq, Want: All}}, func(_, i int, logits []float32) error {
		return emit(i, logits)
	})
}
