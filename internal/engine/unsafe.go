package engine

import "unsafe"

// floats views memory outside the Go heap, which holds no pointers and is
// aligned to 64 bytes, as float32.
func floats(b []byte) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/4)
}
