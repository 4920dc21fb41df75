package pack

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"
)

// each runs f for mats, side by side, and reports those that are done as
// progress of phase. The first error, which it puts the matrix's name before,
// ends the others' context; i is the matrix's index.
func (p *packer) each(ctx context.Context, phase string, mats []*matrix, f func(ctx context.Context, i int, m *matrix) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(p.opt.Workers)
	var mu sync.Mutex // of done, and one report at a time
	done, total := int64(0), p.matrixWeights()
	for i, m := range mats {
		g.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err := f(ctx, i, m); err != nil {
				return fmt.Errorf("pack: %s: %w", m.name, err)
			}
			mu.Lock()
			defer mu.Unlock()
			done += m.weights()
			p.opt.Progress(Progress{phase, m.name, done, total})
			return nil
		})
	}
	return g.Wait()
}
