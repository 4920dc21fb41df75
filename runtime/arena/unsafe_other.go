//go:build !unix || solaris || illumos || aix

package arena

import "unsafe"

const regions = false // reserved memory would be taken memory

func address([]byte) uintptr { return 0 }

func protect([]byte) {}

// mapPages allocates from the Go heap, aligned by hand.
func mapPages(size int) ([]byte, error) {
	b := make([]byte, size+Alignment)
	skip := -int(uintptr(unsafe.Pointer(&b[0]))) & (Alignment - 1)
	return b[skip : skip+size : skip+size], nil
}

// unmapPages leaves the memory to the garbage collector.
func unmapPages(mem []byte) {
	if invariants {
		for i := range mem {
			mem[i] = 0xff
		}
	}
}

func adviseHuge([]byte) {}

func discard([]byte) {}
