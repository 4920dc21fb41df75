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

// Source delivers coded bytes.
type Source interface {
	// Fetch fills dst with the coded bytes of a unit; len(dst) is exactly its
	// CodedBytes. It returns nil only if all of them are there and verified,
	// and returns soon after ctx ends. Calls may run at the same time.
	Fetch(ctx context.Context, unit int, dst []byte) error
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

// Options is what a Store is made of. All but the last three fields are
// required.
type Options[T any] struct {
	Plan   plan.Plan      // made with Page = arena.PageSize(), so that sizes agree
	Ledger *budget.Ledger // pays for every slab
	Source Source
	Binder Binder[T]

	Workers   int          // units loaded at a time by Open; 0 is 2; range 1 to 64
	HugePages bool         // ask for transparent huge pages; default off
	Logger    *slog.Logger // read errors and the end of loading; nil is silent
}

// Validate reports the first field that makes no sense.
func (o *Options[T]) Validate() error {
	switch {
	case o.Ledger == nil || o.Source == nil || o.Binder == nil:
		return errors.New("residency: options lack a ledger, a source or a binder")
	case o.Workers < 0 || o.Workers > 64:
		return fmt.Errorf("residency: %d workers, want 1 to 64", o.Workers)
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
