package engine

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lamina-llm/lamina/runtime/budget"
)

// metric is one figure of the collector.
type metric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(e *Engine) float64
}

type collector struct {
	e       *Engine
	metrics []metric
	memory  *prometheus.Desc
	regime  *prometheus.Desc
}

// Collector returns the engine's metrics. Reading them costs a few atomic
// loads and disturbs no computation.
func (e *Engine) Collector() prometheus.Collector {
	c := &collector{e: e}
	add := func(name, help string, kind prometheus.ValueType, value func(e *Engine) float64) {
		c.metrics = append(c.metrics, metric{prometheus.NewDesc("lamina_"+name, help, nil, nil), kind, value})
	}
	gauge, counter := prometheus.GaugeValue, prometheus.CounterValue
	add("requests_waiting", "Requests in the queue.", gauge, func(e *Engine) float64 { return float64(e.stats.waiting.Load()) })
	add("requests_running", "Requests being computed.", gauge, func(e *Engine) float64 { return float64(e.stats.running.Load()) })
	add("requests_ended_total", "Requests that ended, for whatever reason.", counter, func(e *Engine) float64 { return float64(e.stats.finished.Load()) })
	add("requests_cancelled_total", "Requests whose client went away.", counter, func(e *Engine) float64 { return float64(e.stats.cancelled.Load()) })
	add("requests_refused_total", "Requests that found the queue full.", counter, func(e *Engine) float64 { return float64(e.stats.refused.Load()) })
	add("tokens_generated_total", "Tokens sampled.", counter, func(e *Engine) float64 { return float64(e.stats.generated.Load()) })
	add("forward_passes_total", "Passes over the weights.", counter, func(e *Engine) float64 { return float64(e.stats.steps.Load()) })
	add("forward_tokens_total", "Tokens in all passes, prompts included.", counter, func(e *Engine) float64 { return float64(e.stats.tokens.Load()) })
	add("forward_sequences_total", "Sequences in all passes.", counter, func(e *Engine) float64 { return float64(e.stats.sequences.Load()) })
	add("forward_seconds_total", "Time in passes.", counter, func(e *Engine) float64 { return float64(e.stats.nanos.Load()) / 1e9 })
	add("speculation_guesses_total", "Guessed tokens that passes checked.", counter, func(e *Engine) float64 { return float64(e.stats.guessed.Load()) })
	add("speculation_accepted_total", "Guessed tokens that were right.", counter, func(e *Engine) float64 { return float64(e.stats.guessedRight.Load()) })
	add("kv_usage_ratio", "Share of the key-value cache in use.", gauge, func(e *Engine) float64 {
		p := e.m.cache
		return 1 - float64(p.Free())/float64(max(p.Pages(), 1))
	})
	add("resident_bytes", "Resident set size of the process.", gauge, func(*Engine) float64 { return float64(budget.RSS()) })
	if e.m.store != nil {
		add("weights_read_bytes_total", "Coded bytes read since the start.", counter, func(e *Engine) float64 { return float64(e.m.store.Stats().BytesRead) })
		add("weights_wait_seconds_total", "Time that passes waited for the disk.", counter, func(e *Engine) float64 { return e.m.store.Stats().WaitTime.Seconds() })
	}
	c.memory = prometheus.NewDesc("lamina_memory_leased_bytes", "Bytes leased from the budget.", []string{"purpose"}, nil)
	c.regime = prometheus.NewDesc("lamina_memory_regime", "Regime of the memory plan: A unpacked, B coded, C streamed.", []string{"regime"}, nil)
	return c
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range c.metrics {
		ch <- m.desc
	}
	ch <- c.memory
	ch <- c.regime
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	for _, m := range c.metrics {
		ch <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(c.e))
	}
	s := c.e.m.ledger.Stats()
	for _, p := range budget.Purposes() {
		ch <- prometheus.MustNewConstMetric(c.memory, prometheus.GaugeValue, float64(s.By[p].Used), strings.ToLower(p.String()))
	}
	if c.e.m.store != nil {
		ch <- prometheus.MustNewConstMetric(c.regime, prometheus.GaugeValue, 1, string(rune(c.e.m.plan.Regime)))
	}
}
