// Package residency holds the weights of a model in memory as a plan (package
// plan) says: some units unpacked, some as coded bytes, and the rest streamed
// from disk through a few slots, read ahead in visiting order.
//
// It does not know what the bytes mean nor where they come from: [Source]
// delivers the coded bytes of a unit, [Binder] makes a usable value of them.
// It decides nothing: what goes where is the plan's business.
//
// Life of a slot. The read-ahead moves it from empty to reading to ready; the
// visitor moves it on:
//
//	empty    free memory; the read-ahead takes it for the next streamed unit
//	reading  reads, then Bind, run on it without any lock held
//	ready    the value waits to be acquired, in visiting order
//	in use   acquired, until the last release; then empty again
//
// A slot that is reading or ready goes back to empty unused if the visitor
// turns out to be somewhere else: it broke off a pass, or skipped a unit. The
// read that runs is then cancelled. A failed read empties the slot too and
// stops the read-ahead until the next Acquire, which tries again.
//
// Ownership: who calls [Open] calls [Store.Close]; values belong to the store
// and are valid until released. Memory is leased before it is allocated.
//
// Concurrency: all methods may be called from any goroutine. The store serves
// one visitor at a time well; several get right values but undo each other's
// read-ahead.
package residency
