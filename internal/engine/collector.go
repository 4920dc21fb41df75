package engine

import (
	"runtime"
	"runtime/metrics"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lamina-llm/lamina/internal/promtext"
	"github.com/lamina-llm/lamina/runtime/budget"
	"github.com/lamina-llm/lamina/runtime/plan"
)

// Stats are some of the counters of an engine since its start.
type Stats struct {
	Generated int64 // tokens sampled
	Guesses   int64 // guessed tokens that passes checked
	Accepted  int64 // of these, those that were right
	Passes    int64 // over the weights
}

// Stats may be called at any time.
func (e *Engine) Stats() Stats {
	s := &e.stats
	return Stats{Generated: s.generated.Load(), Guesses: s.guessed.Load(), Accepted: s.guessedRight.Load(), Passes: s.steps.Load()}
}

// snapshot is what one scrape looks at; each source is asked once.
type snapshot struct {
	e      *Engine
	memory budget.Stats
	store  storeStats
}

// storeStats are those of the residency store, or zero without one.
type storeStats struct {
	read, hits, waits, failed, ready, refs float64
	wait                                   time.Duration
}

// metric is one figure of the collector.
type metric struct {
	promtext.Family
	value func(s *snapshot) float64
}

// histograms of the engine's loop.
type histograms struct {
	queue     prometheus.Histogram // seconds
	sequences prometheus.Histogram // of a pass
	rows      prometheus.Histogram // of a pass
}

func newHistograms() histograms {
	make := func(name string, start float64, n int) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Buckets: prometheus.ExponentialBuckets(start, 2, n)})
	}
	return histograms{
		queue:     make("lamina_queue_seconds", 0.001, 15),
		sequences: make("lamina_batch_sequences", 1, 9),
		rows:      make("lamina_batch_rows", 1, 11),
	}
}

// heapBytes asks the runtime without stopping it.
func heapBytes() float64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return float64(sample[0].Value.Uint64())
}

// collector has the engine's metrics but for their values.
type collector struct {
	e                              *Engine
	metrics                        []metric
	memory, planned, units, regime promtext.Family
	queue, sequences, rows         promtext.Family
}

// Metrics returns a function that appends the engine's metrics in the Prometheus
// text format, for any number of goroutines. Reading them costs a few atomic
// loads and short locks, and disturbs no computation. The names that begin
// with "vllm:" are those that routers of inference servers look for.
func (e *Engine) Metrics() func(b []byte) []byte {
	c := &collector{e: e}
	const gauge, counter = promtext.Gauge, promtext.Counter
	named := func(name, help string, kind promtext.Kind, value func(s *snapshot) float64) {
		c.metrics = append(c.metrics, metric{promtext.New(name, help, kind), value})
	}
	add := func(name, help string, kind promtext.Kind, value func(s *snapshot) float64) {
		named("lamina_"+name, help, kind, value)
	}
	waiting := func(s *snapshot) float64 { return float64(s.e.stats.waiting.Load()) }
	running := func(s *snapshot) float64 { return float64(s.e.stats.running.Load()) }
	usage := func(s *snapshot) float64 {
		p := s.e.m.cache
		return 1 - float64(p.Free())/float64(max(p.Pages(), 1))
	}
	add("requests_waiting", "Requests in the queue.", gauge, waiting)
	add("requests_running", "Requests being computed.", gauge, running)
	add("requests_ended_total", "Requests that ended, for whatever reason.", counter, func(s *snapshot) float64 { return float64(s.e.stats.finished.Load()) })
	add("requests_cancelled_total", "Requests whose client went away.", counter, func(s *snapshot) float64 { return float64(s.e.stats.cancelled.Load()) })
	add("requests_refused_total", "Requests that found the queue full.", counter, func(s *snapshot) float64 { return float64(s.e.stats.refused.Load()) })
	add("tokens_generated_total", "Tokens sampled.", counter, func(s *snapshot) float64 { return float64(s.e.stats.generated.Load()) })
	add("forward_passes_total", "Passes over the weights.", counter, func(s *snapshot) float64 { return float64(s.e.stats.steps.Load()) })
	add("forward_tokens_total", "Tokens in all passes, prompts included.", counter, func(s *snapshot) float64 { return float64(s.e.stats.tokens.Load()) })
	add("forward_sequences_total", "Sequences in all passes.", counter, func(s *snapshot) float64 { return float64(s.e.stats.sequences.Load()) })
	add("forward_seconds_total", "Time in passes.", counter, func(s *snapshot) float64 { return float64(s.e.stats.nanos.Load()) / 1e9 })
	add("speculation_guesses_total", "Guessed tokens that passes checked.", counter, func(s *snapshot) float64 { return float64(s.e.stats.guessed.Load()) })
	add("speculation_accepted_total", "Guessed tokens that were right.", counter, func(s *snapshot) float64 { return float64(s.e.stats.guessedRight.Load()) })
	add("admitted_prompt_tokens_total", "Tokens of the prompts of admitted requests.", counter, func(s *snapshot) float64 { return float64(s.e.stats.prompt.Load()) })
	add("prompt_tokens_cached_total", "Tokens of admitted prompts whose keys and values were in the cache.", counter, func(s *snapshot) float64 { return float64(s.e.stats.promptCached.Load()) })
	add("prefix_pages", "Pages of the key-value cache that are kept to be found again; they count as free.", gauge, func(s *snapshot) float64 { return float64(s.e.m.cache.Prefixes().Idle) })
	add("kv_usage_ratio", "Share of the key-value cache in use.", gauge, usage)
	add("kv_pages", "Pages of the key-value cache.", gauge, func(s *snapshot) float64 { return float64(s.e.m.cache.Pages()) })
	add("kv_pages_free", "Pages of the key-value cache that no sequence holds.", gauge, func(s *snapshot) float64 { return float64(s.e.m.cache.Free()) })
	add("resident_bytes", "Resident set size of the process.", gauge, func(*snapshot) float64 { return float64(budget.RSS()) })
	add("memory_budget_bytes", "Memory that the process may take.", gauge, func(s *snapshot) float64 { return float64(s.memory.Limit) })
	add("memory_leases", "Leases of memory that are held.", gauge, func(s *snapshot) float64 { return float64(s.memory.Leases) })
	add("goroutines", "Goroutines of the process.", gauge, func(*snapshot) float64 { return float64(runtime.NumGoroutine()) })
	add("go_heap_bytes", "Bytes of the Go heap in objects, dead ones not yet swept included.", gauge, func(*snapshot) float64 { return heapBytes() })
	add("memory_refused_total", "Leases that the budget refused.", counter, func(s *snapshot) float64 { return float64(s.memory.Refused) })
	if e.m.store != nil {
		add("weights_read_bytes_total", "Coded bytes read since the start.", counter, func(s *snapshot) float64 { return s.store.read })
		add("weights_read_errors_total", "Reads of weights that failed.", counter, func(s *snapshot) float64 { return s.store.failed })
		add("weights_wait_seconds_total", "Time that passes waited for the disk.", counter, func(s *snapshot) float64 { return s.store.wait.Seconds() })
		add("weights_decoded_bytes_total", "Coded bytes that products decoded.", counter, func(s *snapshot) float64 { return float64(s.e.m.meter.bytes.Load()) })
		add("weights_decode_seconds_total", "Time in products with coded weights, where decoding and multiplying are one.", counter,
			func(s *snapshot) float64 { return float64(s.e.m.meter.nanos.Load()) / 1e9 })
		add("units_hits_total", "Visits of a unit of weights that found it in memory.", counter, func(s *snapshot) float64 { return s.store.hits })
		add("units_waits_total", "Visits of a unit of weights that had to wait for the disk.", counter, func(s *snapshot) float64 { return s.store.waits })
		add("units_ready", "Slots that hold a unit read ahead.", gauge, func(s *snapshot) float64 { return s.store.ready })
		add("units_held", "Units of weights that are in use now.", gauge, func(s *snapshot) float64 { return s.store.refs })
	}
	named("vllm:num_requests_running", "Alias of lamina_requests_running.", gauge, running)
	named("vllm:num_requests_waiting", "Alias of lamina_requests_waiting.", gauge, waiting)
	named("vllm:kv_cache_usage_perc", "Alias of lamina_kv_usage_ratio; 1 is all.", gauge, usage)
	named("vllm:gpu_cache_usage_perc", "Alias of lamina_kv_usage_ratio under its older name.", gauge, usage)
	c.memory = promtext.New("lamina_memory_leased_bytes", "Bytes leased from the budget.", gauge)
	c.planned = promtext.New("lamina_memory_planned_bytes", "Bytes that the memory plan foresees.", gauge)
	c.units = promtext.New("lamina_units", "Units of weights by where they are.", gauge)
	c.regime = promtext.New("lamina_memory_regime", "Regime of the memory plan: A unpacked, B coded, C streamed.", gauge)
	c.queue = promtext.New("lamina_queue_seconds", "Time that requests waited to be admitted.", promtext.Histogram)
	c.sequences = promtext.New("lamina_batch_sequences", "Sequences of a pass.", promtext.Histogram)
	c.rows = promtext.New("lamina_batch_rows", "Tokens of a pass, prompts and guesses included.", promtext.Histogram)
	return c.append
}

// append looks at everything once and writes it.
func (c *collector) append(b []byte) []byte {
	m := c.e.m
	s := snapshot{e: c.e, memory: m.ledger.Stats()}
	if m.store != nil {
		st := m.store.Stats()
		s.store = storeStats{
			read: float64(st.BytesRead), hits: float64(st.Hits), waits: float64(st.Waits), failed: float64(st.Errors),
			ready: float64(st.Ready), refs: float64(st.Refs), wait: st.WaitTime,
		}
	}
	for _, m := range c.metrics {
		b = m.One(b, m.value(&s))
	}
	b = c.memory.Head(b)
	for _, p := range budget.Purposes() {
		b = c.memory.Value(b, float64(s.memory.By[p].Used), "purpose", p.String())
	}
	b = c.planned.Head(b)
	for _, a := range m.plan.Bytes {
		b = c.planned.Value(b, float64(a.Bytes), "purpose", a.Purpose.String())
	}
	if m.store != nil {
		b = c.units.Head(b)
		for _, p := range []plan.Placement{plan.Pinned, plan.Unpacked, plan.Streamed} {
			b = c.units.Value(b, float64(m.plan.Count(p)), "placement", p.String())
		}
		b = c.regime.Value(c.regime.Head(b), 1, "regime", m.plan.Regime.String())
	}
	h := &c.e.hist
	b = c.queue.Metric(b, h.queue)
	b = c.sequences.Metric(b, h.sequences)
	return c.rows.Metric(b, h.rows)
}
