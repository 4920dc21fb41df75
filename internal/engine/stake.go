package engine

import (
	"slices"
	"time"
)

// How many guesses pay is estimated from what passes cost and how often guesses
// were right, and both estimates err. So guesses are also bets: a request has a
// purse, in passes, that begins nearly empty and gets a small part of every
// pass. It stakes the time that guesses may cost all requests of the batch,
// loses what they did cost, and wins a pass for each that is right. What is not
// in the purse cannot be staked, so whatever the estimates say a request is never
// slower by more than its income, and where guesses pay it soon has enough.

// purse is what a request may lose, in passes.
type purse float64

const (
	firstPurse purse = 0.35
	incomePart purse = 0.02 // of each pass
	mostPurse  purse = 4    // so that what was won once is not lost much later
)

// income is what a pass adds.
func (p *purse) income() { *p = min(*p+incomePart, mostPurse) }

// settle books a pass in which so many guesses were right. All guesses of the
// batch cost extra passes, of which a request loses its part of what was staked,
// and never more than its stake: beyond it a measurement says more about the
// machine.
func (p *purse) settle(right int, stake, staked, extra float64) {
	if staked > 0 {
		stake *= min(max(extra, 0)/staked, 1)
	}
	*p = min(*p+purse(right)-purse(stake), mostPurse)
}

// share is one request's part of the guesses of a pass.
type share struct {
	chance float64 // that a guess is right; 0 is none to offer
	most   int     // guesses allowed
	purse  float64 // what they may cost at most
	n      int     // guesses given
	stake  float64 // what they may cost, by a careful estimate
	next   float64 // chance that one more is reached and right
}

const (
	// probeEvery: of so many passes with guesses one does without.
	probeEvery = 64
	// stale: a cost that was not measured for so many passes is forgotten.
	stale = 512
	// samples is how many of the latest passes of a size count: the quickest of
	// them, since what disturbs a pass makes it longer.
	samples = 16
	// leastSamples is how many passes of a size are timed before its cost is known.
	leastSamples = 3
	// hope is what another row is assumed to cost, as a part of the first,
	// until it has been measured: so little that a guess as good as not is tried.
	hope = 3.0 / 16
	// fear is the same for a stake.
	fear = 1.0 / 4
	// leastGain: a guess less likely to be of use is not worth looking at.
	leastGain = 0.02
	// leastWin is how much faster guesses must promise to be: less is lost in
	// what estimates err.
	leastWin = 1.02
)

// costs knows what passes cost by their number of rows, from the latest passes
// in which every row's logits were wanted.
type costs struct {
	passes int64
	rows   [maxRows + 1]sizeCost
	guess  float64 // seconds of a drafter for one guess
}

// sizeCost is the cost of passes of one size.
type sizeCost struct {
	latest  [samples]float64 // seconds, in a ring
	n       int              // passes measured
	at      int64            // passes of all sizes when last measured
	seconds float64          // the least of the latest
}

// pass records a pass of n rows.
func (c *costs) pass(n int, d time.Duration) {
	c.passes++
	if n < 1 || n > maxRows {
		return
	}
	r := &c.rows[n]
	if r.n > 0 && c.passes-r.at > stale {
		*r = sizeCost{}
	}
	r.latest[r.n%samples] = d.Seconds()
	r.n++
	r.at = c.passes
	r.seconds = slices.Min(r.latest[:min(r.n, samples)])
}

// drafted records that n guesses took d.
func (c *costs) drafted(n int, d time.Duration) {
	if n > 0 {
		c.guess += (d.Seconds()/float64(n) - c.guess) / 8
	}
}

// known reports whether passes of n rows were measured often and lately enough.
func (c *costs) known(n int) bool {
	return n <= maxRows && c.rows[n].n >= leastSamples && c.passes-c.rows[n].at <= stale
}

// around returns the sizes that a pass of n rows is estimated from: the dearest
// known of up to n rows, and the cheapest known of more; 0 is none.
func (c *costs) around(n int) (below, above int) {
	for m := range c.rows {
		if !c.known(m) {
			continue
		}
		switch {
		case m <= n && (below == 0 || c.rows[m].seconds >= c.rows[below].seconds):
			below = m
		case m > n && (above == 0 || c.rows[m].seconds < c.rows[above].seconds):
			above = m
		}
	}
	return below, above
}

// of estimates a pass of n rows: on the line between the known neighbours, or
// by hope beyond the last of them. More rows never cost less. It returns 0
// if nothing is known.
func (c *costs) of(n int) float64 {
	below, above := c.around(n)
	switch {
	case below == 0 && above == 0:
		return 0
	case below == 0:
		return c.rows[above].seconds
	case below == n:
		return c.rows[n].seconds
	case above == 0:
		return c.rows[below].seconds * (1 + hope*float64(n-below)/float64(below))
	}
	lo, hi := c.rows[below].seconds, c.rows[above].seconds
	return lo + max(0, hi-lo)*float64(n-below)/float64(above-below)
}

// dear is of for a stake: beyond the last known size a row costs as much as one
// of the rows before, and no less than fear, of which each of base requests takes
// its part. base is the rows without guesses.
func (c *costs) dear(base, n int) float64 {
	below, above := c.around(n)
	if above != 0 || below >= n || below < base {
		return c.of(n)
	}
	row := 2 * fear / float64(base+1) * c.of(base)
	if below > base {
		row = max(row, (c.rows[below].seconds-c.of(base))/float64(below-base))
	}
	return c.rows[below].seconds + row*float64(n-below)
}

// extra returns what a pass of n rows, which has just been measured, costs more
// than one of base, in passes of the smaller size and summed over its base
// requests.
func (c *costs) extra(base, n int) float64 {
	one := c.of(base)
	if one == 0 {
		return 0
	}
	all := c.rows[n].seconds
	if c.known(n) {
		all = c.of(n)
	}
	return float64(base) * (all - one + c.guess*float64(n-base)) / one
}

// reach returns how many guesses a batch of base rows may be given: one more than
// twice as many as the largest size that is known has, so that the cost of many is
// not learnt by surprise.
func (c *costs) reach(base int) int {
	most := base
	for n := base; n < len(c.rows); n++ {
		if c.known(n) {
			most = n
		}
	}
	return 2*(most-base) + 1
}

// divide sets the n of every share, at most room in all, so that the expected
// tokens per second are the most that the purses allow, and returns their sum.
// The first guesses are the likeliest of use, so taking the best one again and
// again finds the best set of every size; the cost of a pass is no straight line,
// so all sizes are tried.
func (c *costs) divide(shares []share, room int) (total int) {
	rows := len(shares)
	base := c.of(rows)
	for i := range shares {
		shares[i].n, shares[i].stake, shares[i].next = 0, 0, shares[i].chance
	}
	if base == 0 || !c.known(rows) {
		return 0
	}
	tokens := float64(rows)
	var taken [maxRows]int
	var stakes [maxRows]float64
	best := tokens / base * leastWin
	for t := range min(room, maxRows, c.reach(rows)) {
		stake := float64(rows) * (max(0, c.dear(rows, rows+t+1)-c.dear(rows, rows+t)) + c.guess) / base
		pick := -1
		for i := range shares {
			s := &shares[i]
			if s.n < s.most && s.next > leastGain && s.stake+stake <= s.purse && (pick < 0 || s.next > shares[pick].next) {
				pick = i
			}
		}
		if pick < 0 {
			break
		}
		s := &shares[pick]
		tokens += s.next
		s.next *= s.chance
		s.n++
		s.stake += stake
		taken[t], stakes[t] = pick, stake
		if v := tokens / (c.of(rows+t+1) + c.guess*float64(t+1)); v > best {
			best, total = v, t+1
		}
	}
	// Give back what came after the best size.
	for i := range shares {
		shares[i].n, shares[i].stake = 0, 0
	}
	for t, i := range taken[:total] {
		shares[i].n++
		shares[i].stake += stakes[t]
	}
	return total
}
