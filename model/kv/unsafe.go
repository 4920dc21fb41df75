package kv

import (
	"fmt"
	"unsafe"
)

// aligned reports memory whose elements and scales would not be aligned.
func aligned(memory []byte) error {
	p := unsafe.Pointer(unsafe.SliceData(memory))
	if uintptr(p)%scaleBytes != 0 {
		return fmt.Errorf("kv: memory block at %p is not aligned to %d bytes", p, scaleBytes)
	}
	return nil
}

// view is n elements of a page from byte offset on. It keeps the page alive if
// that came from the Go heap; memory from elsewhere must outlive the pool.
func view[E int16 | int8 | float32](page []byte, offset, n int) []E {
	var e E
	page = page[offset : offset+n*int(unsafe.Sizeof(e))]
	return unsafe.Slice((*E)(unsafe.Pointer(unsafe.SliceData(page))), n)
}
