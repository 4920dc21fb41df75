package engine

import (
	"github.com/lamina-llm/lamina/runtime/budget"
	"github.com/lamina-llm/lamina/runtime/plan"
)

// PlanReport says what was planned for a model and what is in use of it; it is
// what GET /v1/lamina/plan shows. Sizes are in bytes.
type PlanReport struct {
	Title     string        `json:"title"` // regime and placement in words
	Regime    string        `json:"regime"`
	Context   int           `json:"context"`      // most tokens of one sequence
	Sequences int           `json:"sequences"`    // of full length that the cache holds at once
	Batch     int           `json:"batch_tokens"` // most rows of one pass
	Threads   int           `json:"threads"`
	Units     PlanUnits     `json:"units"`
	Memory    []PlanPurpose `json:"memory"`
	Slots     int           `json:"slots"` // for streamed units
	SlotBytes int64         `json:"slot_bytes"`
	PerPass   int64         `json:"streamed_bytes_per_pass"`
	Total     int64         `json:"total_bytes"` // once loaded
	Peak      int64         `json:"peak_bytes"`  // while loading
	Budget    int64         `json:"budget_bytes"`
	Min       int64         `json:"min_budget_bytes"`      // with everything at its least; below it nothing works
	Resident  int64         `json:"resident_budget_bytes"` // with this context and batch: from here on nothing is streamed
	Unpacked  int64         `json:"unpacked_budget_bytes"` // from here on all is unpacked that can be
	RSS       int64         `json:"resident_bytes"`        // of the process, now
	Placement []plan.Placed `json:"placement"`             // every unit, in visiting order
}

// PlanUnits counts the units of a model by where they are.
type PlanUnits struct {
	All      int `json:"all"`
	Pinned   int `json:"pinned"`   // coded bytes in memory
	Unpacked int `json:"unpacked"` // decoded weights in memory
	Streamed int `json:"streamed"` // read from disk for every pass
}

// PlanPurpose is the memory of one purpose.
type PlanPurpose struct {
	Purpose budget.Purpose `json:"purpose"`
	Planned int64          `json:"planned_bytes"`
	Leased  int64          `json:"leased_bytes"`
	Peak    int64          `json:"peak_bytes"` // most that was leased at once
}

// PlanReport may be called at any time; it costs some microseconds.
func (e *Engine) PlanReport() PlanReport {
	m, p := e.m, &e.m.plan
	r := PlanReport{
		Title: p.Title(), Regime: p.Regime.String(), Context: m.context, Batch: m.batch,
		Threads: e.opt.Threads, Slots: p.Slots, SlotBytes: p.SlotBytes, PerPass: p.PerPass,
		Units: PlanUnits{len(p.Units), p.Count(plan.Pinned), p.Count(plan.Unpacked), p.Count(plan.Streamed)},
		Total: p.Total, Peak: p.Peak, Budget: p.Budget, Min: p.MinBudget, Resident: p.ResidentBudget, Unpacked: p.UnpackedBudget,
		RSS: budget.RSS(), Placement: p.Units,
	}
	if per := m.cache.Geometry().Pages(m.context); per > 0 {
		r.Sequences = m.cache.Pages() / per
	}
	planned := map[budget.Purpose]int64{}
	for _, a := range p.Bytes {
		planned[a.Purpose] += a.Bytes
	}
	s := m.ledger.Stats()
	for _, purpose := range budget.Purposes() {
		row := PlanPurpose{purpose, planned[purpose], s.By[purpose].Used, s.By[purpose].High}
		if row != (PlanPurpose{Purpose: purpose}) {
			r.Memory = append(r.Memory, row)
		}
	}
	return r
}
