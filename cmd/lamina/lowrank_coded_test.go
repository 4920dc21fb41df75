package main

import (
	"bytes"
	"encoding/json"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLowrankCoded compares the measurement of a file with what pack and eval
// say, and follows it into a plot and a report.
func TestLowrankCoded(t *testing.T) {
	src, dir := fixture(t, "tiny"), t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	write(t, at("text"), []byte(strings.Repeat("It was a bright cold day in April, and the clocks were striking thirteen. ", 10)))
	same := []string{"--text", at("text"), "--tokens", "100", "--window", "32"}
	args := append([]string{"lowrank", src, "--calibrate", at("text"), "--calibrate-tokens", "512", "--keep", "0.6", "--coded", "4", "--plot", at("plot.png")}, same...)
	var r struct {
		PPL   float64 `json:"source_ppl"`
		Coded []struct {
			Name    string  `json:"name"`
			Bytes   int64   `json:"file_bytes"`
			PPL     float64 `json:"ppl"`
			KL      float64 `json:"kl"`
			Choices string  `json:"choices"`
		} `json:"coded"`
	}
	out := ok(t, append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Coded) != 3 {
		t.Fatalf("%d files: %+v", len(r.Coded), r)
	}
	for i, p := range r.Coded {
		if want := []string{"dense", "auto", "factored 0.6"}[i]; p.Name != want || !(p.KL > 0) || (p.Choices != "") != (want == "auto") {
			t.Errorf("%d: %+v, want %s", i, p, want)
		}
	}
	ok(t, "pack", src, "-o", at("m.lamina"), "--bits", "4", "--calibrate", at("text"), "--calibrate-tokens", "512", "--lowrank", "0.6")
	var e struct {
		PPL   float64 `json:"ppl"`
		Ref   float64 `json:"reference_ppl"`
		Bytes int64   `json:"file_bytes"`
	}
	okJSON(t, &e, append([]string{"eval", at("m.lamina"), "--reference", src}, same...)...)
	if p := r.Coded[2]; math.Abs(p.PPL-e.PPL) > 1e-4*e.PPL || math.Abs(r.PPL-e.Ref) > 1e-4*e.Ref || p.Bytes != e.Bytes {
		t.Errorf("%+v and source %v, eval says %+v", p, r.PPL, e)
	}
	data, err := os.ReadFile(at("plot.png"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := png.Decode(bytes.NewReader(data)); err != nil {
		t.Error(err)
	}
	write(t, at("coded.json"), []byte(out))
	ok(t, "pack", src, "-o", at("m.lamina"), "-f", "--bits", "4", "--report", at("r.html"), "--compare", at("coded.json"))
	if data, err = os.ReadFile(at("r.html")); err != nil || !strings.Contains(string(data), "<h2>Dense and factored</h2>") || !strings.Contains(string(data), "factored 0.6") {
		t.Error(err, "the figure is not in the report")
	}
	for _, bad := range [][]string{{"--coded", "0.5"}, {"--coded", "9"}, {"--coded", "3", "--weighted"}, {"--plot", at("p.png")}} {
		if status, _, errs := run(t, append([]string{"lowrank", src, "--text", at("text")}, bad...)...); status != exitUsage {
			t.Errorf("%v: status %d: %s", bad, status, errs)
		}
	}
}
