// Package eval measures how well a model predicts a text (mean negative
// log-likelihood and perplexity over windows) and how far it is from a
// reference that reads the same text: KL divergence and top-1 agreement. It
// also reads multiple-choice questions and says what a model chose.
//
// It holds the arithmetic alone. It opens no file and runs no model: logits
// come through [Scorer], tokens are the caller's. Measurements run in the
// calling goroutine (a reference in a coroutine of it) and keep nothing.
package eval

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
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
	Window    int                   // tokens per window, at least 2; default DefaultWindow
	Progress  func(done, total int) // called after every window with predicted tokens; may be nil
	Reference Scorer                // what the model is compared with; may be nil
}

// Result is the outcome of a measurement. What compares with a reference is
// nil without one.
type Result struct {
	NLL       float64   `json:"nll"`                     // mean negative log-likelihood of a predicted token, nats
	PPL       float64   `json:"ppl"`                     // exp(NLL)
	Tokens    int       `json:"tokens"`                  // of the text
	Predicted int       `json:"predicted"`               // of these, those that were predicted
	Window    int       `json:"window"`                  // tokens per window
	KL        *float64  `json:"kl,omitempty"`            // mean KL(reference || model) of a prediction, nats
	Top1      *float64  `json:"top1,omitempty"`          // part of the predictions whose likeliest token is the reference's, 0 to 1
	RefNLL    *float64  `json:"reference_nll,omitempty"` // NLL of the reference
	RefPPL    *float64  `json:"reference_ppl,omitempty"` // exp(RefNLL)
	WindowNLL []float64 `json:"window_nll,omitempty"`    // mean of every window
	WindowKL  []float64 `json:"window_kl,omitempty"`     // likewise
}

// Perplexity cuts ids into windows without overlap and predicts every token of
// a window but the first from those before it in the window. No window knows
// of another. The last window may be shorter; a single token that remains is
// not predicted. Sums are kept in float64.
//
// With a reference both models walk through a window together, one row of
// logits of each at a time.
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
	total := Predictions(len(ids), o.Window)
	var sum sums
	for first := 0; len(ids)-first >= 2; first += o.Window {
		window := ids[first:min(first+o.Window, len(ids))]
		part, err := score(ctx, m, o.Reference, window)
		if err != nil {
			return Result{}, fmt.Errorf("eval: window at token %d: %w", first, err)
		}
		n := float64(len(window) - 1)
		sum.add(part)
		r.Predicted += len(window) - 1
		r.WindowNLL = append(r.WindowNLL, part.nll/n)
		if o.Reference != nil {
			r.WindowKL = append(r.WindowKL, part.kl/n)
		}
		o.Progress(r.Predicted, total)
	}
	r.set(sum, o.Reference != nil)
	return r, nil
}

// Predictions returns how many of n tokens are predicted in windows of the
// given length, which is at least 2.
func Predictions(n, window int) int { return n - (n+window-1)/window }

// Merge sums up the measurements of several texts, which must have been taken
// alike, as if they were one: every prediction counts the same.
func Merge(parts []Result) Result {
	var r Result
	var sum sums
	for _, p := range parts {
		r.Window = p.Window
		r.Tokens += p.Tokens
		r.Predicted += p.Predicted
		r.WindowNLL = append(r.WindowNLL, p.WindowNLL...)
		r.WindowKL = append(r.WindowKL, p.WindowKL...)
		n := float64(p.Predicted)
		part := sums{nll: p.NLL * n}
		if p.KL != nil {
			part = sums{p.NLL * n, *p.KL * n, *p.RefNLL * n, *p.Top1 * n}
		}
		sum.add(part)
	}
	r.set(sum, len(parts) > 0 && parts[0].KL != nil)
	return r
}

// sums adds up what predictions gave.
type sums struct{ nll, kl, ref, same float64 }

func (s *sums) add(o sums) {
	s.nll, s.kl, s.ref, s.same = s.nll+o.nll, s.kl+o.kl, s.ref+o.ref, s.same+o.same
}

// set fills in the means.
func (r *Result) set(s sums, compared bool) {
	n := float64(r.Predicted)
	r.NLL = s.nll / n
	r.PPL = math.Exp(r.NLL)
	if compared {
		kl, same, ref := s.kl/n, s.same/n, s.ref/n
		ppl := math.Exp(ref)
		r.KL, r.Top1, r.RefNLL, r.RefPPL = &kl, &same, &ref, &ppl
	}
}

// score returns the sums over the predictions of window[1:]. ref may be nil.
func score(ctx context.Context, m, ref Scorer, window []int32) (s sums, err error) {
	// Nothing asks what comes after the last token.
	ids := window[:len(window)-1]
	next := func() ([]float32, bool) { return nil, false }
	var refErr error
	if ref != nil {
		var stop func()
		next, stop = iter.Pull(func(yield func([]float32) bool) {
			refErr = inOrder(ctx, ref, ids, func(_ int, logits []float32) error {
				if !yield(logits) {
					return errStopped
				}
				return nil
			})
		})
		defer stop() // the reference's pass ends, whatever happens here
	}
	err = inOrder(ctx, m, ids, func(i int, logits []float32) error {
		var p prediction
		var err error
		if ref == nil {
			p.nll, err = NLL(logits, window[i+1])
		} else if other, ok := next(); ok {
			p, err = compare(other, logits, window[i+1])
		} else {
			return fmt.Errorf("reference: %w", refErr)
		}
		s.add(sums(p))
		return err
	})
	if err != nil || ref == nil {
		return s, err
	}
	if next(); refErr != nil { // what it says after its last row
		err = fmt.Errorf("reference: %w", refErr)
	}
	return s, err
}

// errStopped ends the pass of a reference that nobody reads any more.
var errStopped = errors.New("stopped")

// inOrder is m.Score, checked to emit logits for each of ids in order.
func inOrder(ctx context.Context, m Scorer, ids []int32, emit func(i int, logits []float32) error) error {
	next := 0
	err := m.Score(ctx, ids, func(i int, logits []float32) error {
		if i != next || i >= len(ids) {
			return fmt.Errorf("logits of token %d came, want token %d of %d", i, next, len(ids))
		}
		next++
		return emit(i, logits)
	})
	if err == nil && next != len(ids) {
		err = fmt.Errorf("logits of %d tokens came, want %d", next, len(ids))
	}
	return err
}
