// Package eval measures how well a model predicts a text: mean negative
// log-likelihood and perplexity over windows.
//
// It holds the arithmetic alone. It reads no file, knows no format and runs no
// model: logits come through [Scorer], tokens are the caller's. Perplexity
// runs in the calling goroutine and keeps nothing.
package eval

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/lamina-llm/lamina/internal/kern"
)

// DefaultWindow is the window length in tokens unless another is asked for.
const DefaultWindow = 512

// ErrOptions marks windows or texts that leave nothing to predict.
var ErrOptions = errors.New("eval: nothing to predict")

// Scorer runs a model over one window.
type Scorer interface {
	// Score runs ids, at least one, through a model that has seen nothing
	// before, and calls emit once for each of them in order with the logits
	// that predict the token after ids[i]. logits are valid until emit
	// returns. An error of emit ends Score and is returned.
	Score(ctx context.Context, ids []int32, emit func(i int, logits []float32) error) error
}

// Options says how a text is cut. The zero value works.
type Options struct {
	Window   int                   // tokens per window, at least 2; default DefaultWindow
	Progress func(done, total int) // called after every window with predicted tokens; may be nil
}

// Result is the outcome of a measurement.
type Result struct {
	NLL       float64   `json:"nll"`        // mean negative log-likelihood of a predicted token, nats
	PPL       float64   `json:"ppl"`        // exp(NLL)
	Tokens    int       `json:"tokens"`     // of the text
	Predicted int       `json:"predicted"`  // of these, those that were predicted
	Window    int       `json:"window"`     // tokens per window
	WindowNLL []float64 `json:"window_nll"` // mean of every window
}

// Perplexity cuts ids into windows without overlap and predicts every token of
// a window but the first from those before it in the window. No window knows
// of another. The last window may be shorter; a single token that remains is
// not predicted. Sums are kept in float64.
func Perplexity(ctx context.Context, m Scorer, ids []int32, o Options) (Result, error) {
	if o.Window == 0 {
		o.Window = DefaultWindow
	}
	if o.Window < 2 || len(ids) < 2 {
		return Result{}, fmt.Errorf("%w: %d tokens in windows of %d, want at least 2", ErrOptions, len(ids), o.Window)
	}
	if o.Progress == nil {
		o.Progress = func(int, int) {}
	}
	r := Result{Tokens: len(ids), Window: o.Window}
	total := len(ids) - (len(ids)+o.Window-1)/o.Window
	sum := 0.0
	for first := 0; len(ids)-first >= 2; first += o.Window {
		window := ids[first:min(first+o.Window, len(ids))]
		part, err := score(ctx, m, window)
		if err != nil {
			return Result{}, fmt.Errorf("eval: window at token %d: %w", first, err)
		}
		n := len(window) - 1
		sum += part
		r.Predicted += n
		r.WindowNLL = append(r.WindowNLL, part/float64(n))
		o.Progress(r.Predicted, total)
	}
	r.NLL = sum / float64(r.Predicted)
	r.PPL = math.Exp(r.NLL)
	return r, nil
}

// score returns the summed negative log-likelihood of window[1:].
func score(ctx context.Context, m Scorer, window []int32) (float64, error) {
	sum, next := 0.0, 0
	// Nothing asks what comes after the last token.
	err := m.Score(ctx, window[:len(window)-1], func(i int, logits []float32) error {
		if i != next || i >= len(window)-1 {
			return fmt.Errorf("logits of token %d came, want token %d of %d", i, next, len(window)-1)
		}
		next++
		nll, err := NLL(logits, window[i+1])
		sum += nll
		return err
	})
	if err == nil && next != len(window)-1 {
		err = fmt.Errorf("logits of %d tokens came, want %d", next, len(window)-1)
	}
	return sum, err
}

// NLL returns the negative natural logarithm of the probability that softmax
// of logits gives to token id. Logits must be finite.
func NLL(logits []float32, id int32) (float64, error) {
	if id < 0 || int(id) >= len(logits) {
		return 0, fmt.Errorf("token %d of a vocabulary of %d", id, len(logits))
	}
	_, top := kern.MaxIndex(logits)
	// Sums of float32 stay short, so that their rounding stays below that of a
	// logit.
	var block [256]float32
	sum := 0.0
	for rest := logits; len(rest) > 0; {
		n := min(len(block), len(rest))
		sum += float64(kern.ExpInto(block[:n], rest[:n], top))
		rest = rest[n:]
	}
	nll := float64(top) + math.Log(sum) - float64(logits[id])
	if math.IsNaN(nll) || math.IsInf(nll, 0) {
		return 0, fmt.Errorf("logits are not finite (token %d has %v)", id, logits[id])
	}
	return nll, nil
}
