//go:build !unix && !windows

package budget

// RSS returns 0: the system does not tell.
func RSS() int64 { return 0 }

// PeakRSS returns 0: the system does not tell.
func PeakRSS() int64 { return 0 }
