// Package plan decides which weights are in memory: a pure function of sizes
// and a budget, without I/O, clocks or state.
//
// The forward pass visits its units in the same order again and again, so the
// placement is fixed in advance instead of being guessed by a cache policy: a
// least-recently-used cache smaller than the loop never hits. As many units as
// fit stay; the rest pass through a few slots that are read ahead.
//
// [Make] compares a family of candidate placements that does not depend on the
// budget. Every candidate has a definite need, so a larger budget only adds
// candidates: it never streams more, and the least need of all is exactly the
// smallest budget that works.
//
// Values of this package are plain data; copies may be used anywhere.
package plan

import (
	"errors"
	"fmt"

	"github.com/lamina-llm/lamina/runtime/budget"
)

// ErrTooSmall is what Make's refusals wrap; the error itself is a
// [*TooSmallError].
var ErrTooSmall = errors.New("memory budget too small")

// TooSmallError names the smallest budget that works.
type TooSmallError struct {
	Budget    int64 // bytes given
	MinBudget int64 // bytes needed, rounded up for people in Error only
}

// Error tells what to ask for, rounded up to whole MiB.
func (e *TooSmallError) Error() string {
	mib := (e.MinBudget + 1<<20 - 1) >> 20
	return fmt.Sprintf("plan: %s cannot hold this model: at least %d MiB are needed (lower the context or the batch, or raise the budget)",
		budget.FormatSize(e.Budget), mib)
}

// Unwrap returns [ErrTooSmall].
func (e *TooSmallError) Unwrap() error { return ErrTooSmall }

// Regime is the overall way in which a model is held.
type Regime byte

// The regimes, fastest first.
const (
	A Regime = 'A' // everything resident, unpacked where it can be
	B Regime = 'B' // all coded bytes resident, decoded on use; some units may be unpacked
	C Regime = 'C' // coded bytes streamed from disk past those that are pinned
)

// String returns the letter.
func (r Regime) String() string { return string(rune(r)) }

// MarshalText writes the letter.
func (r Regime) MarshalText() ([]byte, error) { return []byte{byte(r)}, nil }

// UnmarshalText reads the letter.
func (r *Regime) UnmarshalText(b []byte) error {
	if len(b) != 1 || b[0] < 'A' || b[0] > 'C' {
		return fmt.Errorf("plan: unknown regime %q", b)
	}
	*r = Regime(b[0])
	return nil
}

// Placement is where one unit is between its uses.
type Placement uint8

// The placements.
const (
	Pinned   Placement = iota // coded bytes in memory
	Unpacked                  // decoded weights in memory, coded bytes not
	Streamed                  // on disk, read into a slot ahead of every use
)

var placementNames = [...]string{"pinned", "unpacked", "streamed"}

// String returns the lower-case name.
func (p Placement) String() string {
	if int(p) < len(placementNames) {
		return placementNames[p]
	}
	return fmt.Sprintf("placement(%d)", uint8(p))
}

// MarshalText writes the name.
func (p Placement) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads the name.
func (p *Placement) UnmarshalText(b []byte) error {
	for i, name := range placementNames {
		if name == string(b) {
			*p = Placement(i)
			return nil
		}
	}
	return fmt.Errorf("plan: unknown placement %q", b)
}

// Unit is the smallest part of the model that is placed as a whole, such as
// one transformer layer.
type Unit struct {
	Name          string `json:"name"`
	CodedBytes    int64  `json:"coded_bytes"`    // size on disk and in a slot, > 0
	UnpackedBytes int64  `json:"unpacked_bytes"` // size once decoded; 0: it has no unpacked form
	Streamable    bool   `json:"streamable"`     // false: it must be in memory all the time
}

// Amount is a number of bytes for one purpose.
type Amount struct {
	Purpose budget.Purpose `json:"purpose"`
	Bytes   int64          `json:"bytes"`
}

// Input is all that a plan depends on.
type Input struct {
	Units  []Unit   // in visiting order; at most MaxUnits
	Fixed  []Amount // what must be there besides the weights (KV, heap, ...)
	Budget int64    // bytes for everything, Fixed included
	Slots  int      // buffers for streamed units, at least; 0 is 2; range 1 to 64
	Window int64    // bytes of all slots, at least, as far as there can be 64; default 0
	Slack  int64    // bytes past the end of every buffer that kernels may read; default 0
	Page   int64    // every buffer is rounded up to a multiple of this; 0 is 1
}

// MaxUnits is how many units an Input may have.
const MaxUnits = 1 << 12

// Limits of an Input. Their product stays far below the range of int64.
const (
	maxSlots = 64
	maxBytes = 1 << 42
)

// Validate reports the first field that makes no sense.
func (in Input) Validate() error {
	switch {
	case len(in.Units) > MaxUnits:
		return fmt.Errorf("plan: %d units, at most %d", len(in.Units), MaxUnits)
	case in.Slots < 0 || in.Slots > maxSlots:
		return fmt.Errorf("plan: %d slots, want 1 to %d", in.Slots, maxSlots)
	case in.Window < 0 || in.Window > maxBytes:
		return fmt.Errorf("plan: impossible window of %d bytes", in.Window)
	case in.Slack < 0 || in.Slack > 1<<30 || in.Page < 0 || in.Page > 1<<30:
		return fmt.Errorf("plan: impossible slack %d or page %d", in.Slack, in.Page)
	case len(in.Fixed) > MaxUnits:
		return fmt.Errorf("plan: %d fixed amounts, at most %d", len(in.Fixed), MaxUnits)
	}
	for i, u := range in.Units {
		if u.CodedBytes < 1 || u.CodedBytes > maxBytes || u.UnpackedBytes < 0 || u.UnpackedBytes > maxBytes {
			return fmt.Errorf("plan: unit %d (%.60q): impossible size: %d coded, %d unpacked", i, u.Name, u.CodedBytes, u.UnpackedBytes)
		}
	}
	for _, a := range in.Fixed {
		if a.Bytes < 0 || a.Bytes > maxBytes {
			return fmt.Errorf("plan: impossible amount for %v: %d", a.Purpose, a.Bytes)
		}
	}
	return nil
}

// Placed is a unit and its place.
type Placed struct {
	Unit
	Placement Placement `json:"placement"`
	Resident  int64     `json:"resident_bytes"` // bytes of its own buffer, rounded up; 0 if streamed
}

// Plan says where every unit is.
type Plan struct {
	Regime    Regime   `json:"regime"`
	Units     []Placed `json:"units"`          // in visiting order
	Slots     int      `json:"slots"`          // 0 if nothing is streamed
	SlotBytes int64    `json:"slot_bytes"`     // of each slot, rounded up
	Staging   int64    `json:"staging_bytes"`  // one buffer that unpacking needs while loading; gone before pinned units come
	Slack     int64    `json:"slack_bytes"`    // bytes past the end of each buffer, within the sizes above
	Bytes     []Amount `json:"bytes"`          // by purpose, once loaded; zero amounts left out
	Total     int64    `json:"total_bytes"`    // sum of Bytes
	Peak      int64    `json:"peak_bytes"`     // the most at any time, loading included; at most Budget
	Budget    int64    `json:"budget_bytes"`   //
	PerPass   int64    `json:"streamed_bytes"` // coded bytes read from disk for every pass

	MinBudget      int64 `json:"min_budget_bytes"`      // below this nothing works
	ResidentBudget int64 `json:"resident_budget_bytes"` // from here on nothing is streamed
	UnpackedBudget int64 `json:"unpacked_budget_bytes"` // from here on everything is unpacked that can be
}

// Count returns the number of units with placement p.
func (p *Plan) Count(place Placement) int {
	n := 0
	for _, u := range p.Units {
		if u.Placement == place {
			n++
		}
	}
	return n
}

// Mixed reports whether a plan of regime B keeps some of its units unpacked.
func (p *Plan) Mixed() bool { return p.Regime == B && p.Count(Unpacked) > 0 }
