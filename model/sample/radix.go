package sample

import "math"

// A probability in [0, 1] has at most 30 significant bits as a float32, and
// its bits order like its value. They are decided in three rounds of ten.
const (
	digitBits = 10
	digits    = 1 << digitBits
)

// radix finds a threshold in a list of probabilities without sorting it: in
// each round, a histogram of the next ten bits says in which bucket the
// threshold lies.
type radix struct {
	counts [digits]int32
	totals [digits]float64
}

// measure is what a selection adds up.
type measure uint8

const (
	tokens measure = iota // one per token: top-k
	mass                  // its probability: top-p
)

// keep sets to zero all but the largest elements of probs: as few as have a
// total of at least target. Elements of probs are in [0, 1]; of equal
// ones the first are kept. Zeros count for nothing.
func (r *radix) keep(probs []float32, target float64, by measure) {
	above, prefix, equal := 0.0, uint32(0), int32(0)
	for shift := 2 * digitBits; shift >= 0; shift -= digitBits {
		clear(r.counts[:])
		clear(r.totals[:])
		for _, v := range probs {
			b := math.Float32bits(v)
			if b>>(shift+digitBits) != prefix || b == 0 {
				continue
			}
			i := b >> shift % digits
			r.counts[i]++
			if by == mass {
				r.totals[i] += float64(v)
			} else {
				r.totals[i]++
			}
		}
		i := digits - 1
		for ; i > 0 && above+r.totals[i] < target; i-- {
			above += r.totals[i]
		}
		prefix, equal = prefix<<digitBits|uint32(i), r.counts[i]
	}
	// All above the threshold stay, and as many of its equals as are needed.
	threshold := math.Float32frombits(prefix)
	each := 1.0
	if by == mass {
		each = float64(threshold)
	}
	if need := math.Ceil((target - above) / each); need < float64(equal) {
		equal = int32(need)
	}
	for i, v := range probs {
		switch {
		case v > threshold:
		case v == threshold && equal > 0:
			equal--
		default:
			probs[i] = 0
		}
	}
}
