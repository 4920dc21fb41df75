package engine

import (
	"context"

	"github.com/lamina-llm/lamina/model"
)

// lookup is a drafter without a model: what followed the latest tokens when
// they occurred before, in the prompt or in the answer itself, is likely to
// follow them again (prompt look-up). It finds the longest of the recent
// earlier occurrences through a hash table of pairs whose entries are chained,
// as in Lempel-Ziv coding. It takes 8 bytes per token and 16 KiB, and of the
// order of a microsecond per token.
type lookup struct {
	tokens []int32 // so far
	prev   []int32 // position before which the same hash occurred last; 0 is none
	head   [1 << lookupBits]int32

	at    int // where the likeliest continuation begins; 0 is none
	match int // how many tokens before it equal the latest ones

	score [lookupClasses]struct{ right, all float64 } // by class of match
}

const (
	lookupBits    = 12
	lookupClasses = 6
	leastMatch    = 2
	mostMatch     = 32 // longer ones are all the same
	chainSteps    = 24 // earlier occurrences looked at
	remember      = 0.96
)

// lookupPrior is the share of right guesses by class before any was judged,
// with the weight of priorWeight guesses.
var lookupPrior = [lookupClasses]float64{0.2, 0.35, 0.5, 0.65, 0.8, 0.85}

const priorWeight = 3

// lookupClass sorts matches by length: 2, 3, 4 to 5, 6 to 8, 9 to 15, longer.
func lookupClass(match int) int {
	switch {
	case match <= 3:
		return match - 2
	case match <= 5:
		return 2
	case match <= 8:
		return 3
	case match <= 15:
		return 4
	}
	return 5
}

// newLookup returns a drafter for one request, which bounds its memory.
func newLookup(r model.Request) drafter {
	n := len(r.Prompt) + r.MaxTokens
	return &lookup{tokens: make([]int32, 0, n), prev: make([]int32, 0, n)}
}

// extend implements drafter. The first call is the prompt, which is not judged.
func (l *lookup) extend(ids ...int32) {
	judged := len(l.tokens) > 0
	for _, id := range ids {
		if judged && l.match > 0 {
			s := &l.score[lookupClass(l.match)]
			s.right, s.all = s.right*remember, s.all*remember+1
			if l.tokens[l.at] == id {
				s.right++
			}
		}
		l.push(id)
		if judged {
			l.search()
		}
	}
	if !judged {
		l.search()
	}
}

func pairHash(a, b int32) uint32 {
	return (uint32(a)*0x9e3779b1 + uint32(b)*0x85ebca77) >> (32 - lookupBits)
}

// push appends a token, not yet entering the pair that it ends: a search wants
// earlier ones.
func (l *lookup) push(id int32) {
	n := len(l.tokens)
	before := int32(0)
	if n >= leastMatch { // enter the pair that ends before id
		h := pairHash(l.tokens[n-2], l.tokens[n-1])
		before, l.head[h] = l.head[h], int32(n)
	}
	l.tokens, l.prev = append(l.tokens, id), append(l.prev, before)
}

// search finds the longest match among the latest candidates.
func (l *lookup) search() {
	l.at, l.match = 0, 0
	n := len(l.tokens)
	if n < leastMatch+1 {
		return
	}
	at := int(l.head[pairHash(l.tokens[n-2], l.tokens[n-1])])
	for range chainSteps {
		if at == 0 {
			return
		}
		m := 0
		for m < min(mostMatch, at) && l.tokens[at-1-m] == l.tokens[n-1-m] {
			m++
		}
		if m >= leastMatch && m > l.match {
			l.at, l.match = at, m
		}
		at = int(l.prev[at])
	}
}

// chance implements drafter.
func (l *lookup) chance() float64 {
	if l.match == 0 {
		return 0
	}
	k := lookupClass(l.match)
	s := l.score[k]
	return (s.right + priorWeight*lookupPrior[k]) / (s.all + priorWeight)
}

// propose implements drafter. A continuation that runs into the present goes
// on with the guesses themselves, as a loop does.
func (l *lookup) propose(_ context.Context, dst []int32, n int) []int32 {
	if l.match == 0 {
		return dst
	}
	first := len(dst)
	for i := range n {
		if at := l.at + i; at < len(l.tokens) {
			dst = append(dst, l.tokens[at])
		} else {
			dst = append(dst, dst[first+at-len(l.tokens)])
		}
	}
	return dst
}

// close implements drafter: there is nothing but Go memory.
func (l *lookup) close() {}
