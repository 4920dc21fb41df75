//go:build !purego

package crc32c

import "github.com/lamina-llm/lamina/internal/cpu"

// folds reports whether fold can be used. Every processor of that tier has
// VPCLMULQDQ, and that is asked for as well.
func folds() bool { return cpu.HasCarryless() }

// fold continues a checksum, inverted, over n bytes at p, a multiple of
// foldBlock, at least one.
//
//go:noescape
func fold(state uint32, p *byte, n int, k *[24]uint64) uint32
