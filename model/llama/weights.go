package llama

import (
	"context"
	"errors"
	"fmt"

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

// checkLayer reports the first part of a layer whose shape is not c's.
func (c *Config) checkLayer(l *Layer) error {
	return errors.Join(
		checkNorm("attention norm", l.AttnNorm, c.Hidden), checkLinear("qkv", l.QKV, c.QKV(), c.Hidden),
		checkLinear("out", l.Out, c.Hidden, c.Heads*c.HeadDim), checkNorm("ffn norm", l.FFNNorm, c.Hidden),
		checkLinear("gate and up", l.GateUp, 2*c.Intermediate, c.Hidden), checkLinear("down", l.Down, c.Hidden, c.Intermediate))
}

// checkHead is checkLayer for the head.
func (c *Config) checkHead(h *Head) error {
	return errors.Join(checkNorm("final norm", h.Norm, c.Hidden), checkLinear("head", h.Logits, c.Vocab, c.Hidden))
}

func checkNorm(name string, w []float32, n int) error {
	if len(w) != n {
		return fmt.Errorf("%s has %d elements, want %d", name, len(w), n)
	}
	return nil
}

func checkLinear(name string, l model.Linear, rows, cols int) error {
	if l == nil {
		return fmt.Errorf("%s is missing", name)
	}
	if r, k := l.Dims(); r != rows || k != cols {
		return fmt.Errorf("%s is %d x %d, want %d x %d", name, r, k, rows, cols)
	}
	return nil
}
