//go:build !purego

package arena

import "github.com/lamina-llm/lamina/internal/cpu"

// Evict takes what b holds out of the processor's caches, without changing it:
// for memory that a device is about to fill again. A virtual machine's host copies
// what it reads into it, by another processor, and finds lines that nobody else
// holds faster: by a fifth on the machines of docs/BENCHMARKS.md. Where there is no
// host, or no instruction for it, Evict does nothing.
func Evict(b []byte) {
	if len(b) > 0 && cpu.HasEviction() {
		evict(&b[0], len(b))
	}
}

// evict writes back and drops the cache lines from that of p to that of p+n-1.
//
//go:noescape
func evict(p *byte, n int)
