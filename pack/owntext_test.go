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

// TestOwnText packs without a text, interrupted while the model's own is in
// use: it is not written twice, and the file is that of one run.
func TestOwnText(t *testing.T) {
	if testing.Short() {
		t.Skip("calibrates several times; runs without -short")
	}
	t.Parallel()
	src, dir := checkpoint(t), t.TempDir()
	path := filepath.Join(dir, "m.lamina")
	pass := func(path, stop string, own pack.OwnText, resume bool) (map[string]pack.Progress, error) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		last := map[string]pack.Progress{}
		_, err := pack.Run(ctx, src, path, pack.Options{Bits: 3, Mode: rans.Scalar, Workers: 2, Resume: resume,
			Calibrate: &pack.Calibration{Name: "self", Own: &own},
			Progress: func(p pack.Progress) {
				last[p.Phase] = p
				if p.Phase == stop {
					cancel()
				}
			}})
		return last, err
	}
	own := pack.OwnText{Tokens: 200, BOS: 5, Seed: 1}
	last, err := pass(path, "", own, false)
	if err != nil {
		t.Fatal(err)
	}
	if p := last["write"]; p.Done != 200 || p.Total != 200 || last["calibrate"].Done != 200 {
		t.Errorf("progress ended with %+v", last)
	}
	f, err := weights.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	prov, err := f.Section("provenance")
	f.Close()
	if err != nil || !strings.Contains(string(prov), `"calibrated on 200 tokens of text that the model wrote, scalar`) {
		t.Errorf("provenance %s, %v", prov, err)
	}
	again := filepath.Join(dir, "again.lamina")
	if last, err = pass(again, "calibrate", own, true); !errors.Is(err, context.Canceled) || last["write"].Done != 200 {
		t.Fatalf("%+v, %v", last, err)
	}
	if last, err = pass(again, "", own, true); err != nil || last["write"].Total != 0 {
		t.Errorf("the text was written twice: %+v, %v", last, err)
	}
	if !bytes.Equal(contents(t, again), contents(t, path)) {
		t.Error("another file than that of one run")
	}
	// A text that is damaged, or of another run, does not count.
	if _, err = pass(again, "calibrate", own, true); err == nil {
		t.Fatal("not stopped")
	}
	text := filepath.Join(again+".resume", "text")
	data, err := os.ReadFile(text)
	if err != nil {
		t.Fatal(err)
	}
	data[3] ^= 1
	if err := os.WriteFile(text, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(again+".resume", "statistics")); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err) // a short text is calibrated on before the run stops
	}
	if last, _ = pass(again, "calibrate", own, true); last["write"].Done != 200 {
		t.Error("a damaged text was taken")
	}
	own.Seed++
	if last, _ = pass(again, "calibrate", own, true); last["write"].Done != 200 {
		t.Error("the text of another seed was taken")
	}
	both := pack.Options{Bits: 3, Calibrate: &pack.Calibration{Own: &own, Tokens: tokens(200)}}
	if both.Validate() == nil {
		t.Error("a text and the model's own were accepted together")
	}
}
