package tune

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lamina-llm/lamina/model/llama"
)

// serial is a pool of one worker, or of several that take turns.
type serial int

func (s serial) Workers() int { return int(s) }
func (s serial) For(n int, f func(worker, i int)) {
	for i := range n {
		f(i%int(s), i)
	}
}

// tiny returns the configuration of a small model and random weights for it.
func tiny(tied bool) (llama.Config, *Student) {
	c := llama.Config{Vocab: 40, Hidden: 16, Intermediate: 24, Layers: 2, Heads: 4, KVHeads: 2, HeadDim: 8, MaxContext: 64, RopeTheta: 10000, NormEps: 1e-5, Tied: tied}
	s := NewStudent(c)
	r := rand.New(rand.NewPCG(1, 2))
	fill := func(x []float32, size, mean float64) {
		for i := range x {
			x[i] = float32(mean + size*r.NormFloat64())
		}
	}
	fill(s.Embed, 1, 0)
	fill(s.Norm, 0.2, 1)
	if !tied {
		fill(s.Output, 0.4, 0)
	}
	for _, l := range s.Layers {
		fill(l.AttnNorm, 0.2, 1)
		fill(l.QKV, 0.5, 0)
		fill(l.Out, 0.3, 0)
		fill(l.FFNNorm, 0.2, 1)
		fill(l.GateUp, 0.4, 0)
		fill(l.Down, 0.4, 0)
	}
	return c, s
}

// disturb adds noise to every matrix.
func disturb(t *Trainer, size float64) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, v := range slices.Concat(t.matrices, t.norms) {
		for i := range v.w {
			v.w[i] += float32(size * r.NormFloat64())
		}
	}
}

func text(c llama.Config, windows, n int) (out [][]int32) {
	r := rand.New(rand.NewPCG(7, 8))
	for range windows {
		ids := make([]int32, n)
		for i := range ids {
			ids[i] = int32(r.IntN(c.Vocab))
		}
		out = append(out, ids)
	}
	return out
}

func trainer(t *testing.T, tied bool, workers int) (*Trainer, llama.Config) {
	t.Helper()
	c, source := tiny(tied)
	_, student := tiny(tied)
	x, err := New(c, student, source, serial(workers), 40, 3)
	if err != nil {
		t.Fatal(err)
	}
	return x, c
}

// Gradients agree with differences of the divergence.
func TestGradients(t *testing.T) {
	for _, tied := range []bool{true, false} {
		x, c := trainer(t, tied, 1)
		disturb(x, 0.05)
		windows := append(text(c, 2, 40), text(c, 1, 5)...)
		divergence := func() float64 {
			all := slices.Concat(x.matrices, x.norms)
			for _, v := range all {
				clear(v.g)
			}
			kl, err := x.pass(context.Background(), windows)
			if err != nil {
				t.Fatal(err)
			}
			return kl
		}
		if kl := divergence(); kl < 0.01 {
			t.Fatalf("divergence %g of a disturbed model", kl)
		}
		r := rand.New(rand.NewPCG(3, 4))
		for i, v := range slices.Concat(x.matrices, x.norms) {
			divergence()
			// Along a random direction all elements count at once.
			const h = 1e-3
			dir, before := make([]float32, len(v.w)), slices.Clone(v.w)
			want := 0.0
			for k := range dir {
				dir[k] = float32(r.NormFloat64())
				want += float64(dir[k] * v.g[k])
			}
			move := func(by float32) {
				for k := range v.w {
					v.w[k] = before[k] + by*dir[k]
				}
			}
			move(h)
			up := divergence()
			move(-h)
			down := divergence()
			move(0)
			got := (up - down) / (2 * h)
			if math.Abs(got-want) > 0.02*math.Abs(want)+0.02 {
				t.Errorf("tied %v, variable %d: slope %.4f, gradients give %.4f", tied, i, got, want)
			}
		}
	}
}

// Training takes back what was done to the weights, as seen in the divergence;
// frozen columns stay; the number of workers changes nothing.
func TestStep(t *testing.T) {
	run := func(workers int) (first, last float64, w []float32) {
		x, c := trainer(t, true, workers)
		disturb(x, 0.1)
		frozen := []int{0, 3, 4, 11}
		for i := range x.matrices {
			x.Freeze(i, frozen)
		}
		all := make([]int, x.matrices[2].cols)
		for j := range all {
			all[j] = j
		}
		x.Freeze(2, all)
		before := make([][]float32, len(x.matrices))
		for i, v := range x.matrices {
			before[i] = slices.Clone(v.w)
		}
		windows := text(c, 4, 12)
		for i := range 60 {
			kl, err := x.Step(context.Background(), windows, 3e-3, 3e-3)
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				first = kl
			}
			last = kl
		}
		for i, v := range x.matrices {
			moved := false
			for k, a := range v.w {
				if !slices.Contains(v.left, int32(k%v.cols)) && a != before[i][k] {
					t.Fatalf("matrix %d: frozen element %d moved", i, k)
				}
				moved = moved || a != before[i][k]
			}
			if moved == (i == 2) {
				t.Errorf("matrix %d: moved is %v", i, moved)
			}
		}
		return first, last, x.matrices[1].w
	}
	first, last, w := run(1)
	if first < 0.02 || last > first/4 {
		t.Errorf("divergence %.4f after training, %.4f before", last, first)
	}
	if _, _, w3 := run(3); !slices.Equal(w, w3) {
		t.Error("three workers train another model than one")
	}
}

// A student that is the source has nothing to learn.
func TestNothingToLearn(t *testing.T) {
	x, c := trainer(t, true, 1)
	kl, err := x.Step(context.Background(), text(c, 2, 12), 0, 0)
	if err != nil || kl > 1e-6 {
		t.Errorf("divergence %g from itself, error %v", kl, err)
	}
	if _, err := x.Step(context.Background(), [][]int32{{int32(c.Vocab)}}, 0, 0); err == nil {
		t.Error("a token outside the vocabulary was taken")
	}
}

// A step that fails, or that has nothing to learn from, leaves no trace.
func TestStepFails(t *testing.T) {
	run := func(fail func(x *Trainer, good [][]int32)) []float32 {
		x, c := trainer(t, true, 1)
		disturb(x, 0.1)
		windows := text(c, 6, 12)
		for i := range 2 {
			if i == 1 && fail != nil {
				fail(x, windows)
			}
			if _, err := x.Step(context.Background(), windows, 1e-2, 1e-2); err != nil {
				t.Fatal(err)
			}
		}
		return slices.Concat(x.student.Embed, x.student.Norm, x.student.Layers[0].QKV)
	}
	want := run(nil)
	for name, fail := range map[string]func(x *Trainer, good [][]int32){
		"a bad token": func(x *Trainer, good [][]int32) {
			// The first batch of three windows is good.
			if _, err := x.Step(context.Background(), append(slices.Clone(good[:3]), []int32{-1}), 1, 1); err == nil {
				t.Error("a token outside the vocabulary was taken")
			}
		},
		"an interruption": func(x *Trainer, good [][]int32) {
			reason := errors.New("enough")
			ctx, stop := context.WithCancelCause(context.Background())
			stop(reason)
			if _, err := x.Step(ctx, good, 1, 1); !errors.Is(err, reason) {
				t.Errorf("interrupted: %v", err)
			}
		},
		"no tokens": func(x *Trainer, _ [][]int32) {
			for _, none := range [][][]int32{nil, {{}, {}}} {
				if kl, err := x.Step(context.Background(), none, 1, 1); kl != 0 || err != nil {
					t.Errorf("nothing: %v, %v", kl, err)
				}
			}
		},
		"predictions that overflow": func(x *Trainer, good [][]int32) {
			was := x.student.Layers[1].Down[5]
			x.student.Layers[1].Down[5] = float32(math.Inf(1))
			if _, err := x.Step(context.Background(), good, 1, 1); !errors.Is(err, ErrDiverged) {
				t.Errorf("an infinite weight: %v", err)
			}
			x.student.Layers[1].Down[5] = was
		},
	} {
		if !slices.Equal(run(fail), want) {
			t.Errorf("%s left a trace", name)
		}
	}
}
