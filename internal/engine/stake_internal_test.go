package engine

import (
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// world is what guesses meet in a simulation: what passes really cost, and how
// often guesses are right.
type world struct {
	step, row float64 // a pass of n rows takes 1 + step + row*(n-1), without step if n is requests
	requests  int
	claim     float64 // what the drafter thinks of its guesses
	truth     float64 // how often they are right
	noise     float64 // how much longer a pass is measured, at most; one in eight four times as much
}

func (w *world) cost(rows int) float64 {
	c := 1 + w.row*float64(rows-1)
	if rows > w.requests {
		c += w.step
	}
	return c
}

// simulate generates n tokens for every request and returns the time that it
// took and the time without guesses.
func (w *world) simulate(n int, random *rand.Rand) (with, without float64) {
	var c costs
	shares, purses, have := make([]share, w.requests), make([]purse, w.requests), make([]int, w.requests)
	for i := range purses {
		purses[i] = firstPurse
	}
	// Requests that are done go on, so that the batch stays as it is; what they
	// get beyond n counts in both.
	tokens := 0
	for least := 0; least < n; {
		for i := range shares {
			purses[i].income()
			shares[i] = share{chance: w.claim, most: maxGuesses, purse: float64(purses[i])}
		}
		added := c.divide(shares, maxRows-w.requests)
		took := w.cost(w.requests + added)
		with += took
		measured := took * (1 + w.noise*random.Float64())
		if random.IntN(8) == 0 {
			measured *= 1 + 3*w.noise
		}
		c.pass(w.requests+added, time.Duration(measured*1e9))
		least = n
		staked := 0.0
		for i := range shares {
			staked += shares[i].stake
		}
		for i := range shares {
			right := 0
			for right < shares[i].n && random.Float64() < w.truth {
				right++
			}
			if s := &shares[i]; s.n > 0 {
				purses[i].settle(right, s.stake, staked, c.extra(w.requests, w.requests+added))
			}
			have[i] += 1 + right
			tokens += 1 + right
			least = min(least, have[i])
		}
	}
	return with, float64(tokens) / float64(w.requests) * w.cost(w.requests)
}

// TestNeverMuchSlower: whatever passes cost and however wrong a drafter is about
// itself, guesses cost no more than the income of the purses. What is added
// is for the first passes of an engine with guesses, until their cost is known.
func TestNeverMuchSlower(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := world{
			step: rapid.Float64Range(0, 1).Draw(t, "step"), row: rapid.Float64Range(0, 1).Draw(t, "row"),
			requests: rapid.IntRange(1, 4).Draw(t, "requests"),
			claim:    rapid.Float64Range(0, 0.98).Draw(t, "claim"), truth: rapid.Float64Range(0, 1).Draw(t, "truth"),
		}
		const n = 200
		with, without := w.simulate(n, rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1)))
		first := leastSamples * (w.cost(w.requests+1) - w.cost(w.requests))
		if most := without*(1+float64(incomePart)) + float64(firstPurse)*w.cost(w.requests) + first; with > most {
			t.Fatalf("%+v: %.1f with guesses, %.1f without, %.1f at most", w, with, without, most)
		}
	})
}

// TestNoiseCostsLittle: that passes are timed on a machine with other work does
// not change much, though a drafter that is nearly always wrong thinks well of itself.
func TestNoiseCostsLittle(t *testing.T) {
	for _, w := range []world{
		{row: 0.07, requests: 1, claim: 0.6, truth: 0.05, noise: 0.5},
		{row: 0.07, requests: 1, claim: 0.3, truth: 0.02, noise: 2},
		{step: 0.3, row: 0.1, requests: 1, claim: 0.9, truth: 0, noise: 2},
		{row: 0.5, requests: 1, claim: 0.6, truth: 0.5, noise: 1},
		{row: 0.02, requests: 1, claim: 0.5, truth: 0, noise: 1},
		{row: 0.1, requests: 4, claim: 0.8, truth: 0, noise: 1},
	} {
		total, plain := 0.0, 0.0
		for seed := range uint64(20) {
			with, without := w.simulate(96, rand.New(rand.NewPCG(seed, 2)))
			total, plain = total+with, plain+without
		}
		t.Logf("%+v: speed %.3f of that without guesses", w, plain/total)
		if plain/total < 0.97 {
			t.Errorf("%+v: speed %.3f of that without guesses", w, plain/total)
		}
	}
}

// TestGoodGuessesPay: the purse does not stand in the way of guesses that are
// right.
func TestGoodGuessesPay(t *testing.T) {
	for _, c := range []struct {
		w    world
		want float64
	}{
		{world{row: 0.07, requests: 1, claim: 0.8, truth: 0.9}, 2.5},
		{world{row: 0.07, requests: 1, claim: 0.5, truth: 0.6, noise: 1}, 1.3},
		{world{row: 0.02, requests: 1, claim: 0.8, truth: 0.95}, 4},
		{world{row: 0.3, requests: 1, claim: 0.8, truth: 0.9}, 1.3},
		{world{row: 0.1, requests: 4, claim: 0.8, truth: 0.9, noise: 1}, 1.3},
	} {
		with, without := c.w.simulate(200, rand.New(rand.NewPCG(3, 4)))
		t.Logf("%+v: %.2f times as fast", c.w, without/with)
		if without/with < c.want {
			t.Errorf("%+v: %.2f times as fast, want %v", c.w, without/with, c.want)
		}
	}
}
