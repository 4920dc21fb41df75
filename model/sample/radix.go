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

// keep sets to zero all but the largest probabilities: as few as have a total of
// at least target. Of equal ones the first are kept.
func (r *radix) keep(p blocks, target float64, by measure) {
	threshold, equal := r.threshold(p, target, by)
	for i := range p.len() {
		probs := p.at(i)
		for j, v := range probs {
			switch {
			case v > threshold:
			case v == threshold && equal > 0:
				equal--
			default:
				probs[j] = 0
			}
		}
	}
}

// threshold returns the smallest of the largest probabilities, as few as have a
// total of at least target, and how many that are equal to it are among them.
// Zeros count for nothing.
func (r *radix) threshold(p blocks, target float64, by measure) (threshold float32, equal int32) {
	above, prefix := 0.0, uint32(0)
	for shift := 2 * digitBits; shift >= 0; shift -= digitBits {
		clear(r.counts[:])
		clear(r.totals[:])
		for i := range p.len() {
			for _, v := range p.at(i) {
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
		}
		i := digits - 1
		for ; i > 0 && above+r.totals[i] < target; i-- {
			above += r.totals[i]
		}
		prefix, equal = prefix<<digitBits|uint32(i), r.counts[i]
	}
	threshold = math.Float32frombits(prefix)
	each := 1.0
	if by == mass {
		each = float64(threshold)
	}
	if need := math.Ceil((target - above) / each); need < float64(equal) {
		equal = int32(need)
	}
	return threshold, equal
}
