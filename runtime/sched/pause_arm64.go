//go:build !purego

package sched

// pause executes n YIELD instructions: a hint that this is a spin loop.
//
//go:noescape
func pause(n int)
