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
	rows   int     // of the latest pass that draft has seen, guesses included
	staked float64 // in that pass, by all requests
}

// draft adds guesses to a batch in which every request generates, as many as
// pay, and returns the number of rows that it added. room is what the batch
// still holds.
func (e *Engine) draft(room int) int {
	s := &e.spec
	rows := len(e.batch)
	s.rows, s.staked = rows, 0
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
		j.purse.income()
		s.shares = append(s.shares, share{chance: p, most: most, purse: float64(j.purse)})
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
			j.guesses, j.stake = len(j.feed)-1, s.shares[i].stake
			s.staked += j.stake
			added += j.guesses
			e.batch[i].Tokens, e.batch[i].Want = j.feed, llama.All
		}
	}
	s.costs.drafted(added, time.Since(start))
	s.rows = rows + added
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
	if j.guesses > 0 {
		j.purse.settle(j.right, j.stake, e.spec.staked, e.spec.costs.extra(len(e.inBatch), e.spec.rows))
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
