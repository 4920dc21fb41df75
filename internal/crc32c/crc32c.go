// Package crc32c computes the checksum of spans: CRC-32C (Castagnoli, RFC 3720
// B.4), as hash/crc32 does, but at the rate at which memory that is in no cache
// can be read. What is streamed is checked on every pass.
//
// The method is folding: 256 bytes at a time are multiplied, without carries, by
// what moves them 256 bytes on modulo the polynomial, and added to the next ones
// (Gopal et al., Fast CRC Computation for Generic Polynomials Using PCLMULQDQ,
// Intel 2009).
package crc32c

import (
	"hash/crc32"
	"math/bits"
)

var table = crc32.MakeTable(crc32.Castagnoli)

// foldBlock is what the kernel takes at a time; less than foldLeast is not worth
// its beginning and end.
const (
	foldBlock = 256
	foldLeast = 1024
)

// Checksum returns the CRC-32C of p. It may be called concurrently.
func Checksum(p []byte) uint32 { return Update(0, p) }

// Update returns the CRC-32C of what crc is that of, followed by p.
func Update(crc uint32, p []byte) uint32 {
	if len(p) >= foldLeast && folds() {
		n := len(p) / foldBlock * foldBlock
		crc = ^fold(^crc, &p[0], n, &constants)
		p = p[n:]
	}
	return crc32.Update(crc, table, p)
}

// constants are pairs of powers of x modulo the polynomial, bits reflected, that
// move the lower and the higher half of 128 bits on by so many bits: four times
// 2048, four times 512, then 384, 256, 128, and none.
var constants = func() (k [24]uint64) {
	at := 0
	for _, n := range [12]int{2048, 2048, 2048, 2048, 512, 512, 512, 512, 384, 256, 128} {
		if n > 0 {
			// The product of two reflected factors is short of one x.
			k[at], k[at+1] = power(n+63), power(n-1)
		}
		at += 2
	}
	return k
}()

// power returns x^n modulo the polynomial; its highest bit stands for 1.
func power(n int) uint64 {
	const poly = 1<<32 | 0x1edc6f41
	r := uint64(1)
	for range n {
		if r <<= 1; r>>32 != 0 {
			r ^= poly
		}
	}
	return bits.Reverse64(r)
}
