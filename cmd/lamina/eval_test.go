package main

import (
	"math"
	"path/filepath"
	"strings"
	"testing"
)

func TestEval(t *testing.T) {
	type report struct {
		NLL, PPL          float64
		Tokens, Predicted int
	}
	var packed, again, src report
	args := []string{"--text", fixture(t, "text.txt"), "--tokens", "300", "--window", "64"}
	okJSON(t, &packed, append([]string{"eval", fixture(t, "tiny.lamina")}, args...)...)
	okJSON(t, &again, append([]string{"eval", fixture(t, "tiny.lamina"), "-t", "1"}, args...)...)
	okJSON(t, &src, append([]string{"eval", fixture(t, "tiny")}, args...)...)
	if packed.Tokens != 300 || packed.Predicted != 295 || math.Abs(packed.PPL-math.Exp(packed.NLL)) > 1e-9*packed.PPL {
		t.Errorf("%+v", packed)
	}
	if again != packed {
		t.Errorf("one thread gives %+v, several %+v", again, packed)
	}
	// A random model predicts about as badly as chance, packed or not.
	if d := math.Abs(packed.NLL - src.NLL); d > 0.1 || d == 0 || src.NLL < 4 || src.NLL > 9 {
		t.Errorf("packed %+v, source %+v", packed, src)
	}
	text := ok(t, append([]string{"eval", fixture(t, "tiny")}, args...)...)
	if !strings.Contains(text, "on 300 tokens of ") || !strings.Contains(text, "perplexity ") {
		t.Error(text)
	}
}

func TestEvalRefuses(t *testing.T) {
	model, dir := fixture(t, "tiny.lamina"), t.TempDir()
	latin1, short := filepath.Join(dir, "latin1.txt"), filepath.Join(dir, "short.txt")
	write(t, latin1, []byte("caf\xe9"))
	write(t, short, []byte("the the"))
	for _, c := range [][2]string{
		{"eval MODEL --window 64 --text " + latin1, "lamina: eval: text " + latin1 + ": token: text is not valid UTF-8\n"},
		{"eval MODEL --window 64 --text " + short + " --tokens 100", "lamina: eval: text " + short + " has 3 tokens, fewer than the 100 asked for\n"},
		{"eval MODEL --text " + dir + "/none", "lamina: eval: text: open " + dir + "/none: no such file or directory\n"},
		{"eval MODEL --text " + short + " --window 1000", "lamina: context of 1000 tokens: the model was trained for 256\n"},
		{"eval " + short + " --text " + short, "lamina: weights: open " + short + ": not a .lamina file (give a file made by 'lamina pack')\n"},
		{"eval MODEL --window 64 --text " + short + " --ram 1MiB", "lamina: plan: 1 MiB cannot hold this model: at least "},
	} {
		status, _, errs := run(t, append(strings.Fields(strings.ReplaceAll(c[0], "MODEL", model)), "--progress", "none")...)
		if status != 1 || !strings.HasPrefix(errs, c[1]) || strings.Count(errs, "\n") != 1 {
			t.Errorf("lamina %s: status %d, %q, want %q", c[0], status, errs, c[1])
		}
	}
}

func TestBenchModel(t *testing.T) {
	var r benchModelReport
	okJSON(t, &r, "bench", "model", fixture(t, "tiny.lamina"), "-p", "40", "-n", "8", "-r", "2", "-t", "2")
	if r.PromptSpeed <= 0 || r.GenSpeed <= 0 || r.Regime != "A" || r.Peak <= 0 || r.Prompt != 40 || r.Gen != 8 || r.Threads != 2 {
		t.Errorf("%+v", r)
	}
	var only benchModelReport
	okJSON(t, &only, "bench", "model", fixture(t, "tiny.lamina"), "-p", "0", "-n", "4", "-r", "1")
	if only.PromptSpeed != 0 || only.GenSpeed <= 0 {
		t.Errorf("%+v", only)
	}
	if text := ok(t, "bench", "model", fixture(t, "tiny.lamina"), "-p", "4", "-n", "4", "-r", "1"); !strings.Contains(text, "\nprompt of 4 ") || !strings.Contains(text, "\ngenerate 4 ") {
		t.Error(text)
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		v    []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{5, 1}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 3, 100}, 3.5}} {
		if got := median(c.v); got != c.want {
			t.Errorf("%v: %v, want %v", c.v, got, c.want)
		}
	}
}
