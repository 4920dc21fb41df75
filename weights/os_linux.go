package weights

import (
	"os"

	"golang.org/x/sys/unix"
)

// dropCache advises the kernel to drop clean pages of the range.
func dropCache(f *os.File, off, n int64) {
	if c, err := f.SyscallConn(); err == nil {
		// Advice: a kernel that does not take it costs nothing but its cache.
		_ = c.Control(func(fd uintptr) { _ = unix.Fadvise(int(fd), off, n, unix.FADV_DONTNEED) })
	}
}

// openDirect opens f's file once more for reads past the page cache; nil if its
// file system has none.
func openDirect(f *os.File) *os.File { return reopen(f, unix.O_DIRECT) }

// readRandomly advises the kernel to read what is asked for and nothing beyond,
// which it does by megabytes otherwise.
func readRandomly(f *os.File) {
	if c, err := f.SyscallConn(); err == nil {
		_ = c.Control(func(fd uintptr) { _ = unix.Fadvise(int(fd), 0, 0, unix.FADV_RANDOM) })
	}
}
