package main

import (
	"math"
	"path/filepath"
	"strings"
	"testing"
)

func TestLowrank(t *testing.T) {
	src := fixture(t, "tiny")
	text := filepath.Join(t.TempDir(), "text")
	write(t, text, []byte(strings.Repeat("It was a bright cold day in April, and the clocks were striking thirteen. ", 10)))
	var r struct {
		Source struct {
			PPL    float64 `json:"ppl"`
			Tokens int     `json:"tokens"`
		} `json:"source"`
		CalibrationTokens int `json:"calibration_tokens"`
		Rows              []struct {
			Keep      float64 `json:"keep"`
			Kept      float64 `json:"kept"`
			Tolerance float64 `json:"tolerance"`
			Way       string  `json:"way"`
			Factored  int     `json:"factored"`
			Error     float64 `json:"error"`
			PPL       float64 `json:"ppl"`
			KL        float64 `json:"kl"`
			Token     float64 `json:"token_ms"`
		} `json:"rows"`
	}
	okJSON(t, &r, "lowrank", src, "--text", text, "--tokens", "100", "--window", "32", "--json",
		"--keep", "0.9,0.5", "--calibrate-tokens", "600", "--ways", "svd-uniform,als-uniform,svd,pgsvd,optimal")
	var e struct {
		PPL float64 `json:"ppl"`
	}
	okJSON(t, &e, "eval", src, "--text", text, "--tokens", "100", "--window", "32", "--json")
	if math.Abs(r.Source.PPL-e.PPL) > 1e-4*e.PPL || r.Source.Tokens != 100 || r.CalibrationTokens != 600 {
		t.Errorf("source: %+v, eval says %v", r.Source, e.PPL)
	}
	if len(r.Rows) != 10 {
		t.Fatalf("%d rows", len(r.Rows))
	}
	for i, x := range r.Rows {
		keep, uniform := []float64{0.9, 0.5}[i/5], strings.HasSuffix(x.Way, "-uniform")
		if x.Keep != keep || !uniform && x.Kept > keep || x.Kept < keep-0.1 || x.Kept > keep+0.1 || (x.Tolerance == 0) != uniform ||
			x.Factored == 0 || !(x.KL > 0) || !(x.PPL > 0) || !(x.Token > 0) {
			t.Errorf("%+v", x)
		}
	}
	for at := 0; at < 10; at += 5 { // what the text's outputs lose
		row := r.Rows[at : at+5]
		if !(row[1].Error < row[0].Error && row[3].Error < row[2].Error && row[4].Error <= row[3].Error*(1+1e-9)) {
			t.Errorf("keep %v: errors %v %v %v %v %v", row[0].Keep, row[0].Error, row[1].Error, row[2].Error, row[3].Error, row[4].Error)
		}
	}
	if out := ok(t, "lowrank", src, "--text", text, "--tokens", "64", "--window", "32", "--keep", "0.7", "--ways", "pgsvd"); !strings.Contains(out, "pgsvd") {
		t.Errorf("table:\n%s", out)
	}
	for _, bad := range [][]string{{"--keep", "1.5"}, {"--keep", "0"}, {"--tokens", "1"}, {"--window", "1"}, {"--calibrate-tokens", "3"}, {"--ways", "none"}} {
		if status, _, errs := run(t, append([]string{"lowrank", src, "--text", text}, bad...)...); status != exitUsage {
			t.Errorf("%v: status %d: %s", bad, status, errs)
		}
	}
}
