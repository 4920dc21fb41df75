package pack_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/pack"
	"github.com/lamina-llm/lamina/weights"
)

// contents returns the bytes of all spans of all tensors.
func contents(t *testing.T, path string) []byte {
	t.Helper()
	f, err := weights.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []byte
	for _, x := range f.Tensors() {
		all = append(all, x.Name...)
		for _, s := range x.Spans {
			b := make([]byte, s.Len)
			if err := f.ReadSpan(b, s); err != nil {
				t.Fatal(err)
			}
			all = append(all, b...)
		}
	}
	return all
}

// TestResume interrupts runs and goes on: the file is that of one run.
func TestResume(t *testing.T) {
	t.Parallel()
	src := checkpoint(t)
	for _, c := range []struct {
		name string
		o    pack.Options
		stop []string // tensors after which a run is interrupted
	}{
		{"data-free", pack.Options{Bits: 3, Mode: rans.Scalar, Workers: 2}, []string{"layers.0.out"}},
		{"calibrated", pack.Options{Bits: 3, Mode: rans.Scalar, Workers: 8, Calibrate: &pack.Calibration{Name: "noise", Tokens: tokens(130)}}, []string{"layers.0.out", "layers.1.qkv"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.o.Calibrate != nil && testing.Short() {
				t.Skip("calibrates twice; runs without -short")
			}
			dir := t.TempDir()
			whole, path := filepath.Join(dir, "whole"), filepath.Join(dir, "m.lamina")
			if _, err := pack.Run(context.Background(), src, whole, c.o); err != nil {
				t.Fatal(err)
			}
			o := c.o
			o.Resume = true
			run := func(stop string) (*pack.Report, map[string]int, []string, error) {
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				seen, notes := map[string]int{}, []string(nil)
				o.Notice = func(s string) { notes = append(notes, s) }
				o.Progress = func(p pack.Progress) {
					seen[p.Phase]++
					if p.Phase == "encode" && p.Tensor == stop {
						cancel()
					}
				}
				r, err := pack.Run(ctx, src, path, o)
				return r, seen, notes, err
			}
			for i, stop := range c.stop {
				_, seen, notes, err := run(stop)
				if !errors.Is(err, context.Canceled) || len(notes) != 0 {
					t.Fatalf("stopped after %s: %v, %v", stop, err, notes)
				}
				if o.Calibrate != nil && (seen["calibrate"] > 0) != (i == 0) {
					t.Errorf("run %d: %v", i, seen)
				}
			}
			// A crash while a line or a tensor was written.
			for _, name := range []string{"journal", "tensors"} {
				f, err := os.OpenFile(filepath.Join(path+".resume", name), os.O_APPEND|os.O_WRONLY, 0)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := f.WriteString(`{"info":`); err != nil {
					t.Fatal(err)
				}
				f.Close()
			}
			r, seen, notes, err := run("")
			if err != nil || len(notes) != 0 {
				t.Fatal(err, notes)
			}
			if r.Resumed < 3 || r.Resumed >= len(r.Tensors) || seen["calibrate"] != 0 {
				t.Errorf("%d of %d tensors taken over, %v", r.Resumed, len(r.Tensors), seen)
			}
			if !bytes.Equal(contents(t, path), contents(t, whole)) {
				t.Error("another file than that of one run")
			}
			if _, err := os.Stat(path + ".resume"); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the journal stays: %v", err)
			}
		})
	}
}

// TestResumeOther has journals that do not fit.
func TestResumeOther(t *testing.T) {
	t.Parallel()
	src, path := checkpoint(t), filepath.Join(t.TempDir(), "m.lamina")
	interrupted := func(bits float64) {
		t.Helper()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		_, err := pack.Run(ctx, src, path, pack.Options{Bits: bits, Mode: rans.Scalar, Resume: true, Progress: func(p pack.Progress) {
			if p.Tensor == "layers.0.gate_up" && p.Phase == "encode" {
				cancel()
			}
		}})
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	finish := func(bits float64) (r *pack.Report, note string) {
		t.Helper()
		r, err := pack.Run(context.Background(), src, path, pack.Options{Bits: bits, Mode: rans.Scalar, Resume: true, Notice: func(s string) { note += s }})
		if err != nil {
			t.Fatal(err)
		}
		return r, note
	}
	interrupted(3)
	kept := filepath.Join(t.TempDir(), "kept")
	if err := os.CopyFS(kept, os.DirFS(path+".resume")); err != nil {
		t.Fatal(err)
	}
	if r, note := finish(4); r.Resumed != 0 || !strings.Contains(note, "is not used: it is of another source or of other options") {
		t.Errorf("%d tensors taken over, %q", r.Resumed, note)
	}
	if err := os.CopyFS(path+".resume", os.DirFS(kept)); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(path+".resume", "tensors")
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
	if r, note := finish(3); r.Resumed > 3 || note != "" {
		t.Errorf("%d tensors taken over, %q", r.Resumed, note)
	}
}
