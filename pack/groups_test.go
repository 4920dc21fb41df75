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

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/pack"
)

// TestStatisticsInGroups bounds the statistics so that a layer's are all that
// fits: the file is that of a run that holds all of them, also when it is interrupted.
func TestStatisticsInGroups(t *testing.T) {
	t.Parallel()
	src, dir := checkpoint(t), t.TempDir()
	whole, path := filepath.Join(dir, "whole"), filepath.Join(dir, "m.lamina")
	const n = 130
	o := pack.Options{Bits: 3, Mode: rans.Scalar, Workers: 2, Calibrate: &pack.Calibration{Name: "noise", Tokens: tokens(n)}}
	if _, err := pack.Run(context.Background(), src, whole, o); err != nil {
		t.Fatal(err)
	}
	o.Statistics, o.Resume = 4<<20, true
	for _, stop := range []string{"layers.1.gate_up", ""} {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		total := int64(0)
		o.Progress = func(p pack.Progress) {
			switch {
			case p.Phase == "calibrate":
				total = p.Total
			case p.Phase == "encode" && p.Tensor == stop:
				cancel()
			}
		}
		_, err := pack.Run(ctx, src, path, o)
		if stop != "" {
			if !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			if total != tinyLayers*n {
				t.Errorf("calibration counts to %d tokens, want %d passes of %d", total, tinyLayers, n)
			}
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(contents(t, path), contents(t, whole)) {
		t.Error("another file than that of a run that holds all statistics")
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 2 {
		t.Errorf("left behind: %v, %v", files, err)
	}
	o.Statistics = 1 << 20
	if _, err := pack.Run(context.Background(), src, path, o); err == nil || !strings.Contains(err.Error(), "a matrix of layer 2 take 3 MiB, at most 1 MiB") {
		t.Errorf("a matrix whose statistics are too large: %v", err)
	}
	o.Statistics, o.Representation, o.Keep = 4<<20, pack.Factors, 0.8
	if _, err := pack.Run(context.Background(), src, path, o); err == nil || !strings.Contains(err.Error(), "dense matrices alone") {
		t.Errorf("factors with parked statistics: %v", err)
	}
}

// TestDrift packs with drift correction, in one pass over the text and in several: both are
// the same, of the asked size, and not what comes out without.
func TestDrift(t *testing.T) {
	t.Parallel()
	src, dir := checkpoint(t), t.TempDir()
	o := pack.Options{Size: 700 << 10, Mode: rans.Scalar, Workers: 2, Calibrate: &pack.Calibration{Name: "noise", Tokens: tokens(300)}}
	files := map[string][]byte{}
	for _, c := range []struct {
		name       string
		drift      bool
		statistics int64
	}{{"without", false, 0}, {"with", true, 0}, {"in groups", true, 4 << 20}} {
		o.Drift, o.Statistics = c.drift, c.statistics
		path := filepath.Join(dir, c.name)
		r, err := pack.Run(context.Background(), src, path, o)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if math.Abs(float64(r.Bytes-o.Size)) > 0.02*float64(o.Size) {
			t.Errorf("%s: %d bytes, want %d", c.name, r.Bytes, o.Size)
		}
		files[c.name] = contents(t, path)
	}
	if bytes.Equal(files["with"], files["without"]) {
		t.Error("drift correction changes nothing")
	}
	if !bytes.Equal(files["with"], files["in groups"]) {
		t.Error("another file when statistics come in groups")
	}
	o.Resume = true
	if _, err := pack.Run(context.Background(), src, filepath.Join(dir, "m"), o); err == nil {
		t.Error("drift correction with resume was accepted")
	}
}
