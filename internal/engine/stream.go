package engine

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lamina-llm/lamina/internal/crc32c"
	"github.com/lamina-llm/lamina/runtime/arena"
	"github.com/lamina-llm/lamina/runtime/budget"
	"github.com/lamina-llm/lamina/runtime/plan"
	"github.com/lamina-llm/lamina/runtime/residency"
)

// ReadStreamed reads what one pass streams, in the same order and blocks and as
// many at a time as the read-ahead does, with nothing to compute or to wait for: it
// shows what the disk gives. If look is set every byte is looked at once, for a
// checksum: a machine may give data to somebody who does not look at them sooner
// than it really has them in memory. It returns the bytes and how long they took.
// Its buffers are no part of the model's budget. Nothing may be running.
func (m *Model) ReadStreamed(ctx context.Context, look bool) (int64, time.Duration, error) {
	type block struct {
		unit int
		off  int64
		n    int64
	}
	var blocks []block
	var total int64
	for i, u := range m.plan.Units {
		if u.Placement != plan.Streamed {
			continue
		}
		total += u.CodedBytes
		for off := int64(0); off < u.CodedBytes; off += residency.DefaultBlock {
			blocks = append(blocks, block{i, off, min(residency.DefaultBlock, u.CodedBytes-off)})
		}
	}
	next := make(chan block)
	const room = residency.DefaultDepth * residency.DefaultBlock
	buffers := budget.New(room)
	region, err := arena.Reserve(room, true)
	if err != nil {
		return 0, 0, err
	}
	defer region.Close()
	g, ctx := errgroup.WithContext(ctx)
	start := time.Now()
	g.Go(func() error {
		defer close(next)
		for _, b := range blocks {
			select {
			case next <- b:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	for range residency.DefaultDepth {
		g.Go(func() error {
			buf, err := region.Alloc(buffers, budget.Other, residency.DefaultBlock, 0)
			if err != nil {
				return err
			}
			defer buf.Free()
			for b := range next {
				arena.Evict(buf.Bytes()[:b.n]) // as the read-ahead does
				if err := m.source.Read(ctx, b.unit, buf.Bytes()[:b.n], b.off); err != nil {
					return err
				}
				if look {
					crc32c.Checksum(buf.Bytes()[:b.n])
				}
			}
			return nil
		})
	}
	err = g.Wait()
	return total, time.Since(start), err
}
