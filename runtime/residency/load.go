package residency

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lamina-llm/lamina/runtime/arena"
	"github.com/lamina-llm/lamina/runtime/budget"
	"github.com/lamina-llm/lamina/runtime/plan"
)

// load fills what is resident and allocates the slots. Unpacked units come
// first: their staging buffers are gone before anything else needs the memory,
// which is what the plan's Peak counts on. On error everything that was
// allocated stays in the store for free.
func (s *Store[T]) load(ctx context.Context) error {
	start := time.Now()
	if err := s.loadUnpacked(ctx); err != nil {
		return err
	}
	p := &s.o.Plan
	n := int64(p.Slots) * p.SlotBytes
	// Slots come first: what stays fills up their last huge page, and a read into
	// huge pages, which has few pieces, is much faster than one into small ones.
	region, err := s.region(n + s.footprint(plan.Pinned))
	if err != nil {
		return err
	}
	if len(s.order) > 0 {
		if s.slots, err = region.Alloc(s.o.Ledger, budget.Slots, int(n-p.Slack), int(p.Slack)); err != nil {
			return fmt.Errorf("residency: slots of %s: %w", budget.FormatSize(n), err)
		}
		s.window = newWindow(s.slots, p.Slack)
	}
	if err := s.loadPinned(ctx, region); err != nil {
		return err
	}
	s.stats.LoadTime = time.Since(start)
	s.log.Info("weights loaded", "pinned", s.stats.Pinned, "unpacked", s.stats.Unpacked,
		"streamed", s.stats.Streamed, "bytes", s.stats.ResidentBytes, "took", s.stats.LoadTime)
	return nil
}

// loadUnpacked decodes units through as many staging buffers as the budget has
// room for beyond the plan, at least one.
func (s *Store[T]) loadUnpacked(ctx context.Context) error {
	p := &s.o.Plan
	units := s.placed(plan.Unpacked)
	if len(units) == 0 {
		return nil
	}
	n := int(min(int64(min(s.o.Workers, len(units))), 1+max(0, p.Budget-p.Peak)/p.Staging))
	staging := make(chan *arena.Slab, n)
	defer func() {
		for range len(staging) { // all are back: the group has ended
			(<-staging).Free()
		}
	}()
	for i := range n {
		slab, err := s.alloc(budget.Slots, p.Staging-p.Slack)
		if err != nil && i == 0 {
			return fmt.Errorf("residency: staging buffer: %w", err)
		}
		if err != nil {
			break // somebody else uses the room; the plan promised one
		}
		staging <- slab
	}
	region, err := s.region(s.footprint(plan.Unpacked))
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(len(staging))
	for _, i := range units {
		g.Go(func() error {
			buf := <-staging
			defer func() { staging <- buf }()
			coded := buf.Bytes()[:p.Units[i].CodedBytes]
			slab, err := region.Alloc(s.o.Ledger, budget.Unpacked, int(p.Units[i].UnpackedBytes), int(p.Slack))
			if err != nil {
				return s.errorf(i, "allocating", err)
			}
			s.resident[i].slab = slab
			if err := s.fetch(ctx, i, coded); err != nil {
				return err
			}
			if s.resident[i].value, err = s.o.Binder.Unpack(i, s.bindable(coded), slab.Bytes()); err != nil {
				return s.errorf(i, "unpacking", err)
			}
			return nil
		})
	}
	return g.Wait()
}

func (s *Store[T]) loadPinned(ctx context.Context, region *arena.Region) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(s.o.Workers, s.o.Depth))
	for _, i := range s.placed(plan.Pinned) {
		g.Go(func() error {
			slab, err := region.Alloc(s.o.Ledger, budget.Coded, int(s.o.Plan.Units[i].CodedBytes), int(s.o.Plan.Slack))
			if err != nil {
				return s.errorf(i, "allocating", err)
			}
			s.resident[i].slab = slab
			if err := s.fetch(ctx, i, slab.Bytes()); err != nil {
				return err
			}
			if s.resident[i].value, err = s.o.Binder.Bind(i, s.bindable(slab.Bytes())); err != nil {
				return s.errorf(i, "binding", err)
			}
			return nil
		})
	}
	return g.Wait()
}

// footprint is what the units of one placement occupy.
func (s *Store[T]) footprint(place plan.Placement) (n int64) {
	for _, i := range s.placed(place) {
		n += s.o.Plan.Units[i].Resident
	}
	return n
}

// region makes address space for n bytes side by side that lasts as long as its
// slabs.
func (s *Store[T]) region(n int64) (*arena.Region, error) {
	region, err := arena.Reserve(n, s.o.HugePages)
	if err != nil {
		return nil, fmt.Errorf("residency: %w", err)
	}
	s.regions = append(s.regions, region)
	return region, nil
}

// alloc allocates n bytes and the plan's slack. Sizes come from a plan that
// was checked, and what does not fit an int no ledger would lease.
func (s *Store[T]) alloc(p budget.Purpose, n int64) (*arena.Slab, error) {
	slab, err := arena.Alloc(s.o.Ledger, p, int(n), int(s.o.Plan.Slack))
	if err == nil && s.o.HugePages {
		slab.AdviseHuge()
	}
	return slab, err
}

// fetch reads and checks a whole unit.
func (s *Store[T]) fetch(ctx context.Context, unit int, coded []byte) error {
	for i := range s.blocks(len(coded)) {
		b := s.block(coded, i)
		if err := s.read(ctx, unit, b); err != nil {
			return err
		}
		if err := s.o.Source.Check(unit, coded, b.off, b.off+int64(len(b.dst))); err != nil {
			return s.errorf(unit, "reading", err)
		}
	}
	return nil
}

func (s *Store[T]) read(ctx context.Context, unit int, b block) error {
	if err := ctx.Err(); err != nil {
		return s.errorf(unit, "reading", err)
	}
	if err := s.o.Source.Read(ctx, unit, b.dst, b.off); err != nil {
		return s.errorf(unit, "reading", err)
	}
	return nil
}

// bindable is coded with the capacity that a Binder may look at.
func (s *Store[T]) bindable(coded []byte) []byte {
	return coded[: len(coded) : len(coded)+int(s.o.Plan.Slack)]
}

// errorf says which unit failed and in what.
func (s *Store[T]) errorf(unit int, doing string, err error) error {
	return fmt.Errorf("residency: unit %d (%s): %s: %w", unit, s.o.Plan.Units[unit].Name, doing, err)
}

// placed returns the units with one placement, in visiting order.
func (s *Store[T]) placed(place plan.Placement) []int {
	var units []int
	for i, u := range s.o.Plan.Units {
		if u.Placement == place {
			units = append(units, i)
		}
	}
	return units
}
