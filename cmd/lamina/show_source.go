package main

import (
	"context"

	"github.com/lamina-llm/lamina/internal/source"
)

// typeBits is what one weight takes in the element types of checkpoints, block
// scales included (safetensors and ggml formats).
var typeBits = map[string]float64{
	"F32": 32, "F16": 16, "BF16": 16, "Q8_0": 8.5, "Q4_0": 4.5, "Q4_1": 5, "Q5_0": 5.5, "Q5_1": 6,
	"Q2_K": 2.625, "Q3_K": 3.4375, "Q4_K": 4.5, "Q5_K": 5.5, "Q6_K": 6.5625,
}

// showCheckpoint describes a source checkpoint.
func showCheckpoint(path string) (*showReport, error) {
	s, err := source.Open(path)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	r := &showReport{Path: path, Format: string(s.Format()), Config: s.Config(), Chat: s.ChatTemplate() != ""}
	for _, t := range s.Tensors() {
		n := int64(t.Rows) * int64(t.Cols)
		bits := typeBits[t.Type]
		r.Tensors = append(r.Tensors, showTensor{
			Name: t.Name, Rows: t.Rows, Cols: t.Cols, Codec: t.Type, Weights: n,
			Bits: bits, Bytes: int64(bits * float64(n) / 8),
		})
		r.Weights += n
	}
	from, err := s.Provenance(context.Background(), false, nil)
	if err != nil {
		return nil, err
	}
	for _, f := range from.Files {
		r.Bytes += f.Size
	}
	return r, nil
}
