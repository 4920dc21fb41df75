package codecs

import (
	"context"

	"github.com/lamina-llm/lamina/internal/eval"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/runtime/sched"
)

// perplexity runs the source in float32 over the text, its matrices replaced by
// what values returns; nil replaces none.
func (r *run) perplexity(ctx context.Context, values func(i int) ([]float32, error)) (eval.Result, error) {
	pool := sched.New(r.o.Workers)
	defer pool.Close()
	cfg := r.src.Config()
	w, err := llama.NewFloatWeights(ctx, cfg, r.reader(values), pool, false)
	if err != nil {
		return eval.Result{}, err
	}
	window := min(r.o.Window, cfg.MaxContext)
	m, err := llama.New(cfg, w, pool, llama.Options{MaxBatchTokens: window, MaxContext: window})
	if err != nil {
		return eval.Result{}, err
	}
	windows, err := llama.NewWindows(m)
	if err != nil {
		return eval.Result{}, err
	}
	return eval.Perplexity(ctx, windows, r.o.Tokens, eval.Options{Window: window})
}

// reader reads tensors of the source, or rows of replaced matrices.
func (r *run) reader(values func(i int) ([]float32, error)) llama.RowReader {
	if values == nil {
		return r.src.ReadRows
	}
	type part struct{ matrix, row int }
	parts := map[string]part{}
	for i, m := range r.mats {
		row := 0
		for _, name := range m.Parts {
			parts[name] = part{i, row}
			t, _ := r.src.Tensor(name)
			row += t.Rows
		}
	}
	// The tensors of a matrix are read one after another.
	last, matrix := -1, []float32(nil)
	return func(name string, row0, rows int, dst []float32) error {
		p, ok := parts[name]
		if !ok {
			return r.src.ReadRows(name, row0, rows, dst)
		}
		if p.matrix != last {
			var err error
			if matrix, err = values(p.matrix); err != nil {
				return err
			}
			last = p.matrix
		}
		cols := r.mats[p.matrix].Cols
		copy(dst, matrix[(p.row+row0)*cols:(p.row+row0+rows)*cols])
		return nil
	}
}
