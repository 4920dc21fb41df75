//go:build !purego

package sched

// pause executes n PAUSE instructions: the core gives its resources to the
// other hardware thread and saves power.
//
//go:noescape
func pause(n int)
