package server

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"

	"github.com/lamina-llm/lamina/internal/promtext"
)

// metrics are the server's own numbers. A scrape reads a few dozen atomics: a
// router may ask every 50 ms.
type metrics struct {
	shown        []shown
	requests     answered
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

// shown is a metric and what is said of it.
type shown struct {
	promtext.Family
	metric prometheus.Metric
}

func newMetrics() *metrics {
	m := &metrics{requests: answered{
		family: promtext.New("lamina_http_requests_total", "HTTP requests answered, by route and status.", promtext.Counter),
		counts: map[answer]int64{},
	}}
	show := func(name, help string, kind promtext.Kind, metric prometheus.Metric) {
		m.shown = append(m.shown, shown{promtext.New("lamina_"+name, help, kind), metric})
	}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "lamina_" + name})
		show(name, help, promtext.Counter, c)
		return c
	}
	histogram := func(name, help string, start float64, n int) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "lamina_" + name, Buckets: prometheus.ExponentialBuckets(start, 2, n)})
		show(name, help, promtext.Histogram, h)
		return h
	}
	m.inflight = prometheus.NewGauge(prometheus.GaugeOpts{Name: "lamina_requests_in_flight"})
	show("requests_in_flight", "Generation requests being answered.", promtext.Gauge, m.inflight)
	m.ttft = histogram("time_to_first_token_seconds", "From the request to its first generated token.", 0.01, 15)
	m.perToken = histogram("time_per_output_token_seconds", "Between two generated tokens of a choice.", 0.001, 15)
	m.duration = histogram("request_duration_seconds", "From a generation request to the end of its answer.", 0.05, 15)
	m.promptTokens = counter("prompt_tokens_total", "Prompt tokens of the requests taken on.")
	m.genTokens = counter("generation_tokens_total", "Tokens generated.")
	m.panics = counter("panics_total", "Panics turned into a failed request.")
	m.gone = counter("clients_gone_total", "Generation requests whose client did not wait for the answer.")
	m.late = counter("deadlines_passed_total", "Generation requests whose deadline passed before they were done.")
	return m
}

// answer is a kind of answer: both are from short lists.
type answer struct {
	route string
	code  int
}

// answered counts answers.
type answered struct {
	family promtext.Family
	mu     sync.Mutex
	counts map[answer]int64 // guarded by mu
}

// inc counts one.
func (a *answered) inc(route string, code int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.counts[answer{route, code}]++
}

// append writes them in the text format.
func (a *answered) append(b []byte) []byte {
	a.mu.Lock()
	counts := maps.Clone(a.counts)
	a.mu.Unlock()
	kinds := slices.SortedFunc(maps.Keys(counts), func(a, b answer) int {
		if c := strings.Compare(a.route, b.route); c != 0 {
			return c
		}
		return a.code - b.code
	})
	b = a.family.Head(b)
	for _, k := range kinds {
		b = a.family.Value(b, float64(counts[k]), "code", strconv.Itoa(k.code), "route", k.route)
	}
	return b
}

// scrapeBytes is the usual size of an answer.
const scrapeBytes = 20 << 10

// handleMetrics serves GET /metrics in the Prometheus text format.
func (s *Server) handleMetrics(ctx *fasthttp.RequestCtx) {
	b := s.m.requests.append(make([]byte, 0, scrapeBytes))
	for _, m := range s.m.shown {
		b = m.Metric(b, m.metric)
	}
	if s.o.Metrics != nil {
		b = s.o.Metrics(b)
	}
	ctx.SetContentType(promtext.ContentType)
	ctx.Response.SetBodyRaw(b)
}
