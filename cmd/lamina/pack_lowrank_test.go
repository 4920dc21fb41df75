package main

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestPackLowrank(t *testing.T) {
	src, dir := fixture(t, "tiny"), t.TempDir()
	out, text := filepath.Join(dir, "m.lamina"), filepath.Join(dir, "text")
	write(t, text, []byte(strings.Repeat("It was a bright cold day in April, and the clocks were striking thirteen. ", 3)))
	report := ok(t, "pack", src, "-o", out, "--bits", "4", "--lowrank", "0.6")
	if !strings.Contains(report, "of the parameters of attention and MLP are left at a tolerance of") {
		t.Errorf("report:\n%s", report)
	}
	var r struct {
		KL float64 `json:"kl"`
	}
	// It runs, and it is another model than the source.
	okJSON(t, &r, "eval", out, "--text", text, "--tokens", "60", "--window", "32", "--reference", src, "--json")
	if !(r.KL > 0) {
		t.Errorf("KL %v", r.KL)
	}
	ok(t, "verify", out)
	if text := ok(t, "show", out); !strings.Contains(text, "energy kept") || strings.Contains(text, "?") {
		t.Errorf("energy is not shown:\n%s", text)
	}
	for _, bad := range [][]string{
		{"--lowrank", "1.2"}, {"--lowrank", "0.5", "--lowrank-tolerance", "0.4"}, {"--representation", "lowrank"},
		{"--representation", "dense", "--lowrank", "0.5"}, {"--representation", "auto"}, {"--lowrank-tolerance", "0.1,0.2,0.3"},
		{"--lowrank-tolerance", "2"}, {"--lowrank-tolerance", "0"}, {"--lowrank", "0.5", "--lowrank-method", "als"}, {"--lowrank-method", "svd"},
		{"--representation", "thin"},
	} {
		if status, _, errs := run(t, append([]string{"pack", src, "-o", out, "-f", "--bits", "4"}, bad...)...); status != exitUsage {
			t.Errorf("%v: status %d: %s", bad, status, errs)
		}
	}
}
