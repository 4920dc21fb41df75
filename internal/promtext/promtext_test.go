package promtext_test

import (
	"bytes"
	"math"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/lamina-llm/lamina/internal/promtext"
)

// TestParses: the library's parser reads what was written.
func TestParses(t *testing.T) {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "h", Help: "x", Buckets: []float64{0.5, 1e-7, 2e9}[:1]})
	h.Observe(0.25)
	h.Observe(7)
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "c_total", Help: "x"})
	c.Add(3)
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "g", Help: "x"})
	g.Set(math.Inf(-1))
	label := "a \"b\"\n\\"
	b := promtext.New("h", "Two\nlines \\ of help.", promtext.Histogram).Metric(nil, h)
	b = promtext.New("c_total", "C.", promtext.Counter).Metric(b, c)
	b = promtext.New("g", "G.", promtext.Gauge).Metric(b, g)
	l := promtext.New("vllm:l", "L.", promtext.Gauge)
	b = l.Value(l.Value(l.Head(b), 1e300, "x", label, "y", ""), math.NaN())
	p := expfmt.NewTextParser(model.UTF8Validation)
	all, err := p.TextToMetricFamilies(bytes.NewReader(b))
	if err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	if len(all) != 4 || all["h"].GetHelp() != "Two\nlines \\ of help." {
		t.Errorf("%d families, help %q", len(all), all["h"].GetHelp())
	}
	hist := all["h"].Metric[0].Histogram
	if hist.GetSampleCount() != 2 || hist.GetSampleSum() != 7.25 || len(hist.Bucket) != 2 || hist.Bucket[0].GetCumulativeCount() != 1 ||
		hist.Bucket[0].GetUpperBound() != 0.5 {
		t.Errorf("histogram: %v", hist)
	}
	if v := all["c_total"].Metric[0].Counter.GetValue(); v != 3 {
		t.Errorf("counter: %v", v)
	}
	if v := all["g"].Metric[0].Gauge.GetValue(); !math.IsInf(v, -1) {
		t.Errorf("gauge: %v", v)
	}
	labelled := all["vllm:l"].Metric
	if len(labelled) != 2 || labelled[0].Label[0].GetValue() != label || labelled[0].Label[1].GetName() != "y" || labelled[0].Gauge.GetValue() != 1e300 ||
		!math.IsNaN(labelled[1].Gauge.GetValue()) {
		t.Errorf("labels: %v", labelled)
	}
}
