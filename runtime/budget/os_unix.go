//go:build unix && !linux

package budget

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// RSS returns the bytes of physical memory that the process occupies. Without
// a system call for the present value it is the peak.
func RSS() int64 { return PeakRSS() }

// PeakRSS returns the most bytes of physical memory that the process ever
// occupied, from getrusage, or 0 if the system does not tell.
func PeakRSS() int64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	if runtime.GOOS == "darwin" || runtime.GOOS == "ios" {
		return int64(u.Maxrss) // bytes there, kilobytes elsewhere
	}
	return int64(u.Maxrss) << 10
}
