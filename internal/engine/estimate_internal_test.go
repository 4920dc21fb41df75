package engine

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/lamina-llm/lamina/internal/builtin"
	"github.com/lamina-llm/lamina/loader"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/runtime/budget"
	"github.com/lamina-llm/lamina/runtime/plan"
)

// TestEstimate compares the plan for a configuration alone with that for the
// packed file of the same model.
func TestEstimate(t *testing.T) {
	r, size, name := builtin.Model()
	f, err := loader.OpenReaderAt(r, size, name, loader.Options{Layout: layout})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	o := Options{Context: 512, Parallel: 2, BatchTokens: 64, Threads: 2, RAM: 4 << 30}
	d, err := newDraft(context.Background(), f, o.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	var coded int64
	for _, u := range d.sizes {
		coded += u.CodedBytes
	}
	weights := float64(d.cfg.Vocab) * float64(d.cfg.Hidden)
	weights += float64(d.cfg.Layers) * float64(d.cfg.Hidden) * float64(d.cfg.QKV()+d.cfg.Heads*d.cfg.HeadDim+3*d.cfg.Intermediate)
	got, err := Estimate(d.cfg, float64(coded)*8/weights, o)
	if err != nil {
		t.Fatal(err)
	}
	// The process itself is measured for both; what it has not read yet is not alike.
	net := func(p plan.Plan, n int64) float64 {
		for _, a := range p.Bytes {
			if a.Purpose == budget.Binary {
				n -= a.Bytes
			}
		}
		return float64(n)
	}
	for _, c := range []struct {
		what      string
		got, want float64
		tolerance float64
	}{
		{"least", net(got, got.MinBudget), net(d.plan, d.plan.MinBudget), 0.1},
		{"resident", net(got, got.ResidentBudget), net(d.plan, d.plan.ResidentBudget), 0.1},
		{"unpacked", net(got, got.UnpackedBudget), net(d.plan, d.plan.UnpackedBudget), 0.15},
	} {
		if math.Abs(c.got/c.want-1) > c.tolerance {
			t.Errorf("%s: %.1f MiB, the file needs %.1f MiB", c.what, c.got/(1<<20), c.want/(1<<20))
		}
	}
	o.RAM = 8 << 20
	if _, err := Estimate(d.cfg, 3, o); !errors.Is(err, plan.ErrTooSmall) || !strings.Contains(err.Error(), "at least") {
		t.Errorf("8 MiB: %v", err)
	}
	if _, err := Estimate(llama.Config{}, 3, o); err == nil {
		t.Error("no configuration: no error")
	}
	if _, err := Estimate(d.cfg, math.NaN(), o); err == nil {
		t.Error("no bits: no error")
	}
}
