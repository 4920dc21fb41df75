package pack_test

import (
	"errors"
	"math"
	"os"
	"testing"

	"github.com/lamina-llm/lamina/internal/source"
	"github.com/lamina-llm/lamina/lowrank"
	"github.com/lamina-llm/lamina/pack"
)

// TestTolerance compares with the tolerances that an independent program found
// for storyteller-22m.
func TestTolerance(t *testing.T) {
	if testing.Short() {
		t.Skip("decomposes a whole checkpoint")
	}
	const path = "../../shared/models/storyteller-22m"
	if _, err := os.Stat(path); err != nil {
		t.Skip("no checkpoint in ../shared/models/storyteller-22m")
	}
	src, err := source.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	l, err := pack.NewLowRank(t.Context(), src, pack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(l.Matrices) != 7*12 {
		t.Fatalf("%d matrices", len(l.Matrices))
	}
	total := float64(l.Params(make([]int, 7*12)))
	for keep, want := range map[float64]float64{0.9: 0.3456, 0.8: 0.4052, 0.7: 0.4665, 0.6: 0.5302} {
		eps, err := l.Tolerance(keep)
		if err != nil || math.Abs(eps-want) > 0.01*want {
			t.Errorf("keeping %v: tolerance %v, want %v (%v)", keep, eps, want, err)
		}
		if kept := float64(l.Params(l.Ranks(eps, eps))) / total; kept > keep || kept < keep-0.002 {
			t.Errorf("keeping %v: %v", keep, kept)
		}
		if kept := float64(l.Params(l.Uniform(keep))) / total; math.Abs(kept-keep) > 0.01 {
			t.Errorf("keeping %v of each: %v", keep, kept)
		}
	}
	// A tolerance of each class.
	for i, r := range l.Ranks(0.5, 0) {
		if (r > 0) != l.Matrices[i].Attention {
			t.Errorf("%s: rank %d", l.Matrices[i].Name, r)
		}
	}
}

func TestLowRankLayers(t *testing.T) {
	src := checkpoint(t)
	l, err := pack.NewLowRank(t.Context(), src, pack.Options{Calibrate: &pack.Calibration{Name: "test", Tokens: tokens(300)}, Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range l.Matrices[:7] {
		layer, err := l.Layer(i, 2)
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range layer.Values() {
			if math.Abs(v-m.Values[k]) > 1e-9*m.Values[0] {
				t.Fatalf("%s: singular value %d is %v, then %v", m.Name, k, m.Values[k], v)
			}
		}
		last := math.Inf(1)
		for _, method := range []pack.Method{pack.SVD, pack.ALS, pack.Optimal} {
			p, err := method.Pair(layer, 20)
			if err != nil {
				t.Fatal(err)
			}
			if e := p.Errors[len(p.Errors)-1]; !(e <= last+1e-12) || !(e > 0) {
				t.Errorf("%s: %s has an error of %v after %v", m.Name, method, e, last)
			} else {
				last = e
			}
		}
	}
	if _, err := l.Tolerance(0); !errors.Is(err, lowrank.ErrShape) {
		t.Errorf("keeping nothing: %v", err)
	}
	if _, err := pack.Method("magic").Pair(nil, 1); err == nil {
		t.Error("no error for an unknown method")
	}
}
