package server

import (
	"bytes"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"github.com/valyala/fasthttp"
)

// metrics are the server's own numbers. A scrape reads a few dozen atomics: a
// router may ask every 50 ms.
type metrics struct {
	registry     *prometheus.Registry
	requests     *prometheus.CounterVec
	inflight     prometheus.Gauge
	ttft         prometheus.Histogram
	perToken     prometheus.Histogram
	duration     prometheus.Histogram
	promptTokens prometheus.Counter
	genTokens    prometheus.Counter
	panics       prometheus.Counter
	gone         prometheus.Counter
	late         prometheus.Counter
}

func newMetrics() *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "lamina", Name: name, Help: help})
	}
	histogram := func(name, help string, start float64, n int) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "lamina", Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(start, 2, n),
		})
	}
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "lamina", Name: "http_requests_total", Help: "HTTP requests answered, by route and status.",
		}, []string{"route", "code"}),
		inflight: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "lamina", Name: "requests_in_flight", Help: "Generation requests being answered.",
		}),
		ttft:         histogram("time_to_first_token_seconds", "From the request to its first generated token.", 0.01, 15),
		perToken:     histogram("time_per_output_token_seconds", "Between two generated tokens of a choice.", 0.001, 15),
		duration:     histogram("request_duration_seconds", "From a generation request to the end of its answer.", 0.05, 15),
		promptTokens: counter("prompt_tokens_total", "Prompt tokens of the requests taken on."),
		genTokens:    counter("generation_tokens_total", "Tokens generated."),
		panics:       counter("panics_total", "Panics turned into a failed request."),
		gone:         counter("clients_gone_total", "Generation requests whose client did not wait for the answer."),
		late:         counter("deadlines_passed_total", "Generation requests whose deadline passed before they were done."),
	}
	m.registry.MustRegister(m.requests, m.inflight, m.ttft, m.perToken, m.duration,
		m.promptTokens, m.genTokens, m.panics, m.gone, m.late)
	return m
}

// handleMetrics serves GET /metrics in the Prometheus text format.
func (s *Server) handleMetrics(ctx *fasthttp.RequestCtx) {
	all := prometheus.Gatherers{s.m.registry}
	if s.o.Gatherer != nil {
		all = append(all, s.o.Gatherer)
	}
	families, err := all.Gather()
	if err != nil { // what could be gathered is still worth showing
		s.log.Warn("metrics", "err", err)
	}
	format := expfmt.NewFormat(expfmt.TypeTextPlain)
	var b bytes.Buffer
	e := expfmt.NewEncoder(&b, format)
	for _, f := range families {
		if err := e.Encode(f); err != nil {
			s.log.Warn("metrics", "family", f.GetName(), "err", err)
		}
	}
	ctx.SetContentType(string(format))
	ctx.SetBody(b.Bytes())
}
