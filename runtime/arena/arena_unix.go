//go:build unix && !solaris && !illumos && !aix

package arena

import "golang.org/x/sys/unix"

// regions says that untouched pages of a mapping occupy nothing.
const regions = true

// protect makes a use of freed memory in a region fault, where that is wanted.
func protect(mem []byte) {
	if invariants {
		_ = unix.Mprotect(mem, unix.PROT_NONE)
	}
}

// mapPages returns size zeroed bytes of private anonymous memory; size is a
// positive multiple of the page size.
func mapPages(size int) ([]byte, error) {
	return unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
}

// unmapPages undoes mapPages. Its errors can only mean that mem is not such a
// mapping, which Slab excludes.
func unmapPages(mem []byte) {
	if invariants {
		_ = unix.Madvise(mem, unix.MADV_DONTNEED)
		if unix.Mprotect(mem, unix.PROT_NONE) == nil {
			return // the addresses stay taken, so a use after Free faults
		}
	}
	if err := unix.Munmap(mem); err != nil {
		panic("arena: munmap: " + err.Error())
	}
}
