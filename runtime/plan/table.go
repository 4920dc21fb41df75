package plan

import (
	"fmt"
	"strings"

	"github.com/lamina-llm/lamina/runtime/budget"
)

// Title names regime and placement in one line, such as "regime C: 22 of 30
// units pinned, 8 streamed through 2 slots of 1.2 MiB (9.4 MiB per pass)".
func (p *Plan) Title() string {
	n, size := len(p.Units), budget.FormatSize
	switch {
	case p.Regime == A:
		return fmt.Sprintf("regime A: everything resident, %d of %d units unpacked", p.Count(Unpacked), n)
	case p.Regime == C:
		return fmt.Sprintf("regime C: %d of %d units pinned, %d streamed through %d slots of %s (%s per pass)",
			p.Count(Pinned), n, p.Count(Streamed), p.Slots, size(p.SlotBytes), size(p.PerPass))
	case p.Mixed():
		return fmt.Sprintf("regime B, mixed: all coded bytes resident, %d of %d units unpacked", p.Count(Unpacked), n)
	}
	return "regime B: all coded bytes resident, decoded on use"
}

// Rows returns the memory table: purpose and size, then total, budget and the
// budgets at which the plan would change. The first row is the heading.
func (p *Plan) Rows() [][]string {
	rows := [][]string{{"memory", "bytes", ""}}
	row := func(name string, n int64) {
		rows = append(rows, []string{name, fmt.Sprint(n), budget.FormatSize(n)})
	}
	for _, a := range p.Bytes {
		row(a.Purpose.String(), a.Bytes)
	}
	row("total", p.Total)
	if p.Peak > p.Total {
		row("peak while loading", p.Peak)
	}
	row("budget", p.Budget)
	// Rounded up, so that what people copy from here is enough.
	up := func(name string, n int64) {
		rows = append(rows, []string{name, fmt.Sprint(n), budget.FormatSize((n + 1<<20 - 1) &^ (1<<20 - 1))})
	}
	up("least budget", p.MinBudget)
	up("nothing streamed from", p.ResidentBudget)
	up("all unpacked from", p.UnpackedBudget)
	return rows
}

// String returns title and table as text for a terminal.
func (p *Plan) String() string {
	var b strings.Builder
	fmt.Fprintln(&b, p.Title())
	for _, r := range p.Rows()[1:] {
		fmt.Fprintf(&b, "  %-22s %10s\n", r[0], r[2])
	}
	return b.String()
}

// UnitRows returns one row per unit: name, coded bytes, resident bytes and
// placement. The first row is the heading.
func (p *Plan) UnitRows() [][]string {
	rows := [][]string{{"unit", "coded", "resident", "placement"}}
	for _, u := range p.Units {
		rows = append(rows, []string{u.Name, fmt.Sprint(u.CodedBytes), fmt.Sprint(u.Resident), u.Placement.String()})
	}
	return rows
}
