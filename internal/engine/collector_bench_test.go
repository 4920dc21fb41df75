package engine

import (
	"testing"

	"github.com/lamina-llm/lamina/internal/builtin"
)

// BenchmarkScrape is the processor time of the engine's part of a scrape: reading
// the numbers, and writing them as text.
func BenchmarkScrape(b *testing.B) {
	r, size, name := builtin.Model()
	m, err := OpenReaderAt(b.Context(), r, size, name, Options{Context: 256, Parallel: 1, Threads: 1})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	scrape := newEngine(m, Options{}).Metrics()
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out = scrape(out[:0])
	}
	b.SetBytes(int64(len(out)))
}
