//go:build !linux && !darwin && !windows

package hub

// diskFree cannot tell on this system.
func diskFree(string) (n int64, ok bool) { return 0, false }
