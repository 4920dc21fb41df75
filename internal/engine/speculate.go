package engine

import (
	"context"
	"time"

	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/llama"
)

// Speculation: a pass over the weights costs little more for a few rows than
// for one, so a generating request may be given guesses of its next tokens to
// check in the same pass (Leviathan et al., arXiv 2211.17192). Checking is
// exact: every token is drawn by the request's own sampler from the model's
// own logits, in order, and a guess only decides whether the row after it was
// computed already. With and without guesses a request gets the same tokens.

// Speculation says whether generating requests are given guesses to check.
// Anything but the three modes counts as SpeculateAuto.
type Speculation string

// The modes.
const (
	SpeculateAuto Speculation = "auto" // as many as pay, by measured cost and acceptance
	SpeculateOn   Speculation = "on"   // whenever there are any, up to onGuesses
	SpeculateOff  Speculation = "off"  // never
)

// drafter guesses how one request goes on. It is the engine loop's alone.
type drafter interface {
	// extend appends tokens that are certain: the prompt first, then what was
	// generated. A drafter judges its own guesses by them.
	extend(ids ...int32)
	// chance estimates the probability that the next guess is right, and each
	// one after it if all before it are; 0 if there is none to offer.
	chance() float64
	// propose appends up to n guesses to dst, in order. Fewer are no error.
	propose(ctx context.Context, dst []int32, n int) []int32
	// close gives back what the drafter holds.
	close()
}

const (
	maxGuesses = 24 // of one request in one pass
	onGuesses  = 7  // the same in mode "on"
	maxRows    = 32 // of a pass with guesses; with more the batch counts as full
)

// speculator decides how many guesses a pass checks. The loop's own.
type speculator struct {
	mode Speculation
	// newDrafter makes the drafter of a request, which ends with it.
	newDrafter func(r model.Request) drafter

	costs  costs
	shares []share // reused
	skip   int     // passes with guesses since the last one that left them out
}

// draft adds guesses to a batch in which every request generates, as many as
// pay, and returns the number of rows that it added. room is what the batch
// still holds.
func (e *Engine) draft(room int) int {
	s := &e.spec
	rows := len(e.batch)
	room = min(room, maxRows-rows)
	if s.mode == SpeculateOff || rows == 0 || room <= 0 {
		return 0
	}
	s.shares = s.shares[:0]
	offered := false
	for _, j := range e.inBatch {
		// A pass yields one token more than guesses were right.
		most := min(maxGuesses, j.req.MaxTokens-j.out.count-1, eventRoom-3-len(j.events))
		p := 0.0
		if most > 0 {
			p = min(j.drafter.chance(), 0.98)
		}
		offered = offered || p > 0
		s.shares = append(s.shares, share{chance: p, most: most})
	}
	if !offered {
		return 0
	}
	total := 0
	switch {
	case s.mode == SpeculateOn:
		for i := range s.shares {
			if sh := &s.shares[i]; sh.chance > 0 {
				sh.n = min(onGuesses, sh.most, room-total)
				total += max(sh.n, 0)
			}
		}
	case s.skip >= probeEvery:
		s.skip = 0 // what a pass without guesses costs must not grow stale
	default:
		total = s.costs.divide(s.shares, room)
	}
	if total == 0 {
		return 0
	}
	s.skip++
	start, added := time.Now(), 0
	for i, j := range e.inBatch {
		if n := s.shares[i].n; n > 0 {
			j.feed = j.drafter.propose(e.ctx, j.feed, n)
			j.feed = j.feed[:min(len(j.feed), 1+n)]
			j.guesses = len(j.feed) - 1
			added += j.guesses
			e.batch[i].Tokens, e.batch[i].Want = j.feed, llama.All
		}
	}
	s.costs.drafted(added, time.Since(start))
	e.stats.guessed.Add(int64(added))
	return added
}

// settle ends a pass for a generating request: the cache forgets the guesses
// that were wrong, and the drafter hears what came.
func (e *Engine) settle(j *job) error {
	if wrong := j.guesses - j.right; wrong > 0 {
		if err := j.seq.Truncate(j.seq.Len() - wrong); err != nil {
			return err
		}
	}
	e.stats.guessedRight.Add(int64(j.right))
	j.guesses, j.right = 0, 0
	if len(j.fresh) == 0 {
		return nil
	}
	if e.spec.mode != SpeculateOff {
		if j.drafter == nil {
			j.drafter = e.spec.newDrafter(j.req)
			j.drafter.extend(j.req.Prompt...)
		}
		j.drafter.extend(j.fresh...)
	}
	j.said = append(j.said, j.fresh...)
	j.feed = append(j.feed[:0], j.fresh[len(j.fresh)-1])
	j.fresh = j.fresh[:0]
	return nil
}

// share is one request's part of the guesses of a pass.
type share struct {
	chance float64 // that a guess is right; 0 is none to offer
	most   int     // guesses allowed
	n      int     // guesses given
	next   float64 // chance that one more is reached and right
}

const (
	// probeEvery: of so many passes with guesses one does without.
	probeEvery = 64
	// stale: a cost that was not measured for so many passes is forgotten.
	stale = 512
	// hope is what another row is assumed to cost, as a part of the first,
	// until it has been measured: little enough to be tried.
	hope = 1.0 / 16
	// leastGain: a guess less likely to be of use is not worth looking at.
	leastGain = 0.02
)

// costs knows what passes cost by their number of rows: smoothed measurements
// of passes in which every row's logits were wanted.
type costs struct {
	passes int64
	rows   [maxRows + 1]struct {
		seconds float64
		at      int64 // passes when last measured; 0 is never
	}
	guess float64 // seconds of a drafter for one guess
}

// pass records a pass of n rows.
func (c *costs) pass(n int, d time.Duration) {
	c.passes++
	if n < 1 || n > maxRows {
		return
	}
	r, s := &c.rows[n], d.Seconds()
	switch {
	case r.at == 0 || c.passes-r.at > stale:
		r.seconds = s
	case s < r.seconds:
		r.seconds += (s - r.seconds) / 4
	default: // slower: something else on the machine, more often than the pass itself
		r.seconds += (min(s, 4*r.seconds) - r.seconds) / 16
	}
	r.at = c.passes
}

// drafted records that n guesses took d.
func (c *costs) drafted(n int, d time.Duration) {
	if n > 0 {
		c.guess += (d.Seconds()/float64(n) - c.guess) / 8
	}
}

// of estimates a pass of n rows: on the line between the measured neighbours,
// or by hope beyond the last of them. More rows never cost less. It returns 0
// if nothing is known.
func (c *costs) of(n int) float64 {
	below, above := 0, 0
	for m := range c.rows {
		if c.rows[m].at == 0 || c.passes-c.rows[m].at > stale {
			continue
		}
		switch {
		case m <= n && (below == 0 || c.rows[m].seconds >= c.rows[below].seconds):
			below = m
		case m > n && (above == 0 || c.rows[m].seconds < c.rows[above].seconds):
			above = m
		}
	}
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

// divide sets the n of every share, at most room in all, so that the expected
// tokens per second are the most, and returns their sum. The first guesses are
// the likeliest of use, so taking the best one again and again finds the best
// set of every size; the cost of a pass is no straight line, so all sizes are
// tried.
func (c *costs) divide(shares []share, room int) (total int) {
	tokens := float64(len(shares))
	base := c.of(len(shares))
	if base == 0 {
		return 0
	}
	for i := range shares {
		shares[i].n, shares[i].next = 0, shares[i].chance
	}
	var taken [maxRows]int
	best := tokens / base
	for t := range min(room, maxRows) {
		pick := -1
		for i := range shares {
			s := &shares[i]
			if s.n < s.most && s.next > leastGain && (pick < 0 || s.next > shares[pick].next) {
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
		taken[t] = pick
		if v := tokens / (c.of(len(shares)+t+1) + c.guess*float64(t+1)); v > best {
			best, total = v, t+1
		}
	}
	// Give back what came after the best size.
	for i := range shares {
		shares[i].n = 0
	}
	for _, i := range taken[:total] {
		shares[i].n++
	}
	return total
}
