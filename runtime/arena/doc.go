// Package arena allocates slabs of memory outside the Go heap, each paid for
// by a lease from the ledger of package budget.
//
// Weights and caches live here for three reasons: the garbage collector neither
// scans them nor lets them double the heap (GOGC counts live Go memory only),
// freeing returns the pages to the system at once, and the size is exactly what
// was leased. On systems other than Unix slabs are Go memory and the interface
// is the same.
//
// Ownership: who calls [Alloc] calls [Slab.Free]; slices from [Slab.Bytes] die
// then, and touching them afterwards is a fault. Concurrency: a Slab's methods
// may be called from any goroutine, its bytes are the owner's business.
//
// With -tags invariants freed memory is never mapped again, so that every use
// after Free faults, and a slab that is collected without Free panics.
package arena
