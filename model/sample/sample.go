// Package sample draws the next token from a row of logits.
//
// A [Sampler] belongs to one request and is for one goroutine at a time; the
// functions are pure. Nothing is sorted: what top-k and top-p keep is found by
// a radix selection over the probabilities, in place, so a step over 128,000
// tokens takes no memory of its own.
//
// The order of operations is that of Hugging Face transformers, with OpenAI's
// penalties: repetition, frequency and presence penalty, logit bias, then
// temperature, softmax, top-k, top-p (of what top-k kept), min-p (relative to
// the likeliest). What remains is drawn in proportion to its probability.
// Tokens of equal probability count as ordered by id.
package sample

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/lamina-llm/lamina/internal/kern"
	"github.com/lamina-llm/lamina/model"
)

// minTemperature: below it the sampler is greedy, since float32 logits divided
// by less tell nothing else apart.
const minTemperature = 1e-4

// Sampler draws the tokens of one request, one after another.
type Sampler struct {
	params model.Sampling
	vocab  int
	bias   []model.TokenLogprob // LogitBias, ordered by id
	seen   []occurrence         // ordered by id; unused without penalties
	drawn  uint64               // tokens drawn so far
	raw    []float32            // logits as they came; only if log-probabilities are asked for
	radix  radix
	sums   []float64 // of the blocks of probabilities
	maxima []float32 // of the blocks
}

// occurrence counts one token of the request.
type occurrence struct {
	id        int32
	generated int32 // 0 for a token of the prompt alone
}

// New returns a sampler for one request: p as documented at [model.Sampling],
// the prompt (read during the call only) for the repetition penalty, and the
// size of the vocabulary. Errors wrap [model.ErrInvalid].
func New(p model.Sampling, prompt []int32, vocab int) (*Sampler, error) {
	if err := check(p, vocab); err != nil {
		return nil, fmt.Errorf("sample: %w: %w", model.ErrInvalid, err)
	}
	s := &Sampler{params: p, vocab: vocab}
	for id, b := range p.LogitBias {
		s.bias = append(s.bias, model.TokenLogprob{ID: id, Logprob: b})
	}
	slices.SortFunc(s.bias, func(a, b model.TokenLogprob) int { return int(a.ID - b.ID) })
	s.params.LogitBias = nil
	if p.RepeatPenalty != 1 {
		ids := slices.Clone(prompt)
		slices.Sort(ids)
		for _, id := range slices.Compact(ids) {
			if id < 0 || int(id) >= vocab {
				return nil, fmt.Errorf("sample: %w: prompt token %d is outside the vocabulary of %d", model.ErrInvalid, id, vocab)
			}
			s.seen = append(s.seen, occurrence{id: id})
		}
	}
	return s, nil
}

// check reports the first parameter that is out of its range.
func check(p model.Sampling, vocab int) error {
	within := func(v, lo, hi float32) bool { return v >= lo && v <= hi } // false for NaN
	switch {
	case vocab < 1 || vocab > math.MaxInt32:
		return fmt.Errorf("vocabulary of %d", vocab)
	case !within(p.Temperature, 0, 2):
		return fmt.Errorf("temperature %v, want 0 to 2", p.Temperature)
	case p.Temperature > 0 && !(p.TopP > 0 && p.TopP <= 1):
		return fmt.Errorf("top-p %v, want more than 0 and at most 1", p.TopP)
	case p.TopK < 0:
		return fmt.Errorf("top-k %d, want at least 0", p.TopK)
	case !within(p.MinP, 0, 1):
		return fmt.Errorf("min-p %v, want 0 to 1", p.MinP)
	case !within(p.PresencePenalty, -2, 2):
		return fmt.Errorf("presence penalty %v, want -2 to 2", p.PresencePenalty)
	case !within(p.FrequencyPenalty, -2, 2):
		return fmt.Errorf("frequency penalty %v, want -2 to 2", p.FrequencyPenalty)
	case !(p.RepeatPenalty > 0 && p.RepeatPenalty <= 100):
		return fmt.Errorf("repetition penalty %v, want more than 0 and at most 100", p.RepeatPenalty)
	}
	for id, b := range p.LogitBias {
		if id < 0 || int(id) >= vocab || !within(b, -100, 100) {
			return fmt.Errorf("logit bias %v for token %d, want -100 to 100 for tokens below %d", b, id, vocab)
		}
	}
	return nil
}

// Next draws a token from logits, which it overwrites, and remembers it for
// the penalties of those that follow. With logprobs >= 0 the result says the
// token's log-probability and the logprobs likeliest tokens, as [Logprobs]
// does, before penalties and truncation; its Bytes are the caller's to fill in.
//
// The draw depends on the logits, the seed and the number of tokens drawn
// before, and on nothing else. It is an error if a logit is NaN or infinite
// (-Inf is a token that cannot be drawn), if none can be drawn, or if there
// are not as many logits as tokens in the vocabulary. After an error the
// logits are undefined and nothing was drawn.
func (s *Sampler) Next(logits []float32, logprobs int) (model.TokenInfo, error) {
	if len(logits) != s.vocab {
		return model.TokenInfo{}, fmt.Errorf("sample: %d logits for a vocabulary of %d", len(logits), s.vocab)
	}
	if logprobs >= 0 {
		s.raw = append(s.raw[:0], logits...)
	}
	id, err := s.draw(logits)
	if err != nil {
		return model.TokenInfo{}, err
	}
	info := model.TokenInfo{ID: id}
	if logprobs >= 0 {
		if info, err = Logprobs(s.raw, id, logprobs); err != nil {
			return model.TokenInfo{}, err
		}
	}
	s.drawn++
	s.remember(id)
	return info, nil
}

// draw picks a token and overwrites logits.
func (s *Sampler) draw(logits []float32) (int32, error) {
	s.penalise(logits)
	best, top, err := maximum(logits)
	if err != nil {
		return 0, err
	}
	if s.params.Temperature < minTemperature {
		return int32(best), nil
	}
	s.exponentials(logits, top)
	logits[best] = 1 // exactly: the likeliest survives every cut
	s.truncate(logits)
	return int32(s.pick(logits)), nil
}

// exponentials turns logits, of which top is the largest, into probabilities
// relative to the likeliest, and adds up each block of them.
func (s *Sampler) exponentials(logits []float32, top float32) {
	inverse := 1 / s.params.Temperature
	var minus [block]float32
	if inverse != 1 {
		for i := range minus {
			minus[i] = -top
		}
		top = 0
	}
	s.sums = s.sums[:0]
	for b := range slices.Chunk(logits, block) {
		if inverse != 1 {
			kern.Add(b, minus[:])
			kern.Scale(b, inverse)
		}
		s.sums = append(s.sums, float64(kern.ExpInto(b, b, top)))
	}
}

// pick draws an index in proportion to probs, of which one at least is not 0.
func (s *Sampler) pick(probs []float32) int {
	u, at, before, sum := s.uniform()*blocks{probs, s.sums}.total(), 0, 0.0, 0.0
	for b, v := range s.sums {
		if v == 0 {
			continue
		}
		at, before = b*block, sum
		if sum += v; sum > u {
			break
		}
	}
	id := at
	sum = before
	for i, v := range probs[at:] { // beyond the block only if rounding says so
		if v == 0 {
			continue
		}
		id = at + i
		if sum += float64(v); sum > u {
			break
		}
	}
	return id
}

// uniform returns the number in [0, 1) that decides the next draw. Each draw
// has a generator of its own, seeded by request and index, so that what else
// runs, and what was drawn before, has no influence.
func (s *Sampler) uniform() float64 {
	z := (s.drawn + 1) * 0x9e3779b97f4a7c15 // SplitMix64's finaliser spreads the index
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	var g rand.PCG
	g.Seed(s.params.Seed, z^z>>31)
	return float64(g.Uint64()>>11) * 0x1p-53
}

// penalise applies the penalties and the bias to the logits.
func (s *Sampler) penalise(logits []float32) {
	p := &s.params
	for _, o := range s.seen {
		l := logits[o.id]
		if l > 0 {
			l /= p.RepeatPenalty
		} else {
			l *= p.RepeatPenalty
		}
		if o.generated > 0 {
			l -= float32(o.generated)*p.FrequencyPenalty + p.PresencePenalty
		}
		logits[o.id] = l
	}
	for _, b := range s.bias {
		logits[b.ID] += b.Logprob
	}
}

// remember counts a token that was drawn.
func (s *Sampler) remember(id int32) {
	p := &s.params
	if p.RepeatPenalty == 1 && p.FrequencyPenalty == 0 && p.PresencePenalty == 0 {
		return
	}
	i, found := slices.BinarySearchFunc(s.seen, id, func(o occurrence, id int32) int { return int(o.id - id) })
	if !found {
		s.seen = slices.Insert(s.seen, i, occurrence{id: id})
	}
	s.seen[i].generated++
}

// truncate sets the probabilities that top-k, top-p and min-p cut off to zero.
// The largest of probs is 1; they need not add up to anything.
func (s *Sampler) truncate(probs []float32) {
	p := &s.params
	all := blocks{probs, s.sums}
	if k := p.TopK; k > 0 && k < len(probs) {
		s.findMaxima(all)
		least, _ := s.radix.threshold(blocks{probs: s.maxima}, float64(k), tokens)
		all.fewer(s.maxima, least)
		s.radix.keep(all, float64(k), tokens)
		all.addUp()
	}
	if p.TopP < 1 {
		target := float64(p.TopP) * all.total()
		s.findMaxima(all)
		all.fewer(s.maxima, all.floor(s.maxima, target))
		s.radix.keep(all, target, mass)
		all.addUp()
	}
	if p.MinP > 0 {
		s.findMaxima(all)
		all.fewer(s.maxima, p.MinP)
		for i := range all.len() {
			b := all.at(i)
			for j, v := range b {
				if v < p.MinP {
					b[j] = 0
				}
			}
		}
		all.addUp()
	}
}

// findMaxima finds the largest probability of every block.
func (s *Sampler) findMaxima(p blocks) {
	s.maxima = s.maxima[:0]
	for i := range p.len() {
		s.maxima = append(s.maxima, max(0, kern.Max(p.at(i))))
	}
}

// maximum returns the first largest logit, or an error if no softmax exists.
func maximum(logits []float32) (int, float32, error) {
	// A finite sum of squares has no NaN and no infinity in it.
	if squares := kern.Dot(logits, logits); !(squares <= math.MaxFloat32) {
		for i, l := range logits {
			if !(l <= math.MaxFloat32) { // NaN too
				return 0, 0, fmt.Errorf("sample: logit %d is %v", i, l)
			}
		}
	}
	best, top := kern.MaxIndex(logits)
	if best < 0 || top < -math.MaxFloat32 {
		return 0, 0, fmt.Errorf("sample: none of %d tokens can be drawn", len(logits))
	}
	return best, top, nil
}
