package main

import (
	"errors"
	"fmt"
	"math"

	"github.com/lamina-llm/lamina/internal/engine"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/runtime/budget"
	"github.com/lamina-llm/lamina/runtime/plan"
)

// Range of bits per weight that --ram chooses from. More are for --bits: some
// models have weights that spread too far for steps as fine.
const (
	fewestBits     = 1.5
	mostBits       = 6.0
	mostCalibrated = 5.0
)

// fitMemory returns the most bits per weight, up to hi, at which a model of this
// configuration runs in ram bytes with the context (0: what a run would take)
// without reading weights from disk again. It is an estimate, for [engine.Estimate]
// is; a run is planned for the file itself.
func fitMemory(c llama.Config, ram int64, context, threads int, hi float64) (float64, error) {
	o := engine.Options{RAM: ram, Context: context, Threads: threads, Serve: true}
	fits := func(bits float64) (bool, error) {
		p, err := engine.Estimate(c, bits, o)
		if errors.Is(err, plan.ErrTooSmall) {
			return false, nil
		}
		return err == nil && p.Regime != plan.C, err
	}
	ok, err := fits(fewestBits)
	if err != nil {
		return 0, fmt.Errorf("pack: --ram: %w", err)
	}
	if !ok {
		least, err := leastMemory(fits, &o)
		if err != nil {
			return 0, fmt.Errorf("pack: --ram: %w", err)
		}
		return 0, fmt.Errorf("pack: --ram %s is too little: even at %g bits per weight the model takes %s with this context; lower --context, raise --ram, or pack with --bits and let weights be read from disk while it runs",
			budget.FormatSize(ram), fewestBits, budget.FormatSize(least))
	}
	lo := fewestBits
	if ok, err = fits(hi); err != nil || ok {
		return hi, err
	}
	for hi-lo > 1e-3 {
		mid := (lo + hi) / 2
		if ok, err = fits(mid); err != nil {
			return 0, err
		}
		if ok {
			lo = mid
		} else {
			hi = mid
		}
	}
	return math.Floor(lo*1000) / 1000, nil
}

// leastMemory finds the smallest memory that the fewest bits fit, in whole MiB.
func leastMemory(fits func(float64) (bool, error), o *engine.Options) (int64, error) {
	lo, hi := o.RAM>>20, int64(1)<<22
	for hi-lo > 1 {
		mid := (lo + hi) / 2
		o.RAM = mid << 20
		ok, err := fits(fewestBits)
		if err != nil {
			return 0, err
		}
		if ok {
			hi = mid
		} else {
			lo = mid
		}
	}
	return hi << 20, nil
}
