package sample

// block is how many logits are turned into probabilities, added up and looked at
// at a time.
const block = 128

// blocks are probabilities in [0, 1], of which the largest is 1, in blocks. What
// top-k and top-p cut off is most of them, and most of it in whole blocks, whose
// largest probability says so.
type blocks struct {
	probs []float32
	sums  []float64 // of each block; where it is 0 there is nothing left; nil says nothing
}

// len returns the number of blocks.
func (p blocks) len() int { return (len(p.probs) + block - 1) / block }

// at returns the i-th block, or nothing if nothing is left of it.
func (p blocks) at(i int) []float32 {
	if p.sums != nil && p.sums[i] == 0 {
		return nil
	}
	return p.probs[i*block : min((i+1)*block, len(p.probs))]
}

// total returns the sum of all blocks.
func (p blocks) total() (sum float64) {
	for _, v := range p.sums {
		sum += v
	}
	return sum
}

// addUp adds up the blocks again.
func (p blocks) addUp() {
	for i := range p.sums {
		p.sums[i] = massOf(p.at(i))
	}
}

// fewer sets to zero the blocks whose maximum is below least.
func (p blocks) fewer(maxima []float32, least float32) {
	for i, v := range maxima {
		if v < least {
			clear(p.at(i))
			p.sums[i] = 0
		}
	}
}

// floor returns a probability such that those of at least as much add up to
// target; 0 if none was found that leaves out many blocks.
func (p blocks) floor(maxima []float32, target float64) float32 {
	for _, floor := range [...]float32{0x1p-8, 0x1p-14} {
		sum := 0.0
		for i, most := range maxima {
			if most < floor {
				continue
			}
			for _, v := range p.at(i) {
				if v >= floor {
					sum += float64(v)
				}
			}
		}
		if sum >= target {
			return floor
		}
	}
	return 0
}

// massOf returns the sum of probs, in four parts that do not wait for each other.
func massOf(probs []float32) float64 {
	var a, b, c, d float64
	for ; len(probs) >= 4; probs = probs[4:] {
		a += float64(probs[0])
		b += float64(probs[1])
		c += float64(probs[2])
		d += float64(probs[3])
	}
	for _, v := range probs {
		a += float64(v)
	}
	return (a + b) + (c + d)
}
