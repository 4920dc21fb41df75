package engine

import (
	"runtime/debug"
	"sort"

	"github.com/lamina-llm/lamina/runtime/budget"
)

// heapReserve is what the Go heap may grow by while serving within a budget:
// requests, the collector's headroom, goroutines. Where memory is short the collector
// works more often.
func heapReserve(limit int64) int64 { return min(max(limit/16, heapLeast), heapMost) }

// httpReserve is what connections and request bodies may take of a budget, on
// the Go heap: a thirty-second, within bounds that make sense.
func httpReserve(limit int64) int64 { return min(max(limit/32, httpLeast), httpMost) }

// Bounds of heapReserve and httpReserve.
const (
	heapLeast = 4 << 20
	heapMost  = 8 << 20
	httpLeast = 2 << 20
	httpMost  = 128 << 20
)

// reserve is what of a budget is set aside in proportion to it.
func (o Options) reserve(limit int64) int64 {
	n := heapReserve(limit)
	if o.Serve {
		n += httpReserve(limit)
	}
	return n
}

// around returns the smallest budget of which n bytes are left beside what is set
// aside in proportion to it.
func (o Options) around(n int64) int64 {
	return n + int64(sort.Search(heapMost+httpMost, func(k int) bool { return int64(k) >= o.reserve(n+int64(k)) }))
}

// restate corrects the budgets that the plan names: at each of them heap and HTTP
// would have their share of that budget, not of the present one.
func (d *draft) restate(o Options) {
	for _, b := range []*int64{&d.plan.MinBudget, &d.plan.ResidentBudget, &d.plan.UnpackedBudget} {
		if *b > 0 {
			*b = o.around(*b - o.reserve(d.limit))
		}
	}
}

// passReserve is what running maps of the program file between two trims: the code
// of the forward pass and of the collector. serveReserve is that of a server, with
// all that requests can ask for.
const (
	passReserve  = 5 << 20
	serveReserve = 8 << 20
)

// processBytes is what the process occupies already: program, runtime,
// tokenizer, side information. Of the program it counts what serving needs.
func processBytes(serve bool) int64 {
	debug.FreeOSMemory()
	if budget.TrimProgram() > 0 {
		if serve {
			return budget.RSS() + serveReserve
		}
		return budget.RSS() + passReserve
	}
	return budget.RSS()
}
