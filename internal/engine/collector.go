package engine

import (
	"runtime"
	"runtime/metrics"
	"time"

	"github.com/prometheus/client_golang/prometheus"

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
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(s *snapshot) float64
}

// histograms of the engine's loop.
type histograms struct {
	queue     prometheus.Histogram // seconds
	sequences prometheus.Histogram // of a pass
	rows      prometheus.Histogram // of a pass
}

func newHistograms() histograms {
	make := func(name, help string, start float64, n int) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "lamina", Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(start, 2, n),
		})
	}
	return histograms{
		queue:     make("queue_seconds", "Time that requests waited to be admitted.", 0.001, 15),
		sequences: make("batch_sequences", "Sequences of a pass.", 1, 9),
		rows:      make("batch_rows", "Tokens of a pass, prompts and guesses included.", 1, 11),
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

type collector struct {
	e       *Engine
	metrics []metric
	memory  *prometheus.Desc
	planned *prometheus.Desc
	units   *prometheus.Desc
	regime  *prometheus.Desc
}

// Collector returns the engine's metrics. Reading them costs a few atomic
// loads and short locks, and disturbs no computation. The names that begin
// with "vllm:" are those that routers of inference servers look for.
func (e *Engine) Collector() prometheus.Collector {
	c := &collector{e: e}
	const gauge, counter = prometheus.GaugeValue, prometheus.CounterValue
	named := func(name, help string, kind prometheus.ValueType, value func(s *snapshot) float64) {
		c.metrics = append(c.metrics, metric{prometheus.NewDesc(name, help, nil, nil), kind, value})
	}
	add := func(name, help string, kind prometheus.ValueType, value func(s *snapshot) float64) {
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
	c.memory = prometheus.NewDesc("lamina_memory_leased_bytes", "Bytes leased from the budget.", []string{"purpose"}, nil)
	c.planned = prometheus.NewDesc("lamina_memory_planned_bytes", "Bytes that the memory plan foresees.", []string{"purpose"}, nil)
	c.units = prometheus.NewDesc("lamina_units", "Units of weights by where they are.", []string{"placement"}, nil)
	c.regime = prometheus.NewDesc("lamina_memory_regime", "Regime of the memory plan: A unpacked, B coded, C streamed.", []string{"regime"}, nil)
	return c
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range c.metrics {
		ch <- m.desc
	}
	for _, d := range []*prometheus.Desc{c.memory, c.planned, c.units, c.regime} {
		ch <- d
	}
	h := &c.e.hist
	for _, d := range []prometheus.Histogram{h.queue, h.sequences, h.rows} {
		d.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
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
		ch <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(&s))
	}
	for _, p := range budget.Purposes() {
		ch <- prometheus.MustNewConstMetric(c.memory, prometheus.GaugeValue, float64(s.memory.By[p].Used), p.String())
	}
	for _, a := range m.plan.Bytes {
		ch <- prometheus.MustNewConstMetric(c.planned, prometheus.GaugeValue, float64(a.Bytes), a.Purpose.String())
	}
	if m.store != nil {
		for _, p := range []plan.Placement{plan.Pinned, plan.Unpacked, plan.Streamed} {
			ch <- prometheus.MustNewConstMetric(c.units, prometheus.GaugeValue, float64(m.plan.Count(p)), p.String())
		}
		ch <- prometheus.MustNewConstMetric(c.regime, prometheus.GaugeValue, 1, m.plan.Regime.String())
	}
	h := &c.e.hist
	for _, d := range []prometheus.Histogram{h.queue, h.sequences, h.rows} {
		d.Collect(ch)
	}
}
