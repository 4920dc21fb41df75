// Package promtext writes metrics in the Prometheus text format, version 0.0.4.
//
// A registry of client_golang gathers metrics on goroutines of its own, checks them
// against each other and builds a message per value; while every processor computes,
// a scrape then takes half a millisecond, mostly waiting for caches and wake-ups.
// Here names and help are put together once and values appended one after another.
// Counters, gauges and histograms themselves are those of client_golang.
package promtext

import (
	"math"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// ContentType is the media type of the format.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// Kind is what a metric is.
type Kind string

// The kinds.
const (
	Counter   Kind = "counter"
	Gauge     Kind = "gauge"
	Histogram Kind = "histogram"
)

// Family is a metric's name with what is said of it: the values follow its head.
// It does not change and is for any number of goroutines.
type Family struct {
	name, head string
}

// New returns the family of a name, which must be a valid one.
func New(name, help string, kind Kind) Family {
	help = strings.NewReplacer(`\`, `\\`, "\n", `\n`).Replace(help)
	return Family{name: name, head: "# HELP " + name + " " + help + "\n# TYPE " + name + " " + string(kind) + "\n"}
}

// Head appends the lines that come before the family's values.
func (f Family) Head(b []byte) []byte { return append(b, f.head...) }

// Value appends a value with labels, which are pairs of a name and a value.
func (f Family) Value(b []byte, v float64, labels ...string) []byte {
	return sample(b, f.name, "", v, labels...)
}

// One appends head and value of a family without labels.
func (f Family) One(b []byte, v float64) []byte { return f.Value(f.Head(b), v) }

// Metric appends head and value of a counter, a gauge or a histogram with buckets,
// all without labels. Others append nothing.
func (f Family) Metric(b []byte, m prometheus.Metric) []byte {
	var d dto.Metric
	if err := m.Write(&d); err != nil {
		return b
	}
	switch {
	case d.Counter != nil:
		return f.One(b, d.Counter.GetValue())
	case d.Gauge != nil:
		return f.One(b, d.Gauge.GetValue())
	case d.Histogram == nil:
		return b
	}
	b = f.Head(b)
	h := d.Histogram
	for _, k := range h.Bucket {
		b = sample(b, f.name, "_bucket", float64(k.GetCumulativeCount()), "le", number(k.GetUpperBound()))
	}
	b = sample(b, f.name, "_bucket", float64(h.GetSampleCount()), "le", "+Inf")
	b = sample(b, f.name, "_sum", h.GetSampleSum())
	return sample(b, f.name, "_count", float64(h.GetSampleCount()))
}

func sample(b []byte, name, suffix string, v float64, labels ...string) []byte {
	b = append(append(b, name...), suffix...)
	for i := 0; i+1 < len(labels); i += 2 {
		b = append(b, "{,"[min(i, 1)])
		b = append(append(b, labels[i]...), '=')
		b = quote(b, labels[i+1])
	}
	if len(labels) > 1 {
		b = append(b, '}')
	}
	b = append(b, ' ')
	return append(append(b, number(v)...), '\n')
}

// quote appends a label's value, in which the format escapes three characters.
func quote(b []byte, s string) []byte {
	b = append(b, '"')
	for i := range len(s) {
		switch s[i] {
		case '\\', '"':
			b = append(b, '\\', s[i])
		case '\n':
			b = append(b, `\n`...)
		default:
			b = append(b, s[i])
		}
	}
	return append(b, '"')
}

func number(v float64) string {
	if math.IsInf(v, 1) {
		return "+Inf"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}
