package cputest

import (
	"syscall"
	"testing"
	"unsafe"
)

// Guarded returns a slice of n zeros in memory of its own, between two pages
// that fault on any access. With atEnd the slice ends where the upper page
// starts, else it starts where the lower one ends. The rest of its pages holds a
// canary that is checked when the test ends.
func Guarded[T any](t testing.TB, n int, atEnd bool) []T {
	t.Helper()
	const canary = 0xa5
	page := syscall.Getpagesize()
	size := n * int(unsafe.Sizeof(*new(T)))
	body := (size + page - 1) / page * page
	mem, err := syscall.Mmap(-1, 0, body+2*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatalf("mmap: %v", err)
	}
	for _, p := range [][]byte{mem[:page], mem[page+body:]} {
		if err := syscall.Mprotect(p, syscall.PROT_NONE); err != nil {
			t.Fatalf("mprotect: %v", err)
		}
	}
	inner := mem[page : page+body]
	before := 0
	if atEnd {
		before = body - size
	}
	rest := [][]byte{inner[:before], inner[before+size:]}
	for _, r := range rest {
		for i := range r {
			r[i] = canary
		}
	}
	t.Cleanup(func() {
		for _, r := range rest {
			for _, c := range r {
				if c != canary {
					t.Error("kernel wrote outside its operand")
					break
				}
			}
		}
		if err := syscall.Munmap(mem); err != nil {
			t.Errorf("munmap: %v", err)
		}
	})
	if n == 0 {
		return nil
	}
	return unsafe.Slice((*T)(unsafe.Pointer(&mem[page+before])), n)
}
