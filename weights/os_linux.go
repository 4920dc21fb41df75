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
