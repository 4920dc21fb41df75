package weights

import (
	"os"

	"golang.org/x/sys/unix"
)

// dropCache has no counterpart here; reads past the cache leave nothing to drop.
func dropCache(*os.File, int64, int64) {}

// openDirect opens f's file once more for reads past the page cache.
func openDirect(f *os.File) *os.File {
	g := reopen(f, 0)
	if g == nil {
		return nil
	}
	set := false
	if c, err := g.SyscallConn(); err == nil {
		_ = c.Control(func(fd uintptr) {
			_, err := unix.FcntlInt(fd, unix.F_NOCACHE, 1)
			set = err == nil
		})
	}
	if !set {
		g.Close()
		return nil
	}
	return g
}

// readRandomly switches reading ahead off.
func readRandomly(f *os.File) {
	if c, err := f.SyscallConn(); err == nil {
		_ = c.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_RDAHEAD, 0) })
	}
}
