package llama

import (
	"context"

	"github.com/lamina-llm/lamina/model"
)

// Layer is one transformer block as the forward pass sees it. Matrices that
// share an input are one operator whose outputs stand one after another.
type Layer struct {
	AttnNorm []float32    // (Hidden)
	QKV      model.Linear // Hidden -> Heads*HeadDim queries, KVHeads*HeadDim keys, KVHeads*HeadDim values
	Out      model.Linear // Heads*HeadDim -> Hidden
	FFNNorm  []float32    // (Hidden)
	GateUp   model.Linear // Hidden -> Intermediate gates, Intermediate ups
	Down     model.Linear // Intermediate -> Hidden
}

// Head is the end of the model: the last norm and the projection to logits.
type Head struct {
	Norm   []float32    // (Hidden)
	Logits model.Linear // Hidden -> Vocab
}

// Weights gives a forward pass its parameters. Acquire and AcquireHead may
// block until the bytes are in memory; the caller calls release before it asks
// for the next one, so an implementation can stream layers through two slots.
// Layers are asked for in order, 0 to Layers-1, then the head, again and again.
type Weights interface {
	// Embed writes the embedding rows of ids: dst[t*Hidden : (t+1)*Hidden].
	Embed(ctx context.Context, dst []float32, ids []int32) error
	// Acquire returns layer i, valid until release is called.
	Acquire(ctx context.Context, i int) (l *Layer, release func(), err error)
	// AcquireHead returns the head, valid until release is called.
	AcquireHead(ctx context.Context) (h *Head, release func(), err error)
}
