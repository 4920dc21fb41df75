// Package sched is a fixed pool of workers for very short parallel loops.
//
// Generating one token issues hundreds of loops of 20 to 100 microseconds each,
// so starting one must cost about a microsecond. The caller is worker 0 and
// never waits for a worker that has not begun: followers join a loop that is
// still open, take chunks of their own part of it and then of the others', and the
// caller only waits for those that joined. On a machine whose cores are busy elsewhere the
// caller simply does more of the work itself.
//
// Between loops followers look for some microseconds whether there is one, less
// each time that was in vain, letting other threads have the processor by the
// operating system's means, and then sleep until they are woken.
//
// The pool sets no policy: it has no queue, no priorities and no contexts.
//
// Concurrency: loops of one [Pool] run one at a time; For may be called from
// any goroutine, and calls wait for each other. Ownership: who calls [New]
// calls [Pool.Close].
package sched
