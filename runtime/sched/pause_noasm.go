//go:build purego || !(amd64 || arm64)

package sched

import "sync/atomic"

// pause passes a little time without touching memory that others use.
func pause(n int) {
	var local atomic.Int32
	for range 8 * n {
		local.Add(1)
	}
}
