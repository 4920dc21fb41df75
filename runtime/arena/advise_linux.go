package arena

import "golang.org/x/sys/unix"

// Both are advice: a kernel built without it refuses, and nothing is lost.

func adviseHuge(mem []byte) { _ = unix.Madvise(mem, unix.MADV_HUGEPAGE) }

func discard(mem []byte) { _ = unix.Madvise(mem, unix.MADV_DONTNEED) }
