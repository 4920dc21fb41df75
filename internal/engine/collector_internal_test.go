package engine

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	names "github.com/prometheus/common/model"

	"github.com/lamina-llm/lamina/runtime/plan"
)

// TestCollector serves requests with streamed weights and holds what the
// metrics and the plan report say against each other and against what is known.
func TestCollector(t *testing.T) {
	m := openRegime(t, plan.C)
	defer m.Close()
	e := Start(m, Options{Speculate: SpeculateOn})
	requests := speculationRequests(t, m)[:2]
	for _, r := range requests {
		if ids, seen := answer(e, r); len(ids) == 0 {
			t.Fatal(seen)
		}
	}
	if err := e.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	text := e.Metrics()(nil)
	parser := expfmt.NewTextParser(names.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.New(bytes.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if !strings.HasPrefix(p.Metric, "vllm:") { // the names are not ours
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	v := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += "/" + l.GetValue()
			}
			switch {
			case m.Histogram != nil:
				v[name] = float64(m.Histogram.GetSampleCount())
				v[name+"_sum"] = m.Histogram.GetSampleSum()
			case m.Counter != nil:
				v[name] = m.Counter.GetValue()
			default:
				v[name] = m.Gauge.GetValue()
			}
		}
	}
	get := func(name string) float64 {
		x, ok := v["lamina_"+name]
		if !ok {
			t.Errorf("no metric lamina_%s", name)
		}
		return x
	}
	report := e.PlanReport()
	passes := get("forward_passes_total")
	var coded int64
	for _, u := range m.file.Units()[:headUnit(m.cfg)+1] {
		coded += u.Bytes
	}
	for name, ok := range map[string]bool{
		"requests ended":     get("requests_ended_total") == 2 && get("requests_running") == 0 && get("requests_waiting") == 0,
		"queue":              get("queue_seconds") == 2,
		"batches":            get("batch_rows") == passes && get("batch_rows_sum") == get("forward_tokens_total") && get("batch_sequences_sum") == passes,
		"tokens":             get("tokens_generated_total") == float64(len(requests)*24),
		"speculation":        get("speculation_accepted_total") > 0 && get("speculation_accepted_total") < get("speculation_guesses_total"),
		"rows":               get("forward_tokens_total") == float64(len(requests[0].Prompt)+len(requests[1].Prompt)+2*23)+get("speculation_guesses_total")-get("speculation_accepted_total"),
		"cache":              get("kv_usage_ratio") == 0 && get("kv_pages") == get("kv_pages_free") && v["vllm:kv_cache_usage_perc"] == 0,
		"aliases":            v["vllm:num_requests_running"] == 0 && v["vllm:num_requests_waiting"] == 0 && len(families) > 30,
		"decoded":            get("weights_decoded_bytes_total") > 0.9*passes*float64(coded)-float64(coded) && get("weights_decoded_bytes_total") <= passes*float64(coded),
		"decoding":           get("weights_decode_seconds_total") > 0 && get("weights_decode_seconds_total") <= get("forward_seconds_total"),
		"reading":            get("weights_read_bytes_total") >= (passes-1)*float64(m.plan.PerPass) && get("weights_read_errors_total") == 0,
		"visits":             get("units_hits_total")+get("units_waits_total") >= passes*float64(m.cfg.Layers+1) && get("units_held") <= 1,
		"units":              get("units/streamed") == float64(report.Units.Streamed) && report.Units.Streamed > 0,
		"units sum":          report.Units.Pinned+report.Units.Streamed+report.Units.Unpacked == report.Units.All && len(report.Placement) == report.Units.All,
		"budget":             get("memory_budget_bytes") == float64(report.Budget) && report.Min <= report.Total && report.Total <= report.Budget,
		"sequences":          report.Sequences == 3 && report.Context == 512 && report.Regime == "C",
		"process":            get("goroutines") >= 1 && get("go_heap_bytes") > 0 && get("resident_bytes") > 0,
		"leases by purpose":  get("memory_leased_bytes/kv") > 0 && get("memory_planned_bytes/kv") == get("memory_leased_bytes/kv"),
		"leases, and passes": get("memory_leases") > 0 && passes > 10,
	} {
		if !ok {
			t.Errorf("%s: implausible", name)
		}
	}
	if t.Failed() {
		for _, f := range families {
			t.Log(f)
		}
	}
	var planned, leased int64
	for _, p := range report.Memory {
		planned, leased = planned+p.Planned, leased+p.Leased
		if p.Leased > p.Peak {
			t.Errorf("%v: %d bytes leased, at most %d", p.Purpose, p.Leased, p.Peak)
		}
	}
	if planned != report.Total || leased > report.Budget {
		t.Errorf("%d bytes planned by purpose, %d in all; %d leased of %d", planned, report.Total, leased, report.Budget)
	}
}

// TestCounted checks that who has a whole answer reads counters that know of it.
func TestCounted(t *testing.T) {
	m := openRegime(t, plan.A)
	defer m.Close()
	e := Start(m, Options{})
	defer e.Close(context.Background())
	r := speculationRequests(t, m)[0]
	r.Prompt, r.MaxTokens = r.Prompt[:4], 2
	for i := range 200 {
		if ids, seen := answer(e, r); len(ids) != 2 {
			t.Fatal(seen)
		}
		if n, running, waiting := e.stats.finished.Load(), e.stats.running.Load(), e.stats.waiting.Load(); n != int64(i+1) || running != 0 || waiting != 0 {
			t.Fatalf("after answer %d: %d ended, %d running, %d waiting", i+1, n, running, waiting)
		}
	}
}
