package eval

import (
	"fmt"
	"math"

	"github.com/lamina-llm/lamina/internal/kern"
)

// NLL returns the negative natural logarithm of the probability that softmax
// of logits gives to token id. Logits must be finite.
func NLL(logits []float32, id int32) (float64, error) {
	if err := check(logits, id); err != nil {
		return 0, err
	}
	nll := newDistribution(logits).nll(id)
	if !finite(nll) {
		return 0, notFinite(logits, id)
	}
	return nll, nil
}

// prediction is what one row of logits gives, beside one of a reference.
type prediction struct {
	nll  float64 // of the token that came, in nats
	kl   float64 // KL(reference || model), in nats
	ref  float64 // nll of the reference
	same float64 // 1 if both find the same token likeliest (the first of equals), else 0
}

// compare returns what two predictions of the same token, id, say. Both must
// be finite and of one vocabulary. Equal logits have a divergence of exactly 0.
func compare(ref, got []float32, id int32) (prediction, error) {
	if len(ref) != len(got) {
		return prediction{}, fmt.Errorf("a vocabulary of %d is compared with one of %d", len(got), len(ref))
	}
	if err := check(got, id); err != nil {
		return prediction{}, err
	}
	r, g := newDistribution(ref), newDistribution(got)
	p := prediction{nll: g.nll(id), ref: r.nll(id)}
	// KL = sum of exp(r)/R * ((r - log R) - (g - log G)), with r and g counted
	// from their largest, so that nothing overflows.
	var block [256]float32
	sum := 0.0
	for first := 0; first < len(ref); first += len(block) {
		part := ref[first:min(first+len(block), len(ref))]
		kern.ExpInto(block[:len(part)], part, r.top)
		other := got[first:]
		for i, x := range part {
			sum += float64(block[i]) * ((float64(x) - float64(r.top)) - (float64(other[i]) - float64(g.top)))
		}
	}
	p.kl = sum/r.sum + (g.logSum - r.logSum)
	if r.arg == g.arg {
		p.same = 1
	}
	switch {
	case !finite(p.ref):
		return p, fmt.Errorf("reference: %w", notFinite(ref, id))
	case !finite(p.nll), !finite(p.kl):
		return p, notFinite(got, id)
	}
	return p, nil
}

// distribution is softmax of logits.
type distribution struct {
	logits []float32
	arg    int     // index of the largest
	top    float32 // the largest
	sum    float64 // of exp(logits - top)
	logSum float64 // ln(sum)
}

func newDistribution(logits []float32) distribution {
	d := distribution{logits: logits}
	d.arg, d.top = kern.MaxIndex(logits)
	// Sums of float32 stay short, so that their rounding stays below that of a
	// logit.
	var block [256]float32
	for rest := logits; len(rest) > 0; {
		n := min(len(block), len(rest))
		d.sum += float64(kern.ExpInto(block[:n], rest[:n], d.top))
		rest = rest[n:]
	}
	d.logSum = math.Log(d.sum)
	return d
}

// nll returns the negative logarithm of the probability of id.
func (d distribution) nll(id int32) float64 {
	return float64(d.top) + d.logSum - float64(d.logits[id])
}

func check(logits []float32, id int32) error {
	if id < 0 || int(id) >= len(logits) {
		return fmt.Errorf("token %d of a vocabulary of %d", id, len(logits))
	}
	return nil
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

func notFinite(logits []float32, id int32) error {
	return fmt.Errorf("logits are not finite (token %d has %v)", id, logits[id])
}
