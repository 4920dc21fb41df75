// Package quant chooses the integer levels that a coded matrix holds: the
// smallest sum of squared error and lambda times coded length, weight by
// weight in scalar mode, by a Viterbi search down each column with dependent
// quantisation.
//
// Values come in units of the step (the fine grid of both quantisers in mode
// DQ). The package allocates only in constructors; a Quantiser is used by one
// goroutine at a time.
package quant

import (
	"math"

	"github.com/lamina-llm/lamina/decode/rans"
)

// Lambda returns the factor between bits and squared error (in steps squared)
// at which a uniform quantiser of that mode works best: ln(2)/6 for scalar
// quantisation, where the distortion is 1/12, and 0.7*4*ln(2)/6 for dependent
// quantisation, whose quantisers are two fine steps wide (the factors of the
// ISO/IEC 15938-17 reference encoder).
func Lambda(m rans.Mode) float32 {
	if m == rans.DQ {
		return 0.7 * 4 * math.Ln2 / 6
	}
	return math.Ln2 / 6
}

// outlierBits is what an entry of the sparse list costs, about: two bytes of
// gap, one of value.
const outlierBits = 24

// Coder describes what levels may be and what they cost.
type Coder struct {
	Mode   rans.Mode
	Planes int
	Lambda float32
	bits   [2][rans.Alphabet]float32 // cost of a symbol in quantiser q; +Inf if it has no probability
	lo, hi int                       // codable level range, planes included
}

// NewCoder returns a coder for one class of tables: one table in scalar mode,
// two in mode DQ.
func NewCoder(mode rans.Mode, planes int, lambda float32, tables []rans.Table) *Coder {
	c := &Coder{Mode: mode, Planes: planes, Lambda: lambda}
	for q := range c.bits {
		f := &tables[min(q, len(tables)-1)]
		for s, n := range f.Freq {
			c.bits[q][s] = float32(math.Inf(1))
			if n > 0 {
				c.bits[q][s] = float32(8 - math.Log2(float64(n)) + float64(planes))
			}
		}
	}
	c.limits()
	return c
}

// Uniform returns a coder that does not know the probabilities yet: all
// symbols cost the same.
func Uniform(mode rans.Mode, planes int) *Coder {
	c := &Coder{Mode: mode, Planes: planes}
	c.limits()
	return c
}

// limits finds the largest symmetric range of levels that both quantisers code.
func (c *Coder) limits() {
	const mid = rans.Alphabet / 2
	ok := func(s int) bool {
		return !math.IsInf(float64(c.bits[0][s]), 1) && !math.IsInf(float64(c.bits[1][s]), 1)
	}
	lo, hi := mid, mid
	for lo > 0 && ok(lo-1) {
		lo--
	}
	for hi < rans.Alphabet-1 && ok(hi+1) {
		hi++
	}
	c.lo, c.hi = (lo-mid)<<c.Planes, (hi-mid+1)<<c.Planes-1
}

// Reach returns the largest magnitude, in steps, that levels of both signs reach.
func (c *Coder) Reach() float32 {
	k := min(-c.lo, c.hi)
	if c.Mode == rans.DQ {
		return float32(2*k - 1)
	}
	return float32(k)
}

// Bits returns the cost of an index in scalar mode.
func (c *Coder) Bits(index uint8) float32 { return c.bits[0][index>>c.Planes] }

// Split takes off v what the levels do not reach, if that is worth an entry in
// the sparse list, and returns it as a whole number of steps (0 if nothing).
func (c *Coder) Split(v float32) (rest float32, delta int32) {
	reach := c.Reach()
	over := max(v, -v) - reach
	if over*over <= c.Lambda*outlierBits || over <= 0.5 {
		return v, 0
	}
	d := float32(math.RoundToEven(float64(over)))
	if v < 0 {
		d = -d
	}
	return v - d, int32(d)
}

// Scalar chooses the level of v: index is k + 8*2^planes, rec what it stands for.
func (c *Coder) Scalar(v float32) (index uint8, rec float32) {
	zero := rans.Alphabet / 2 << c.Planes
	f := int(math.Floor(float64(v)))
	bestK, bestJ := 0, float32(math.Inf(1))
	for k := f; k <= f+1; k++ {
		q := min(max(k, c.lo), c.hi)
		d := v - float32(q)
		j := d*d + c.Lambda*c.bits[0][(q+zero)>>c.Planes]
		if j < bestJ {
			bestK, bestJ = q, j
		}
	}
	if c.Planes == 0 { // a level nearer to zero may be worth its saving
		for _, q := range [2]int{f - 1, f + 2} {
			if q < c.lo || q > c.hi || (q < 0) != (v < 0) && q != 0 {
				continue
			}
			d := v - float32(q)
			if j := d*d + c.Lambda*c.bits[0][q+zero]; j < bestJ {
				bestK, bestJ = q, j
			}
		}
	}
	return uint8(bestK + zero), float32(bestK)
}
