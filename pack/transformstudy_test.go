package pack_test

import (
	"math"
	"testing"

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/pack"
)

// TestStudyTransforms runs the study on random weights.
func TestStudyTransforms(t *testing.T) {
	if testing.Short() {
		t.Skip("calibrates twice; runs without -short")
	}
	t.Parallel()
	src := checkpoint(t)
	o := pack.Options{Mode: rans.Scalar, Workers: 2, Calibrate: &pack.Calibration{Name: "noise", Tokens: tokens(900)}}
	test := &pack.Calibration{Name: "more", Tokens: tokens(1400)[900:]}
	s, err := pack.StudyTransforms(t.Context(), src, o, test, []int{1}, []float64{2.5})
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]map[bool]pack.TransformResult{}
	for _, r := range s.Results {
		if r.Matrix != "layers.1.out" {
			continue
		}
		if found[r.Way] == nil {
			found[r.Way] = map[bool]pack.TransformResult{}
		}
		found[r.Way][r.Feedback] = r
		// 2.5 bits of a Gaussian source leave 0.18 at best.
		if !(r.Error > 0.02 && r.Error < 0.5) {
			t.Errorf("%+v", r)
		}
	}
	for _, way := range []string{"none", "diagonal", "hadamard", "kronecker", "affine", "full"} {
		if len(found[way]) == 0 {
			t.Errorf("no results of %s", way)
		}
	}
	if p := found["kronecker"][false].Params; p != 16*(8*8+16*16)/float64(192*128) {
		t.Errorf("%v bits a weight for the parameters of 8 x 8 and 16 x 16", p)
	}
	// Entropy-coded uniform levels of Gaussian weights leave sqrt(pi e/6) 2^-bits
	// whatever the inputs are; an orthogonal transform changes nothing.
	theory := math.Sqrt(math.Pi*math.E/6) * math.Exp2(-2.5)
	for _, way := range []string{"none", "hadamard"} {
		if e := found[way][false].Error; e < 0.9*theory || e > 1.2*theory {
			t.Errorf("%s: error %v, theory %v", way, e, theory)
		}
	}
	if a, b := found["none"][true].Error, found["none"][false].Error; a > b {
		t.Errorf("error feedback gives an error of %v, rounding %v", a, b)
	}
	if _, err := pack.StudyTransforms(t.Context(), src, o, test, []int{7}, []float64{2}); err == nil {
		t.Error("a layer that is not there was studied")
	}
	if _, err := pack.StudyTransforms(t.Context(), src, pack.Options{}, test, []int{0}, []float64{2}); err == nil {
		t.Error("nothing to train on")
	}
}
