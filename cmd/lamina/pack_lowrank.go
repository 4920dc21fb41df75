package main

import (
	"fmt"

	"github.com/lamina-llm/lamina/pack"
)

// lowrankFlags are the flags of pack about factors.
type lowrankFlags struct {
	Representation string    `enum:"auto,dense,lowrank," default:"" placeholder:"R" help:"Matrices of the layers: dense, lowrank (pairs of factors), or auto (what takes fewest bits for the same error of the outputs; needs --calibrate)."`
	Keep           float64   `name:"lowrank" placeholder:"F" help:"Factor the matrices of the layers, with one tolerance for all, to this share of their parameters, such as 0.8."`
	Tolerance      []float64 `name:"lowrank-tolerance" placeholder:"E[,E]" help:"The same by tolerance: relative error of every matrix, or one of attention and one of MLP matrices."`
	Method         string    `name:"lowrank-method" enum:"als,svd,optimal," default:"" placeholder:"M" help:"How factors are made: als (PGSVD), svd, optimal (the limit of als); default: als with --calibrate, else svd."`
}

// set puts the flags into o, which is valid without them.
func (f *lowrankFlags) set(o *pack.Options, calibrated bool) error {
	given := f.Keep != 0 || f.Tolerance != nil
	if f.Representation == "" && given {
		f.Representation = string(pack.Factors)
	}
	o.Representation, o.Keep, o.Method = pack.Representation(f.Representation), f.Keep, pack.Method(f.Method)
	switch {
	case f.Representation != string(pack.Factors) && given:
		return usage("pack", "--lowrank and --lowrank-tolerance are for --representation lowrank")
	case f.Representation == string(pack.Factors) && (f.Keep != 0) == (f.Tolerance != nil):
		return usage("pack", "--representation lowrank: give either --lowrank or --lowrank-tolerance")
	case f.Keep != 0 && !(f.Keep > 0 && f.Keep < 1):
		return usage("pack", "--lowrank %v: want more than 0 and less than 1", f.Keep)
	case len(f.Tolerance) > 2:
		return usage("pack", "--lowrank-tolerance: want one number, or two")
	case f.Representation == string(pack.Auto) && !calibrated:
		return usage("pack", "--representation auto compares errors of outputs: give --calibrate")
	case f.Method != "" && f.Representation != string(pack.Factors):
		return usage("pack", "--lowrank-method is for --representation lowrank")
	case (f.Method == string(pack.ALS) || f.Method == string(pack.Optimal)) && !calibrated:
		return usage("pack", "--lowrank-method %s: give --calibrate", f.Method)
	}
	for i := range o.Tolerance {
		if len(f.Tolerance) > 0 {
			o.Tolerance[i] = f.Tolerance[min(i, len(f.Tolerance)-1)]
		}
		if !(o.Tolerance[i] >= 0 && o.Tolerance[i] <= 1) {
			return usage("pack", "--lowrank-tolerance %v: want 0 to 1", o.Tolerance[i])
		}
	}
	if len(f.Tolerance) > 0 && o.Tolerance == [2]float64{} {
		return usage("pack", "--lowrank-tolerance 0 saves nothing")
	}
	return nil
}

// printRanks says what became factors.
func printRanks(a *app, r *pack.Report) {
	factored := 0
	for _, t := range r.Tensors {
		factored += len(t.Ranks)
	}
	if r.Tolerance != nil {
		a.printf("factored: %d matrices, %.2f %% of the parameters of attention and MLP are left at a tolerance of %s\n",
			factored, 100*r.Kept, tolerances(*r.Tolerance))
	}
	if len(r.Choices) == 0 {
		return
	}
	won := map[string]int{}
	for _, c := range r.Choices {
		won[c.Chosen]++
	}
	a.printf("fewest bits for the same error of the outputs: %d dense, %d factors, %d dense with a correction\n",
		won["dense"], won["factors"], won["correction"])
}

func tolerances(eps [2]float64) string {
	if eps[0] == eps[1] {
		return fmt.Sprintf("%.4f", eps[0])
	}
	return fmt.Sprintf("%.4f (attention) and %.4f (MLP)", eps[0], eps[1])
}
