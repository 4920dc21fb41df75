package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/lamina-llm/lamina/internal/engine"
	"github.com/lamina-llm/lamina/internal/hub"
	"github.com/lamina-llm/lamina/internal/source"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/runtime/plan"
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
	r := &showReport{next: "lamina pack " + quoteArg(path) + " -o NAME.lamina --bits 3.5", Path: path, Format: string(s.Format()), Config: s.Config(), Chat: s.ChatTemplate() != ""}
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

// estimate plans the memory for what pack would make of a checkpoint.
func (c *showCmd) estimate(r *showReport) error {
	p, err := engine.Estimate(r.Config, c.Bits, engine.Options{RAM: int64(c.RAM), Context: c.Context, Threads: c.Threads, KV: engine.KV(c.KV), Serve: true})
	r.PlanBits = c.Bits
	switch {
	case err == nil:
		r.Plan = &p
	case errors.Is(err, plan.ErrTooSmall):
		r.PlanError = err.Error()
	default:
		return err
	}
	return nil
}

// remoteRef tells a name of the hub, or a URL, from a path: nothing of that name
// is here, and it is not written like a file's.
func remoteRef(path string) (hub.Ref, bool) {
	if _, err := os.Lstat(path); err == nil {
		return hub.Ref{}, false
	}
	ref, err := hub.ParseRef(path)
	if err != nil {
		return hub.Ref{}, false
	}
	return ref, ref.URL != "" || ref.File != "" || strings.Contains(path, "/") && !strings.HasSuffix(path, ".lamina") && !isCheckpoint(path)
}

// showRemote describes a model that is not here, from its configuration or
// header alone.
func showRemote(a *app, path string, ref hub.Ref) (*showReport, error) {
	dir, err := os.MkdirTemp("", "lamina-show-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	ctx, stop := a.untilSignal()
	defer stop()
	name, size, err := hub.Peek(ctx, ref, dir, hub.Options{Retrying: a.retrying})
	if err != nil {
		return nil, err
	}
	r := &showReport{}
	if strings.HasSuffix(name, ".gguf") {
		if r, err = showCheckpoint(name); err != nil {
			return nil, err
		}
	} else {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if r.Config, err = llama.ParseConfig(data); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		r.Format, r.Weights = string(source.Safetensors), configWeights(r.Config)
	}
	r.Path, r.Bytes, r.next = path, max(size, 0), "lamina pull "+quoteArg(path)
	return r, nil
}

// configWeights is the number of weights of a model of that configuration.
func configWeights(c llama.Config) int64 {
	h := int64(c.Hidden)
	n := h * (int64(c.QKV()) + int64(c.Heads*c.HeadDim) + 3*int64(c.Intermediate) + 2)
	n = int64(c.Layers)*n + h*(int64(c.Vocab)+1)
	if !c.Tied {
		n += h * int64(c.Vocab)
	}
	return n
}
