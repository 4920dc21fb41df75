//go:build unix && !linux && !solaris && !illumos && !aix

package arena

import "golang.org/x/sys/unix"

func adviseHuge([]byte) {} // promotion is the kernel's own business here

// discard uses MADV_FREE: on the BSDs MADV_DONTNEED keeps the pages.
func discard(mem []byte) { _ = unix.Madvise(mem, unix.MADV_FREE) }
