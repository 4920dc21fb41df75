package main

import (
	"fmt"
	"runtime"

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/codecbench"
	"github.com/lamina-llm/lamina/internal/cpu"
)

type benchCodecCmd struct {
	Size        int       `default:"4096" placeholder:"N" help:"Rows and columns of the Gaussian matrix."`
	Bits        []float64 `default:"1.5,2,2.5,3,4" placeholder:"B,..." help:"Rates in bits per weight."`
	Repetitions int       `short:"r" default:"15" placeholder:"N" help:"Repetitions per kernel; the median counts."`
	JSON        bool      `help:"Print JSON."`
}

type benchCodecReport struct {
	CPU     string              `json:"cpu"`
	Size    int                 `json:"size"`
	Rate    []codecbench.Rate   `json:"rate"`
	Kernels []codecbench.Kernel `json:"kernels"` // one core
}

// Run measures rate and distortion of the native codec on an i.i.d. Gaussian
// matrix, and the products straight from those streams on one core.
func (c *benchCodecCmd) Run(a *app) error {
	if c.Size < 64 || c.Size > 1<<14 || c.Repetitions < 1 {
		return usage("bench codec", "--size %d -r %d: want 64 to 16384, and 1 or more", c.Size, c.Repetitions)
	}
	for _, b := range c.Bits {
		if !(b >= 0.8 && b <= 6) {
			return usage("bench codec", "--bits %v: want 0.8 to 6", b)
		}
	}
	ctx, stop := a.untilSignal()
	defer stop()
	r := benchCodecReport{CPU: cpu.Name(), Size: c.Size}
	var coded []*codecbench.Matrix
	for _, mode := range []rans.Mode{rans.Scalar, rans.DQ} {
		for _, b := range c.Bits {
			m, err := codecbench.AtBits(ctx, mode, c.Size, c.Size, b, runtime.GOMAXPROCS(0))
			if err != nil {
				return err
			}
			r.Rate = append(r.Rate, m.Rate)
			coded = append(coded, m)
		}
	}
	for _, tier := range cpu.Tiers() {
		restore := cpu.Force(tier)
		for _, m := range coded {
			reps := c.Repetitions
			if tier == cpu.Generic {
				reps = 1 + reps/8
			}
			k, err := codecbench.Speed(m, reps)
			if err != nil {
				restore()
				return err
			}
			r.Kernels = append(r.Kernels, k)
			if err := ctx.Err(); err != nil {
				restore()
				return err
			}
		}
		restore()
	}
	if c.JSON {
		return a.json(r)
	}
	rows := [][]string{{"mode", "bits", "NMSE", "above the bound", "encoding, Mweights/s per core"}}
	for _, x := range r.Rate {
		rows = append(rows, []string{x.Mode, fmt.Sprintf("%.3f", x.Bits), fmt.Sprintf("%.5f", x.NMSE),
			fmt.Sprintf("%.3f bit", x.Gap), fmt.Sprintf("%.1f", x.EncodeMweights)})
	}
	table(a.out, rows, 0)
	a.printf("\n")
	rows = [][]string{{"tier", "mode", "bits", "Gweights/s", "range"}}
	for _, k := range r.Kernels {
		rows = append(rows, []string{k.Tier, k.Mode, fmt.Sprintf("%.2f", k.Bits),
			fmt.Sprintf("%.2f", k.Rate), fmt.Sprintf("%.2f-%.2f", k.Low, k.High)})
	}
	table(a.out, rows, 0, 1)
	return nil
}
