package engine

import (
	"bytes"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

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
	registry := prometheus.NewRegistry()
	if err := registry.Register(newEngine(m, Options{}).Collector()); err != nil {
		b.Fatal(err)
	}
	var out bytes.Buffer
	b.ReportAllocs()
	for b.Loop() {
		families, err := registry.Gather()
		if err != nil {
			b.Fatal(err)
		}
		out.Reset()
		e := expfmt.NewEncoder(&out, expfmt.NewFormat(expfmt.TypeTextPlain))
		for _, f := range families {
			if err := e.Encode(f); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.SetBytes(int64(out.Len()))
}
