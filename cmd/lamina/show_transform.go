package main

import (
	"fmt"

	"github.com/lamina-llm/lamina/decode"
	"github.com/lamina-llm/lamina/weights"
)

// showTransform says how inputs of a tensor of codec "transform1" are
// transformed.
type showTransform struct {
	Kind  string `json:"kind"`  // "hadamard"
	Block int    `json:"block"` // elements that are transformed together
}

// describeTransform reads the description of a tensor of codec "transform1".
func describeTransform(f *weights.File, t *weights.Tensor) (*showTransform, error) {
	if len(t.Spans) < 2 {
		return nil, fmt.Errorf("%s: tensor %s: %d spans, want a description and a matrix", f.Name(), t.Name, len(t.Spans))
	}
	head := make([]byte, t.Spans[0].Len)
	if err := f.ReadSpan(head, t.Spans[0]); err != nil {
		return nil, err
	}
	x, err := decode.ParseTransform(t.Cols, head)
	if err != nil {
		return nil, fmt.Errorf("%s: tensor %s: %w", f.Name(), t.Name, err)
	}
	return &showTransform{"hadamard", x.Block()}, nil
}
