package pack_test

import (
	"bytes"
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lamina-llm/lamina/internal/kern"
	"github.com/lamina-llm/lamina/internal/source"
	"github.com/lamina-llm/lamina/model/token"
	"github.com/lamina-llm/lamina/pack"
	"github.com/lamina-llm/lamina/pack/calib"
	"github.com/lamina-llm/lamina/pack/tune"
	"github.com/lamina-llm/lamina/weights"
)

// A tuned file is whole, as large as asked, and the same from one worker and
// from two.
func TestTuned(t *testing.T) {
	if testing.Short() {
		t.Skip("trains a model twice; runs without -short")
	}
	t.Parallel()
	src, dir := checkpoint(t), t.TempDir()
	var files [][]byte
	for _, workers := range []int{1, 2} {
		path := filepath.Join(dir, "m.lamina")
		var learnt, total int64
		notice := ""
		o := pack.Options{
			Bits: 3, Workers: workers, Calibrate: &pack.Calibration{Name: "noise", Tokens: tokens(260)}, Tune: &pack.Tuning{Tokens: 2048},
			Notice: func(s string) { notice = s },
			Progress: func(p pack.Progress) {
				if p.Phase == "tune" {
					if p.Done <= learnt || !strings.HasPrefix(p.Tensor, "KL 0.") && !strings.HasPrefix(p.Tensor, "KL 1.") {
						t.Errorf("progress %+v after %d", p, learnt)
					}
					learnt, total = p.Done, p.Total
				}
			},
		}
		r, err := pack.Run(context.Background(), src, path, o)
		if err != nil {
			t.Fatal(err)
		}
		if learnt != 2048 || learnt != total {
			t.Errorf("learnt from %d tokens of %d, want 2048", learnt, total)
		}
		if !strings.Contains(notice, "MiB") {
			t.Errorf("memory was not told: %q", notice)
		}
		if r.Bits < 2.9 || r.Bits > 3.1 {
			t.Errorf("%.3f bits per weight, asked for 3", r.Bits)
		}
		f, err := weights.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range r.Tensors {
			if e := relativeError(t, src, f, x.Name); e < 0.01 || e > 1 || e > x.Error+0.01 || e < x.Error-0.01 {
				t.Errorf("%s: relative error %.3f, reported as %.3f", x.Name, e, x.Error)
			}
		}
		f.Close()
		files = append(files, contents(t, path))
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Error("two workers make another file than one")
	}
}

// A run that is interrupted while it learns goes on after the last phase: the
// file is that of one run.
func TestTunedResume(t *testing.T) {
	if testing.Short() {
		t.Skip("trains a model twice; runs without -short")
	}
	t.Parallel()
	src, dir := checkpoint(t), t.TempDir()
	o := pack.Options{Bits: 3, Workers: 2, Calibrate: &pack.Calibration{Name: "noise", Tokens: tokens(260)}, Tune: &pack.Tuning{Tokens: 12 * 2048}}
	whole, path := filepath.Join(dir, "whole"), filepath.Join(dir, "m.lamina")
	if _, err := pack.Run(t.Context(), src, whole, o); err != nil {
		t.Fatal(err)
	}
	o.Resume = true
	pass := func(stop int64) (first int64, err error) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		o.Progress = func(p pack.Progress) {
			if p.Phase != "tune" {
				return
			}
			if first == 0 {
				first = p.Done / 2048
			}
			if p.Done >= stop*2048 {
				cancel()
			}
		}
		_, err = pack.Run(ctx, src, path, o)
		return first, err
	}
	if _, err := pass(5); !errors.Is(err, context.Canceled) {
		t.Fatalf("not stopped: %v", err)
	}
	if first, err := pass(100); err != nil || first < 3 || first > 5 {
		t.Fatalf("went on with step %d, %v", first, err)
	}
	if !bytes.Equal(contents(t, path), contents(t, whole)) {
		t.Error("another file than that of one run")
	}
}

func TestTuningRefused(t *testing.T) {
	src, path := checkpoint(t), filepath.Join(t.TempDir(), "m.lamina")
	cal := &pack.Calibration{Name: "noise", Tokens: tokens(260)}
	for _, o := range []pack.Options{
		{Bits: 3, Tune: &pack.Tuning{Tokens: 4096}},
		{Bits: 3, Calibrate: cal, Tune: &pack.Tuning{Tokens: 100}},
		{Bits: 3, Calibrate: cal, Tune: &pack.Tuning{Tokens: 4096, Text: tokens(20)}},
		{Error: 0.1, Calibrate: cal, Tune: &pack.Tuning{Tokens: 4096}},
		{Bits: 3, Calibrate: cal, Tune: &pack.Tuning{Tokens: 4096}, Transform: pack.Hadamard},
		{Bits: 3, Calibrate: cal, Tune: &pack.Tuning{Tokens: 4096}, Representation: pack.Auto},
	} {
		if err := o.Validate(); err == nil {
			t.Errorf("accepted: %+v", o)
		}
	}
	_, err := pack.Run(context.Background(), src, path, pack.Options{Bits: 3, Calibrate: cal, Tune: &pack.Tuning{Tokens: 4096, Memory: 1 << 20}})
	if err == nil || !strings.Contains(err.Error(), "pack without it") {
		t.Errorf("a megabyte was enough: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("refused, and yet there is a file: %v", err)
	}
}

// In the first layers of a real model, training what is left of every matrix
// makes up for some of what rounding half of it did.
func TestTuneStoryteller(t *testing.T) {
	const dir = "../../shared/models/storyteller-22m"
	if testing.Short() {
		t.Skip("trains layers of a real model; runs without -short")
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("the unpacked checkpoint is not there: %v", err)
	}
	src, err := source.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	c := src.Config()
	c.Layers = 2
	w, err := pack.FisherWeights(src)
	if err != nil {
		t.Fatal(err)
	}
	student := tune.NewStudent(c)
	norm, head, err := w.Head()
	if err != nil {
		t.Fatal(err)
	}
	copy(student.Norm, norm)
	copy(student.Embed, head)
	matrices := [][]float32{student.Embed}
	for i, l := range student.Layers {
		from, err := w.Layer(i)
		if err != nil {
			t.Fatal(err)
		}
		for _, pair := range [][2][]float32{{l.AttnNorm, from.AttnNorm}, {l.QKV, from.QKV}, {l.Out, from.Out}, {l.FFNNorm, from.FFNNorm}, {l.GateUp, from.GateUp}, {l.Down, from.Down}} {
			copy(pair[0], pair[1])
		}
		matrices = append(matrices, l.QKV, l.Out, l.GateUp, l.Down)
	}
	x, err := tune.New(c, student, w, pack.Pool(2), 128, 2)
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range matrices {
		cols := []int{c.Hidden, c.Hidden, c.Heads * c.HeadDim, c.Hidden, c.Intermediate}[min(i, 1+(i-1)&3)]
		round(m, cols)
		var half []int
		for j := 0; j < cols; j += 2 {
			half = append(half, j)
		}
		x.Freeze(i, half)
	}
	tok, err := src.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	ids, err := tok.Encode(calib.Default()[:20000], token.EncodeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	step := func(x *tune.Trainer, from int, rate float32) float64 {
		v, err := x.Step(context.Background(), [][]int32{ids[from:][:128], ids[from+128:][:128]}, rate, rate)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	// Another trainer only measures, on text that is not trained on.
	judge, err := tune.New(c, student, w, pack.Pool(2), 128, 2)
	if err != nil {
		t.Fatal(err)
	}
	before := step(judge, 0, 0)
	for i := range 5 {
		t.Logf("trained at a divergence of %.4f", step(x, 256*(i+1), 2e-4))
	}
	after := step(judge, 0, 0)
	t.Logf("divergence from %.4f to %.4f", before, after)
	if before < 0.01 || after > 0.9*before {
		t.Errorf("divergence from %.4f to %.4f", before, after)
	}
}

// round takes every second column of m to whole multiples of its root mean
// square.
func round(m []float32, cols int) {
	rms := math.Sqrt(float64(kern.Dot(m, m)) / float64(len(m)))
	for i := range m {
		if i%cols%2 == 0 {
			m[i] = float32(math.Round(float64(m[i])/rms) * rms)
		}
	}
}
