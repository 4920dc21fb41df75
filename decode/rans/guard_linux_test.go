package rans

import (
	"syscall"
	"testing"
	"unsafe"
)

// guarded returns n elements, zero, that end where a page begins that faults on
// any access. What lies before them is a canary, checked when the test ends.
func guarded[T any](t testing.TB, n int) []T {
	t.Helper()
	const canary = 0xa5
	page := syscall.Getpagesize()
	size := n * int(unsafe.Sizeof(*new(T)))
	body := (size + page) / page * page
	mem, err := syscall.Mmap(-1, 0, body+page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatalf("mmap: %v", err)
	}
	if err := syscall.Mprotect(mem[body:], syscall.PROT_NONE); err != nil {
		t.Fatalf("mprotect: %v", err)
	}
	before := mem[:body-size]
	for i := range before {
		before[i] = canary
	}
	t.Cleanup(func() {
		for _, c := range before {
			if c != canary {
				t.Error("a kernel wrote before its operand")
				break
			}
		}
		if err := syscall.Munmap(mem); err != nil {
			t.Errorf("munmap: %v", err)
		}
	})
	return unsafe.Slice((*T)(unsafe.Pointer(&mem[body-size])), n)
}
