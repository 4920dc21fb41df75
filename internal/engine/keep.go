package engine

import (
	"time"

	"github.com/lamina-llm/lamina/runtime/budget"
)

const (
	// keepEvery is how often the loop looks at the resident set: reading it
	// takes some ten microseconds.
	keepEvery = 100 * time.Millisecond
	// keepMargin below the budget the loop gives back what it can. A trim takes
	// a millisecond or two, faults included, so it comes once a second at most.
	keepMargin = 2 << 20
	trimEvery  = time.Second
)

// keeper keeps the resident set within the budget. All that Lamina allocates is
// leased; what is not is the code that happens to be mapped, which only grows.
type keeper struct {
	limit        int64
	looked, trim time.Time // when last
}

// keep looks at the resident set if it is time to.
func (k *keeper) keep(now time.Time) {
	if now.Sub(k.looked) < keepEvery {
		return
	}
	k.looked = now
	if now.Sub(k.trim) < trimEvery || budget.RSS() <= k.limit-keepMargin {
		return
	}
	k.trim = now
	budget.TrimProgram()
}
