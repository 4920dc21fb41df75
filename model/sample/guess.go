package sample

import "fmt"

// Guess returns the token that logits, which it overwrites, would give as the
// ahead-th one from now on, 0 being the next. It draws what [Sampler.Next] will
// draw then from the same logits, but for penalties on the tokens in between,
// and remembers nothing. So the guess of a model that is much like another is
// often the other's own choice, whatever the temperature. Errors are those of
// Next, after which the logits are undefined.
func (s *Sampler) Guess(logits []float32, ahead int) (int32, error) {
	if len(logits) != s.vocab {
		return 0, fmt.Errorf("sample: %d logits for a vocabulary of %d", len(logits), s.vocab)
	}
	drawn := s.drawn
	s.drawn += uint64(ahead)
	id, err := s.draw(logits)
	s.drawn = drawn
	return id, err
}

// Accept counts a token that another sampler of the same request drew.
func (s *Sampler) Accept(id int32) {
	s.drawn++
	s.remember(id)
}
