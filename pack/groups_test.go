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
