package main

import (
	"fmt"
	"math"
	"os"
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

// evalJSON is what others read of eval --json: the keys must stay.
type evalJSON struct {
	Text        string
	NLL, PPL    float64
	KL, Top1    *float64
	Tokens      int
	Predicted   int
	RefNLL      *float64  `json:"reference_nll"`
	BitsPerByte float64   `json:"bits_per_byte"`
	Bits        float64   `json:"bits_per_weight"`
	Bytes       int64     `json:"file_bytes"`
	WindowKL    []float64 `json:"window_kl"`
	Texts       []evalJSON
}

func TestEvalReference(t *testing.T) {
	var plain, packed, self, q8, q4 evalJSON
	src := fixture(t, "tiny")
	args := []string{"--text", fixture(t, "text.txt"), "--tokens", "300", "--window", "64"}
	against := append(args, "--reference", src)
	okJSON(t, &plain, append([]string{"eval", fixture(t, "tiny.lamina")}, args...)...)
	okJSON(t, &packed, append([]string{"eval", fixture(t, "tiny.lamina")}, against...)...)
	okJSON(t, &self, append([]string{"eval", src}, against...)...)
	okJSON(t, &q8, append([]string{"eval", src, "--round", "q8_0"}, against...)...)
	okJSON(t, &q4, append([]string{"eval", src, "--round", "q4_0"}, against...)...)
	if plain.KL != nil || plain.Top1 != nil || plain.RefNLL != nil {
		t.Errorf("compared with nothing: %+v", plain)
	}
	if packed.KL == nil || packed.Top1 == nil || packed.RefNLL == nil {
		t.Fatalf("%+v", packed)
	}
	if packed.NLL != plain.NLL || packed.Tokens != 300 || *packed.RefNLL != self.NLL || len(packed.WindowKL) != 5 {
		t.Errorf("with a reference %+v, without %+v, the reference itself %+v", packed, plain, self)
	}
	if *self.KL != 0 || *self.Top1 != 1 {
		t.Errorf("the source differs from itself: %v, %v", *self.KL, *self.Top1)
	}
	// More bits are nearer: 8.5, 4.5, and 4 with all that is in the file.
	if !(0 < *q8.KL && *q8.KL < *q4.KL/10 && *q4.KL < 0.5) || *packed.KL < *q8.KL || *q8.Top1 < *q4.Top1 || *packed.Top1 <= 0.3 {
		t.Errorf("KL %v, %v, %v, top-1 %v, %v, %v", *q8.KL, *q4.KL, *packed.KL, *q8.Top1, *q4.Top1, *packed.Top1)
	}
	if q8.Bits < 8.5 || q8.Bits > 8.6 || q4.Bits < 4.5 || q4.Bits > 4.6 || self.Bits < 32 || packed.Bytes < 1000 {
		t.Errorf("bits %v, %v, %v", q8.Bits, q4.Bits, self.Bits)
	}
	// A coarse cache is the model's, not the reference's.
	var coarse evalJSON
	okJSON(t, &coarse, append([]string{"eval", src, "--kv", "q8"}, against...)...)
	if *coarse.RefNLL != self.NLL || coarse.NLL == self.NLL || !(*coarse.KL > 0 && *coarse.KL < 0.01) {
		t.Errorf("8-bit cache: reference %v, %v, KL %v", *coarse.RefNLL, coarse.NLL, *coarse.KL)
	}
	text := ok(t, append([]string{"eval", fixture(t, "tiny.lamina")}, against...)...)
	if !strings.Contains(text, "KL divergence 0.") || !strings.Contains(text, "same likeliest token ") {
		t.Error(text)
	}
}

// TestEvalReferenceRAM: too small a budget is refused with one that works for
// both models, whatever the first is.
func TestEvalReferenceRAM(t *testing.T) {
	for _, model := range []string{"tiny", "tiny.lamina"} {
		args := []string{"eval", fixture(t, model), "--text", fixture(t, "text.txt"), "--tokens", "100", "--window", "50", "--reference", fixture(t, "tiny"), "--progress", "none"}
		status, _, errs := run(t, append(args, "--ram", "5MiB")...)
		_, rest, _ := strings.Cut(errs, "at least ")
		var mib int
		if _, err := fmt.Sscan(rest, &mib); err != nil || status != 1 {
			t.Fatalf("status %d, %s", status, errs)
		}
		// The test itself has grown since then; a program would not.
		if status, _, errs := run(t, append(args, "--ram", fmt.Sprintf("%dMiB", mib+64))...); status != 0 {
			t.Errorf("%s: %d MiB: %s", model, mib, errs)
		}
	}
}

func TestEvalTexts(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "a, b.txt"), filepath.Join(dir, "second.txt")
	write(t, first, []byte(strings.Repeat("über the 42 ", 30)))
	write(t, second, []byte(strings.Repeat("then it rained, ", 20)))
	args := []string{"eval", fixture(t, "tiny.lamina"), "--window", "50", "--reference", fixture(t, "tiny"), "--tokens", "120"}
	var both, one, two evalJSON
	okJSON(t, &both, append(args, "--text", first, "--text", second)...)
	okJSON(t, &one, append(args, "--text", first)...)
	okJSON(t, &two, append(args, "--text", second)...)
	if len(both.Texts) != 2 || len(one.Texts) != 0 || both.Texts[0].Text != first || both.Texts[0].NLL != one.NLL || both.Texts[1].NLL != two.NLL ||
		*both.Texts[1].KL != *two.KL || both.Tokens != 240 || both.Predicted != 234 {
		t.Errorf("%+v\n%+v\n%+v", both, one, two)
	}
	if want := (one.NLL + two.NLL) / 2; math.Abs(both.NLL-want) > 1e-9 {
		t.Errorf("nll %v, want %v", both.NLL, want)
	}
	// All bytes are tokens of their own but "the": 117 tokens of the first text
	// stand for a little more than as many bytes.
	if bits := one.NLL * 117 / math.Ln2; one.BitsPerByte >= bits/117 || one.BitsPerByte < bits/117*0.7 {
		t.Errorf("%v bits per byte, %v per token", one.BitsPerByte, bits/117)
	}
	text := ok(t, append(args, "--text", first, "--text", second)...)
	if !strings.Contains(text, "\ntext ") || !strings.Contains(text, "\nall ") || !strings.Contains(text, "top-1 %") {
		t.Error(text)
	}
}

func TestEvalProgress(t *testing.T) {
	status, _, errs := run(t, "eval", fixture(t, "tiny"), "--text", fixture(t, "text.txt"), "--tokens", "200", "--window", "50")
	if status != 0 || !strings.Contains(errs, `{"phase":"eval","item":"`) || !strings.Contains(errs, `"done":196,"total":196`) {
		t.Errorf("status %d, %s", status, errs)
	}
}

func TestEvalRefuses(t *testing.T) {
	model, dir := fixture(t, "tiny.lamina"), t.TempDir()
	other := filepath.Join(dir, "other")
	if err := os.CopyFS(other, os.DirFS(fixture(t, "tiny"))); err != nil {
		t.Fatal(err)
	}
	tok, _ := tinyTokenizer(t)
	write(t, filepath.Join(other, "tokenizer.json"), []byte(strings.NewReplacer("Ġ a", "Ġ t", "Ġa", "Ġt").Replace(string(tok))))
	empty := filepath.Join(dir, "empty.txt")
	write(t, empty, nil)
	spaced := filepath.Join(dir, "spaced.txt")
	write(t, spaced, []byte("b a"))
	const storyteller = "../../internal/builtin/storyteller-22m.lamina"
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
		{"eval TINY --window 64 --text " + short + " --ram 1MiB", "lamina: plan: 1 MiB cannot hold this model: at least "},
		{"eval TINY --window 300 --text " + short, "lamina: context of 300 tokens: the model was trained for 256\n"},
		{"eval MODEL --window 64 --text " + empty, "lamina: eval: text " + empty + " has 0 tokens, want at least 2\n"},
		{"eval MODEL --window 64 --text " + short + " --text " + empty, "lamina: eval: text " + empty + " has 0 tokens, want at least 2\n"},
		{"eval MODEL --window 64 --text " + short + " --reference " + dir, "lamina: eval: reference: source: " + dir + ": broken checkpoint: "},
		{"eval MODEL --window 64 --text " + short + " --reference TINY --ram 1MiB", "lamina: eval: model and reference: plan: 1 MiB cannot hold this model: at least "},
		{"eval MODEL --window 64 --text " + spaced + " --reference " + other, "lamina: eval: text " + spaced + " is 2 tokens for the model and 3 other ones for the reference " + other + ": they are not of the same model\n"},
		{"eval " + storyteller + " --window 64 --text " + short + " --reference TINY", "lamina: eval: " + storyteller + " has a vocabulary of 8192 tokens and the reference "},
	} {
		status, _, errs := run(t, append(strings.Fields(strings.NewReplacer("MODEL", model, "TINY", fixture(t, "tiny")).Replace(c[0])), "--progress", "none")...)
		if status != 1 || !strings.HasPrefix(errs, c[1]) || strings.Count(errs, "\n") != 1 {
			t.Errorf("lamina %s: status %d, %q, want %q", c[0], status, errs, c[1])
		}
	}
	for _, c := range [][2]string{
		{"eval MODEL --text x --tokens 1", "lamina: --tokens 1: want 2 or more, or 0 for all (see"},
		{"eval MODEL --text x --window 1", "lamina: --window 1: want 2 or more, or 0 for the default (see"},
		{"eval MODEL --text x --round q4_0", "lamina: --round is for checkpoints, and " + model + " is none (see"},
		{"eval TINY --text x --round q5", "lamina: --round q5: want q4_0 or q8_0 (see"},
		{"eval MODEL --text x --reference MODEL", "lamina: --reference " + model + " is not a checkpoint"},
		{"eval MODEL", "lamina: missing flags: --text=FILE"},
	} {
		status, _, errs := run(t, append(strings.Fields(strings.NewReplacer("MODEL", model, "TINY", fixture(t, "tiny")).Replace(c[0])), "--progress", "none")...)
		if status != 2 || !strings.HasPrefix(errs, c[1]) || strings.Count(errs, "\n") != 1 {
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
