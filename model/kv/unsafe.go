package kv

import (
	"fmt"
	"unsafe"
)

// halves views memory as F16 elements. The view keeps memory alive if it came
// from the Go heap; memory from elsewhere must outlive the pool.
func halves(memory []byte) ([]uint16, error) {
	if len(memory) == 0 {
		return nil, nil
	}
	p := unsafe.Pointer(unsafe.SliceData(memory))
	if uintptr(p)%unsafe.Alignof(uint16(0)) != 0 {
		return nil, fmt.Errorf("kv: memory block at %p is not aligned to 2 bytes", p)
	}
	return unsafe.Slice((*uint16)(p), len(memory)/2), nil
}
