package residency

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/lamina-llm/lamina/runtime/budget"
	"github.com/lamina-llm/lamina/runtime/plan"
)

// Errors of a Store.
var (
	// ErrClosed: the store has been closed.
	ErrClosed = errors.New("store is closed")
	// ErrInUse: Close found units that nobody has released, or Acquire found
	// every slot in use, so that it could only wait for its own caller.
	ErrInUse = errors.New("units are still in use")
)

// Source delivers coded bytes. Calls may run at the same time. What stays in
// memory is checked when it is loaded. What is streamed is not: whoever
// multiplies with it looks at every byte anyway, and then has it in a cache.
type Source interface {
	// Read fills dst with the coded bytes of a unit from off on, a multiple of
	// Options.Block, and returns soon after ctx ends. What lies between length
	// and capacity of dst may be overwritten.
	Read(ctx context.Context, unit int, dst []byte, off int64) error
	// Check verifies what the first to bytes of a unit, in coded, hold beyond
	// the first from, for which it was called before. A unit for which it has
	// returned nil up to its last byte is as it was written. It is called for units
	// that are pinned or unpacked.
	Check(unit int, coded []byte, from, to int64) error
}

// Binder makes values of coded bytes. Its methods are called concurrently, for
// different units, and off the visitor's goroutine. The slices that they get
// have the plan's Slack bytes of further capacity, whose contents mean nothing
// but may be read.
type Binder[T any] interface {
	// Bind returns a value that reads from coded for as long as it is used.
	Bind(unit int, coded []byte) (T, error)
	// Unpack decodes coded into dst, of UnpackedBytes zeroed bytes, and
	// returns a value that reads from dst alone.
	Unpack(unit int, coded, dst []byte) (T, error)
}

// Options is what a Store is made of. The first four fields are required.
type Options[T any] struct {
	Plan   plan.Plan      // made with Page = arena.PageSize(), so that sizes agree
	Ledger *budget.Ledger // pays for every slab
	Source Source
	Binder Binder[T]

	Workers   int          // units unpacked at a time by Open; 0 is 2; range 1 to 64
	Depth     int          // reads under way at a time; 0 is DefaultDepth; range 1 to 64
	Block     int64        // bytes of a read; 0 is DefaultBlock; at least 1
	HugePages bool         // ask for transparent huge pages; default off
	Logger    *slog.Logger // read errors and the end of loading; nil is silent
}

// What is read at once unless Options say otherwise: enough to keep a
// solid-state disk busy, little enough that a unit is checked while it is read.
const (
	DefaultDepth = 4
	DefaultBlock = 1 << 20
)

// Validate reports the first field that makes no sense.
func (o *Options[T]) Validate() error {
	switch {
	case o.Ledger == nil || o.Source == nil || o.Binder == nil:
		return errors.New("residency: options lack a ledger, a source or a binder")
	case o.Workers < 0 || o.Workers > 64:
		return fmt.Errorf("residency: %d workers, want 1 to 64", o.Workers)
	case o.Depth < 0 || o.Depth > 64 || o.Block < 0:
		return fmt.Errorf("residency: %d reads of %d bytes at a time", o.Depth, o.Block)
	}
	p := &o.Plan
	for i, u := range p.Units {
		bad := u.CodedBytes < 1
		switch u.Placement {
		case plan.Pinned:
		case plan.Unpacked:
			bad = bad || u.UnpackedBytes < 1 || u.CodedBytes > p.Staging-p.Slack
		case plan.Streamed:
			bad = bad || p.Slots < 1 || u.CodedBytes > p.SlotBytes-p.Slack
		default:
			bad = true
		}
		if bad {
			return fmt.Errorf("residency: unit %d (%s) does not fit its place in the plan: %v, %d bytes coded", i, u.Name, u.Placement, u.CodedBytes)
		}
	}
	return nil
}
