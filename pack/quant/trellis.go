package quant

import (
	"math"

	"github.com/lamina-llm/lamina/decode/rans"
)

// Trellis searches the 8-state machine of dependent quantisation for the best
// levels of one column.
type Trellis struct {
	choice []uint8   // per weight, one bit per state: which of its two predecessors won
	level  [][4]int8 // per weight, the candidate of each (quantiser, parity)
}

// arc is a transition into a state: from which state, and by which candidate
// (2*quantiser + parity).
type arc struct{ from, cand uint8 }

// into lists the two arcs that lead to each state, the inverse of the state
// transition table of H.266.
var into = [8][2]arc{
	{{0, 0}, {4, 1}}, {{2, 0}, {6, 1}}, {{0, 1}, {4, 0}}, {{2, 1}, {6, 0}},
	{{3, 3}, {7, 2}}, {{1, 3}, {5, 2}}, {{3, 2}, {7, 3}}, {{1, 2}, {5, 3}},
}

// Column chooses the levels of the column v, in fine steps, from the start
// state 0 on: index[i] receives k + 8*2^planes and rec[i], if rec is not nil,
// what it stands for. It returns the cost: squared error plus lambda * bits.
func (t *Trellis) Column(c *Coder, v []float32, index []uint8, rec []float32) float32 {
	return t.Classes([]*Coder{c}, nil, v, index, rec)
}

// Classes is Column for rows of several classes: coders[class[i]] codes row i.
// The coders share planes and lambda. With class nil all rows are of class 0.
func (t *Trellis) Classes(coders []*Coder, class []uint8, v []float32, index []uint8, rec []float32) float32 {
	c := coders[0]
	if cap(t.choice) < len(v) {
		t.choice, t.level = make([]uint8, len(v)), make([][4]int8, len(v))
	}
	choice, level := t.choice[:len(v)], t.level[:len(v)]
	inf := float32(math.Inf(1))
	cost := [8]float32{0, inf, inf, inf, inf, inf, inf, inf}
	base := float32(0) // subtracted from the costs now and then, so that they stay exact
	for i, x := range v {
		var j [4]float32
		if class != nil {
			c = coders[class[i]]
		}
		c.candidates(x, &level[i], &j)
		var now [8]float32
		bits := uint8(0)
		// The arcs of the table into, written out.
		step := func(s int, a, b float32) {
			if b < a {
				bits |= 1 << s
				a = b
			}
			now[s] = a
		}
		step(0, cost[0]+j[0], cost[4]+j[1])
		step(1, cost[2]+j[0], cost[6]+j[1])
		step(2, cost[0]+j[1], cost[4]+j[0])
		step(3, cost[2]+j[1], cost[6]+j[0])
		step(4, cost[3]+j[3], cost[7]+j[2])
		step(5, cost[1]+j[3], cost[5]+j[2])
		step(6, cost[3]+j[2], cost[7]+j[3])
		step(7, cost[1]+j[2], cost[5]+j[3])
		choice[i], cost = bits, now
		if i&63 == 63 {
			low := cost[0]
			for _, x := range cost[1:] {
				low = min(low, x)
			}
			for s := range cost {
				cost[s] -= low
			}
			base += low
		}
	}
	best := 0
	for s := range cost {
		if cost[s] < cost[best] {
			best = s
		}
	}
	total := base + cost[best]
	zero := rans.Alphabet / 2 << c.Planes
	for i, s := len(v)-1, best; i >= 0; i-- {
		a := into[s][choice[i]>>s&1]
		k := int(level[i][a.cand])
		index[i] = uint8(k + zero)
		if rec != nil {
			rec[i] = float32(c.value(k, int(a.cand>>1)))
		}
		s = int(a.from)
	}
	return total
}

// value returns what level k of quantiser q stands for, in fine steps.
func (c *Coder) value(k, q int) int {
	switch {
	case c.Planes > 0:
		return 2*k - q
	case k > 0:
		return 2*k - q
	case k < 0:
		return 2*k + q
	}
	return 0
}

// candidates finds, for each quantiser and parity, the cheapest level and its
// cost: the nearest one and the next one towards zero are tried.
func (c *Coder) candidates(x float32, level *[4]int8, cost *[4]float32) {
	if c.Planes > 0 {
		c.fine(x, level, cost)
		return
	}
	a, neg := x, false
	if x < 0 {
		a, neg = -x, true
	}
	const mid = rans.Alphabet / 2
	top := c.hi
	if neg {
		top = -c.lo
	}
	for q := range 2 {
		// Magnitudes m stand for 2m - q (0 for 0), so a is near m = (a+q)/2.
		m := int((a + float32(q)) * 0.5)
		for parity, k := range [2]int{(m + 1) &^ 1, m | 1} {
			for k > top {
				k -= 2
			}
			bestK, bestJ := 0, float32(math.Inf(1))
			for first := k; k >= max(0, first-2); k -= 2 {
				r, s := float32(2*k-q), mid+k
				if k == 0 {
					r = 0
				}
				if neg {
					s = mid - k
				}
				if j := (a-r)*(a-r) + c.Lambda*c.bits[q][s]; j < bestJ {
					bestK, bestJ = k, j
				}
			}
			if neg {
				bestK = -bestK
			}
			level[2*q+parity], cost[2*q+parity] = int8(bestK), bestJ
		}
	}
}

// fine is candidates with raw bit planes, where level k stands for 2k - q.
func (c *Coder) fine(x float32, level *[4]int8, cost *[4]float32) {
	zero := rans.Alphabet / 2 << c.Planes
	for q := range 2 {
		m := int(math.Floor(float64((x + float32(q)) * 0.5)))
		for _, k := range [4]int{m - 1, m, m + 1, m + 2} {
			i := 2*q + k&1
			if k == m-1 || k == m {
				cost[i] = float32(math.Inf(1))
			}
			k = c.clampParity(k)
			d := x - float32(2*k-q)
			if j := d*d + c.Lambda*c.bits[q][(k+zero)>>c.Planes]; j < cost[i] {
				level[i], cost[i] = int8(k), j
			}
		}
	}
}

// clampParity moves k into the codable range without changing its parity.
func (c *Coder) clampParity(k int) int {
	if k < c.lo {
		return c.lo + (k-c.lo)&1
	}
	if k > c.hi {
		return c.hi - (k-c.hi)&1
	}
	return k
}

// Walk follows the trellis along the levels of a column and calls f with the
// quantiser that codes each of them.
func Walk(index []uint8, f func(i, quantiser int)) {
	state := uint8(0)
	for i, u := range index {
		f(i, int(state&1))
		state = rans.Next[state][u&1]
	}
}
