package crc32c

import (
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"testing"

	"github.com/lamina-llm/lamina/internal/cpu"
	"github.com/lamina-llm/lamina/internal/cpu/cputest"
)

func random(n int) []byte {
	p := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n)})
	r.Read(p)
	return p
}

// TestChecksum compares with hash/crc32, for every length and at odd addresses,
// and lets every bit of some data count.
func TestChecksum(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T, _ cpu.Tier) {
		data := random(5000)
		for n := range len(data) - 64 {
			p := data[n%64:][:n]
			want := crc32.Checksum(p, table)
			if got := Checksum(p); got != want {
				t.Fatalf("%d bytes: %08x, want %08x", n, got, want)
			}
			if got := Update(Checksum(p[:n/5]), p[n/5:]); got != want {
				t.Fatalf("%d bytes in two parts: %08x, want %08x", n, got, want)
			}
		}
		p := data[:1500]
		want := Checksum(p)
		for i := range 8 * len(p) {
			p[i/8] ^= 1 << (i % 8)
			if Checksum(p) == want {
				t.Fatalf("bit %d does not count", i)
			}
			p[i/8] ^= 1 << (i % 8)
		}
		// The check value of RFC 3720, B.4.
		if got := Checksum(make([]byte, 32)); got != 0x8a9136aa {
			t.Errorf("32 zero bytes: %08x", got)
		}
	})
}

func FuzzChecksum(f *testing.F) {
	f.Add([]byte("123456789"), 100, 3)
	f.Fuzz(func(t *testing.T, p []byte, times, from int) {
		if len(p) == 0 {
			return
		}
		var all []byte
		for range 1 + uint(times)%4096/uint(len(p)) {
			all = append(all, p...)
		}
		all = all[uint(from)%uint(len(all)):]
		if got, want := Checksum(all), crc32.Checksum(all, table); got != want {
			t.Errorf("%d bytes: %08x, want %08x", len(all), got, want)
		}
	})
}

func BenchmarkChecksum(b *testing.B) {
	for _, n := range []int{1 << 10, 64 << 10, 64 << 20} { // the last is in no cache
		p := random(n)
		b.Run(fmt.Sprintf("%d/own", n), func(b *testing.B) {
			b.SetBytes(int64(n))
			for b.Loop() {
				Checksum(p)
			}
		})
		b.Run(fmt.Sprintf("%d/hash", n), func(b *testing.B) {
			b.SetBytes(int64(n))
			for b.Loop() {
				crc32.Checksum(p, table)
			}
		})
	}
}
