// Package budget is the memory ledger of the process: one limit, and leases
// against it that are taken before memory is allocated and given back after it
// is freed. It also finds out what limit the machine sets and what the process
// occupies.
//
// It allocates nothing itself (see package arena) and decides nothing about who
// gets memory (see package plan). The leases are a promise between the parts of
// one program; what holds the operating system to it is that every part keeps
// that promise, so [RSS] and [PeakRSS] are there to check.
//
// Ownership: whoever acquired a [Lease] releases it, once the memory is gone.
// Concurrency: every function and method may be called from any goroutine.
package budget
