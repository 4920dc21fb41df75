package engine

import "time"

// A prompt is read in chunks, each in one pass with the latest tokens of the
// requests that generate, and these wait for the whole pass. How long it may
// become is bounded in terms of what passes cost without a prompt: where they
// wait for the disk a long chunk hardly adds to that, where they compute it does.

const (
	// mostStretch is how many times as long as one without a pass with a part of a
	// prompt may take, as far as passes take what the latest ones took.
	mostStretch = 4
	// leastChunk: fewer rows would read the weights once more for little.
	leastChunk = 32
	// paceMemory is the weight of the latest pass, if it was not dearer.
	paceMemory = 0.25
)

// pace knows what passes cost with and without parts of prompts. The loop's own.
type pace struct {
	step float64 // seconds of a pass in which all requests generate; 0 is not known yet
	row  float64 // seconds that a row of a prompt adds to it; 0 is not known yet
	last int     // rows of the latest chunk beside generating requests; 0 is none yet
}

// rows returns how many rows of prompts may go along with generating requests.
func (p *pace) rows(generating, room int) int {
	if generating == 0 {
		return room
	}
	n := leastChunk
	if p.step > 0 && p.row > 0 {
		// No more than twice the latest chunk: the cost of rows is no straight line.
		n = max(n, int(min((mostStretch-1)*p.step/p.row, float64(2*p.last))))
	}
	return min(n, room)
}

// observe records a pass with so many generating requests, and guesses if there
// was no prompt, and so many rows of prompts.
func (p *pace) observe(generating, prompt int, took time.Duration) {
	t := took.Seconds()
	learn := func(v *float64, t float64) {
		if *v == 0 {
			*v = t
		}
		*v += (t - *v) * paceMemory
	}
	switch {
	case prompt == 0:
		learn(&p.step, t)
	case generating > 0 && p.step > 0:
		row := max(t-p.step, t/1024) / float64(prompt)
		if p.last == 0 {
			p.row = row // in place of a guess
		}
		p.row = max(p.row, row) // at once: with what is free, rows soon become dear
		learn(&p.row, row)
		p.last = prompt
	case p.row == 0:
		p.row = t / float64(prompt) // the weights included, so rather too much
	}
}
