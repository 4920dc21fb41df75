package pack_test

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/lamina-llm/lamina/internal/source"
	"github.com/lamina-llm/lamina/lowrank"
	"github.com/lamina-llm/lamina/pack"
	"github.com/lamina-llm/lamina/weights"
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
	l, err := pack.NewLowRank(t.Context(), src, pack.Options{}, false)
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
	l, err := pack.NewLowRank(t.Context(), src, pack.Options{Calibrate: &pack.Calibration{Name: "test", Tokens: tokens(300)}, Workers: 2}, false)
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

// TestPackFactors packs to factors and checks the report against the file.
func TestPackFactors(t *testing.T) {
	src := checkpoint(t)
	cal := &pack.Calibration{Name: "test", Tokens: tokens(400)}
	for name, o := range map[string]pack.Options{
		"keep":       {Bits: 3, Representation: pack.Factors, Keep: 0.6, Calibrate: cal},
		"tolerances": {Bits: 3, Representation: pack.Factors, Tolerance: [2]float64{0.7, 0}, Calibrate: cal, Method: pack.Optimal},
		"data-free":  {Bits: 3, Representation: pack.Factors, Keep: 0.6},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "m.lamina")
			r, err := pack.Run(t.Context(), src, path, o)
			if err != nil {
				t.Fatal(err)
			}
			if math.Abs(r.Bits-o.Bits) > 0.05*o.Bits {
				t.Errorf("%v bits, want %v", r.Bits, o.Bits)
			}
			if o.Keep > 0 && (r.Kept > o.Keep || r.Kept < o.Keep-0.02 || r.Tolerance[0] != r.Tolerance[1]) {
				t.Errorf("kept %v at %v", r.Kept, r.Tolerance)
			}
			f, err := weights.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			codec := map[string]string{}
			for _, x := range f.Tensors() {
				codec[x.Name] = x.Codec
			}
			data, err := f.Section("provenance")
			if err != nil {
				t.Fatal(err)
			}
			var from struct {
				Energy map[string][]float64 `json:"energy_kept"`
			}
			if err := json.Unmarshal(data, &from); err != nil {
				t.Fatal(err)
			}
			for _, x := range r.Tensors {
				attention := strings.Contains(x.Name, "qkv") || strings.Contains(x.Name, ".out")
				want := "rans1"
				if x.Name != "embed" && (name != "tolerances" || attention) {
					want = "lowrank1"
				}
				if codec[x.Name] != want || (len(x.Ranks) > 0) != (want == "lowrank1") {
					t.Errorf("%s: codec %s with ranks %v", x.Name, codec[x.Name], x.Ranks)
				}
				kept := from.Energy[x.Name]
				if (len(kept) > 0) != (want == "lowrank1") {
					t.Errorf("%s: energy %v kept", x.Name, kept)
				}
				for _, e := range kept {
					// SVD leaves at least what the tolerance says, ALS a little less.
					if eps := r.Tolerance[0]; !(e >= 1-1.5*eps*eps && e <= 1) || name == "data-free" && e < 1-eps*eps-1e-5 {
						t.Errorf("%s: energy %v kept at tolerance %v", x.Name, kept, eps)
					}
				}
				// What is cut is the tolerance; at so many bits coding adds little.
				if want == "lowrank1" && (x.Error < 0.8*r.Tolerance[0] || x.Error > 2*r.Tolerance[0]) {
					t.Errorf("%s: error %v at tolerance %v", x.Name, x.Error, r.Tolerance[0])
				}
			}
		})
	}
}

// TestPackAuto checks that what is chosen takes fewest bits.
func TestPackAuto(t *testing.T) {
	if testing.Short() {
		t.Skip("tries many representations")
	}
	src := checkpoint(t)
	r, err := pack.Run(t.Context(), src, filepath.Join(t.TempDir(), "m.lamina"), pack.Options{
		Bits: 3.5, Representation: pack.Auto, Calibrate: &pack.Calibration{Name: "test", Tokens: tokens(400)},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Choices) != 4*tinyLayers {
		t.Fatalf("%d choices", len(r.Choices))
	}
	for _, c := range r.Choices {
		best, name := c.Dense, "dense"
		for _, o := range []struct {
			bits float64
			name string
		}{{c.Factors, "factors"}, {c.Correction, "correction"}} {
			if o.bits > 0 && o.bits < best {
				best, name = o.bits, o.name
			}
		}
		if c.Chosen != name || !(c.Error > 0 && c.Error < 1) || !(c.Dense > 0) {
			t.Errorf("%+v: want %s", c, name)
		}
	}
}

// TestPackAutoDense checks that where dense matrices win throughout, what comes
// out is the dense file, byte for byte, but for the words of its provenance.
func TestPackAutoDense(t *testing.T) {
	if testing.Short() {
		t.Skip("tries many representations")
	}
	src := checkpoint(t)
	o := pack.Options{Bits: 5, Calibrate: &pack.Calibration{Name: "test", Tokens: tokens(400)}}
	files := map[pack.Representation]*weights.File{}
	for _, r := range []pack.Representation{pack.Dense, pack.Auto} {
		o.Representation = r
		path := filepath.Join(t.TempDir(), "m.lamina")
		report, err := pack.Run(t.Context(), src, path, o)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range report.Choices {
			if c.Chosen != "dense" {
				t.Fatalf("%+v: dense was to win here", c)
			}
		}
		f, err := weights.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files[r] = f
	}
	dense, auto := files[pack.Dense].Tensors(), files[pack.Auto].Tensors()
	if len(dense) != len(auto) {
		t.Fatalf("%d tensors, want %d", len(auto), len(dense))
	}
	for i, d := range dense {
		if !reflect.DeepEqual(d, auto[i]) {
			t.Errorf("%s: %+v, want %+v", d.Name, auto[i], d)
		}
	}
}

func TestRepresentationRefused(t *testing.T) {
	cal := &pack.Calibration{Name: "test", Tokens: tokens(400)}
	for _, o := range []pack.Options{
		{Representation: "sparse"},
		{Representation: pack.Factors},
		{Representation: pack.Factors, Keep: 0.5, Tolerance: [2]float64{0.5, 0.5}},
		{Representation: pack.Factors, Keep: 1},
		{Representation: pack.Factors, Keep: math.NaN()},
		{Representation: pack.Factors, Tolerance: [2]float64{0.5, 2}},
		{Representation: pack.Factors, Keep: 0.5, Method: "magic"},
		{Representation: pack.Factors, Keep: 0.5, Method: pack.ALS},
		{Representation: pack.Auto},
		{Representation: pack.Auto, Keep: 0.5, Calibrate: cal},
		{Keep: 0.5},
	} {
		o.Bits = 3
		if err := o.Validate(); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
}
