package sample

import (
	"fmt"
	"math"

	"github.com/lamina-llm/lamina/internal/kern"
	"github.com/lamina-llm/lamina/model"
)

// Logprobs returns the natural-log probability of token id under the softmax
// of logits, and the top likeliest tokens in falling order with theirs, equal
// ones in order of id. logits are not changed. The errors are those of
// [Sampler.Next].
func Logprobs(logits []float32, id int32, top int) (model.TokenInfo, error) {
	if id < 0 || int(id) >= len(logits) {
		return model.TokenInfo{}, fmt.Errorf("sample: token %d of %d", id, len(logits))
	}
	_, highest, err := maximum(logits)
	if err != nil {
		return model.TokenInfo{}, err
	}
	norm := logSumExp(logits, highest)
	info := model.TokenInfo{ID: id, Logprob: float32(float64(logits[id]) - norm)}
	if top = min(top, len(logits)); top > 0 {
		info.Top = likeliest(make([]model.TokenLogprob, 0, top), logits)
		for i := range info.Top {
			info.Top[i].Logprob = float32(float64(info.Top[i].Logprob) - norm)
		}
	}
	return info, nil
}

// logSumExp returns ln(sum exp(logits)), where highest is the largest logit.
// Short blocks keep the rounding of float32 sums below that of a logit.
func logSumExp(logits []float32, highest float32) float64 {
	var block [256]float32
	sum := 0.0
	for len(logits) > 0 {
		n := min(len(block), len(logits))
		sum += float64(kern.ExpInto(block[:n], logits[:n], highest))
		logits = logits[n:]
	}
	return float64(highest) + math.Log(sum)
}

// likeliest fills best to its capacity with the largest logits, in falling
// order, by insertion.
func likeliest(best []model.TokenLogprob, logits []float32) []model.TokenLogprob {
	for id, l := range logits {
		if len(best) == cap(best) {
			if l <= best[len(best)-1].Logprob {
				continue
			}
			best = best[:len(best)-1]
		}
		i := len(best)
		best = best[:i+1]
		for ; i > 0 && best[i-1].Logprob < l; i-- {
			best[i] = best[i-1]
		}
		best[i] = model.TokenLogprob{ID: int32(id), Logprob: l}
	}
	return best
}
