package engine

import (
	"time"

	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/model/sample"
)

// drawing shares rows of logits out over the workers: each draws for one
// sequence after another. The rows of one sequence come in order, and each request
// draws with its own seed and index, so it does not matter who draws.
type drawing struct {
	rows  []llama.Row
	first []int               // of rows: where each sequence begins, and the end
	one   func(worker, i int) // drawSeq, bound once
}

// drawRows implements llama.EmitRows.
func (e *Engine) drawRows(rows []llama.Row) error {
	d := &e.drawing
	d.rows, d.first = rows, d.first[:0]
	for i := range rows {
		if i == 0 || rows[i].Seq != rows[i-1].Seq {
			d.first = append(d.first, i)
		}
	}
	d.first = append(d.first, len(rows))
	e.m.pool.For(len(d.first)-1, d.one)
	d.rows = nil
	return nil
}

// drawSeq handles the rows at hand of one sequence.
func (e *Engine) drawSeq(_, i int) {
	d := &e.drawing
	for _, r := range d.rows[d.first[i]:d.first[i+1]] {
		j := e.inBatch[r.Seq]
		if j.err == nil {
			j.err = e.advance(j, r.Token, r.Logits)
		}
	}
}

// advance handles one row of logits of a request. It touches the request's own
// things and atomic counters alone.
func (e *Engine) advance(j *job, tok int, logits []float32) error {
	if j.chunk > 0 && j.req.PromptLogprobs {
		at := j.fed + tok // position that these logits follow
		if at == 0 {
			e.deliver(j, j.out.prompt(nil, 0))
		}
		if at+1 < len(j.req.Prompt) {
			info, err := sample.Logprobs(logits, j.req.Prompt[at+1], max(j.req.Logprobs, 0))
			if err != nil {
				return err
			}
			e.deliver(j, j.out.prompt(&info, at+1))
			return nil
		}
	}
	if j.req.MaxTokens == 0 || j.out.done || j.chunk == 0 && tok > j.right {
		return nil // nothing is wanted, or the row follows a guess that was wrong
	}
	info, err := j.out.sampler.Next(logits, j.req.Logprobs)
	if err != nil {
		return err
	}
	if j.first.IsZero() {
		j.first = time.Now()
	}
	e.stats.generated.Add(1)
	j.fresh = append(j.fresh, info.ID)
	if j.right < j.guesses && info.ID == j.feed[1+j.right] {
		j.right++
	}
	e.deliver(j, j.out.token(info))
	return nil
}
