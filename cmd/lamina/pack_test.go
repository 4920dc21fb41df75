package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lamina-llm/lamina/internal/engine"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/runtime/budget"
	"github.com/lamina-llm/lamina/runtime/plan"
)

func TestPack(t *testing.T) {
	src, dir := fixture(t, "tiny"), t.TempDir()
	out := filepath.Join(dir, "m.lamina")
	var r struct {
		Path    string  `json:"path"`
		Weights int64   `json:"weights"`
		Bytes   int64   `json:"file_bytes"`
		Bits    float64 `json:"bits_per_weight"`
		Mode    string  `json:"mode"`
		Tensors []struct {
			Name string  `json:"name"`
			Bits float64 `json:"bits_per_weight"`
		} `json:"tensors"`
	}
	for _, c := range [][]string{{"--bits", "3"}, {"--bits", "3", "--mode", "scalar"}, {"--size", "120KB", "--threads", "2", "--mode", "scalar"}} {
		okJSON(t, &r, append([]string{"pack", src, "-o", out, "--force"}, c...)...)
		st, err := os.Stat(out)
		if err != nil {
			t.Fatal(err)
		}
		if r.Path != out || r.Bytes != st.Size() || r.Bits != float64(r.Bytes)*8/float64(r.Weights) || len(r.Tensors) != 1+4*tinyLayers {
			t.Errorf("%v: %+v, file of %d bytes", c, r, st.Size())
		}
		want, mode := 3*float64(r.Weights)/8, "dq"
		if c[0] == "--size" {
			want = 120e3
		}
		if slices.Contains(c, "scalar") {
			mode = "scalar"
		}
		// Units begin on pages, which are large for so small a model.
		if got := float64(r.Bytes); math.Abs(got-want) > 8192 || r.Mode != mode {
			t.Errorf("%v: %v bytes in mode %s, want %v in %s", c, got, r.Mode, want, mode)
		}
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) != 1 {
		t.Errorf("left behind: %v", files)
	}
	if text := ok(t, "pack", src, "-o", out, "-f", "--bits", "2"); !strings.Contains(text, "bits per weight (dq)") || !strings.Contains(text, "next: lamina run "+out) {
		t.Errorf("report:\n%s", text)
	}
}

func TestPackProgress(t *testing.T) {
	status, _, errs := run(t, "pack", fixture(t, "tiny"), "-o", filepath.Join(t.TempDir(), "m.lamina"), "--bits", "3")
	if status != 0 {
		t.Fatal(errs)
	}
	phases := map[string]step{}
	for line := range strings.Lines(errs) {
		var s step
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if last := phases[s.Phase]; s.Done <= last.Done || s.Total != last.Total && last.Total != 0 || s.Item == "" {
			t.Errorf("%+v after %+v", s, last)
		}
		phases[s.Phase] = s
	}
	for _, name := range []string{"scan", "encode"} {
		if s := phases[name]; s.Done == 0 || s.Done != s.Total {
			t.Errorf("phase %s ended with %+v", name, s)
		}
	}
}

func TestPackBars(t *testing.T) {
	status, out, errs := run(t, "pack", fixture(t, "tiny"), "-o", filepath.Join(t.TempDir(), "m.lamina"), "--bits", "2", "--progress", "bar")
	if status != 0 || !strings.Contains(out, "next: ") || strings.Contains(errs, "{") {
		t.Errorf("status %d, %q, %q", status, out, errs)
	}
}

// interrupter is a standard error that asks for an end when it sees a word. It works
// in a bubble of synctest.
type interrupter struct {
	bytes.Buffer
	word    string
	signals chan os.Signal
	during  func()
	once    bool
}

func (w *interrupter) Write(p []byte) (int, error) {
	if !w.once && bytes.Contains(p, []byte(w.word)) {
		w.once = true
		w.during()
		w.signals <- os.Interrupt
		synctest.Wait() // until it had its effect
	}
	time.Sleep(lineInterval) // costs no time, and the next line is not left out
	return w.Buffer.Write(p)
}

// interrupt runs a command, calls during when its standard error says word, and ends
// it there. It returns the status and what standard error said. The command works in
// one goroutine (--threads 1): others that wait for a lock would hold the bubble's
// time.
func interrupt(t *testing.T, word string, during func(), args ...string) (status int, errs string) {
	t.Helper()
	// Starts the goroutine behind package signal, which is for all tests.
	signal.Reset(os.Interrupt, syscall.SIGTERM)
	synctest.Test(t, func(t *testing.T) {
		w := &interrupter{word: word, signals: make(chan os.Signal), during: during}
		status = execute(args, &app{in: strings.NewReader(""), out: &bytes.Buffer{}, err: w, signals: w.signals})
		errs = w.String()
		if !w.once {
			t.Errorf("not interrupted: %s", errs)
		}
	})
	return status, errs
}

func TestPackInterrupted(t *testing.T) {
	dir := t.TempDir()
	partial := 0
	status, errs := interrupt(t, `"encode"`, func() {
		files, _ := filepath.Glob(filepath.Join(dir, "*"))
		partial = len(files)
	}, "pack", fixture(t, "tiny"), "-o", filepath.Join(dir, "m.lamina"), "--bits", "3", "--threads", "1")
	if status != 1 || !strings.HasSuffix(errs, "\nlamina: interrupted\n") {
		t.Errorf("status %d, %s", status, errs)
	}
	if partial != 1 {
		t.Errorf("%d files while packing, want the unfinished one", partial)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) != 0 {
		t.Errorf("left behind: %v", files)
	}
}

func TestPackRefuses(t *testing.T) {
	src, dir := fixture(t, "tiny"), t.TempDir()
	exists := filepath.Join(dir, "exists.lamina")
	write(t, exists, []byte("precious"))
	damaged := filepath.Join(dir, "damaged")
	if err := os.CopyFS(damaged, os.DirFS(src)); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(damaged, "model.safetensors"), 5000); err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(dir, "notes.txt")
	write(t, plain, []byte("hello"))
	for _, c := range []struct {
		args   string
		status int
		want   string
	}{
		{"pack SRC -o EXISTS --bits 5", 1, "lamina: pack: EXISTS exists (give --force to replace it)\n"},
		{"pack SRC -o DIR --bits 5", 1, "lamina: pack: output DIR is a folder\n"},
		{"pack SRC -o DIR/none/m.lamina --bits 5", 1, "lamina: pack: output folder: stat DIR/none: no such file or directory\n"},
		{"pack SRC -o EXISTS/m.lamina --bits 5", 1, "lamina: pack: output folder EXISTS is a file\n"},
		{"pack DIR/none -o DIR/m.lamina --bits 5", 1, "lamina: source: DIR/none: stat DIR/none: no such file or directory\n"},
		{"pack DIR/notes.txt -o DIR/m.lamina --bits 5", 1, "lamina: source: DIR/notes.txt: unsupported model: want a directory, a .safetensors file or a .gguf file\n"},
		{"pack DIR/damaged -o DIR/m.lamina --bits 5", 1, "lamina: source: DIR/damaged: "},
		{"pack SRC -o DIR/m.lamina --size 300KB", 1, "lamina: pack: size cannot be reached: embed has weights too far out for steps as fine: ask for fewer bits, "},
		{"pack SRC -o DIR/m.lamina --mode scalar --size 1KB", 1, "lamina: pack: size cannot be reached: tokenizer, norms and directory alone take "},
		{"pack SRC -o DIR/m.lamina", 2, "lamina: missing flags: --bits=N or --size=SIZE or --tolerance=E or --ram=SIZE or --qp=N or --import=PATH (see 'lamina pack --help')\n"},
		{"pack SRC -o DIR/m.lamina --bits 3 --size 5MB", 2, "lamina: --bits and --size can't be used together (see 'lamina pack --help')\n"},
		{"pack SRC --bits 3", 2, "lamina: missing flags: --output=FILE or --export-planes=FOLDER (see 'lamina pack --help')\n"},
		{"pack SRC -o DIR/m.lamina --bits 0.5", 2, "lamina: pack: 0.5 bits per weight, want 1 to 8 (see 'lamina pack --help')\n"},
		{"pack SRC -o DIR/m.lamina --bits NaN", 2, "lamina: pack: NaN bits per weight, want 1 to 8 (see 'lamina pack --help')\n"},
		{"pack SRC -o DIR/m.lamina --size 5XB", 2, `lamina: --size: `},
		{"pack SRC -o DIR/m.lamina --bits 3 --mode best", 2, `lamina: --mode must be one of "dq","scalar" but got "best" (see 'lamina pack --help')` + "\n"},
		{"pack SRC -o DIR/m.lamina --bits 3 --threads=-1", 2, "lamina: --threads -1: want 0 or more (see 'lamina pack --help')\n"},
		{"pack SRC -o DIR/m.lamina --qp 24", 2, "lamina: pack: a QP and imported pictures are for the vvc codec (see 'lamina pack --help')\n"},
		{"pack SRC -o DIR/m.lamina --codec vvc --qp 64", 2, "lamina: pack: QP 64, want 0 to 63 (see 'lamina pack --help')\n"},
		{"pack SRC -o DIR/m.lamina --codec vvc --qp 24 --calibrate default", 2, "lamina: --codec vvc packs without --calibrate (see 'lamina pack --help')\n"},
		{"pack SRC --export-planes DIR/planes --codec vvc --bits 3", 2, "lamina: --export-planes needs --codec vvc and --qp (see 'lamina pack --help')\n"},
		{"pack SRC -o DIR/m.lamina --codec vvc --import DIR/none", 1, "lamina: pack: import: stat DIR/none: no such file or directory\n"},
		{"pack SRC -o DIR/m.lamina --codec vvc --import DIR", 1, "lamina: pack: import: open DIR/planes.json: no such file or directory\n"},
		{"pack", 2, "lamina: missing flags: --bits=N or --size=SIZE or --tolerance=E or --ram=SIZE or --qp=N or --import=PATH, --output=FILE or --export-planes=FOLDER (see 'lamina pack --help')\n"},
	} {
		expand := strings.NewReplacer("SRC", src, "EXISTS", exists, "DIR", dir)
		status, _, errs := run(t, append(strings.Fields(expand.Replace(c.args)), "--progress", "none")...)
		want := strings.NewReplacer("EXISTS", exists, "DIR", dir).Replace(c.want)
		if status != c.status || !strings.HasPrefix(errs, want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("lamina %s: status %d, %q\nwant %d, %q", c.args, status, errs, c.status, want)
		}
	}
	if data, _ := os.ReadFile(exists); string(data) != "precious" {
		t.Errorf("the file that was there is now %q", data)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*lamina*")); len(files) != 1 {
		t.Errorf("left behind: %v", files)
	}
}

// TestPackTolerance packs to an error, without and with calibration.
func TestPackTolerance(t *testing.T) {
	src, out := fixture(t, "tiny"), filepath.Join(t.TempDir(), "m.lamina")
	var r struct {
		Tensors []struct {
			Name   string  `json:"name"`
			Error  float64 `json:"relative_error"`
			Output float64 `json:"output_error"`
		} `json:"tensors"`
	}
	okJSON(t, &r, "pack", src, "-o", out, "--tolerance", "0.1")
	for _, x := range r.Tensors {
		if math.Abs(x.Error-0.1) > 0.01 || x.Output != 0 {
			t.Errorf("%s: relative error %.4f, of outputs %.4f", x.Name, x.Error, x.Output)
		}
	}
	var s struct {
		Provenance struct {
			Method string  `json:"method"`
			Error  float64 `json:"target_relative_error"`
		} `json:"provenance"`
	}
	okJSON(t, &s, "show", out)
	if s.Provenance.Error != 0.1 || s.Provenance.Method != "data-free, dq, every matrix at a relative error of 0.1" {
		t.Errorf("provenance: %+v", s.Provenance)
	}
	okJSON(t, &r, "pack", src, "-o", out, "-f", "--tolerance", "0.1", "--calibrate", fixture(t, "text.txt"), "--calibrate-tokens", "512")
	for _, x := range r.Tensors {
		if math.Abs(x.Output-0.1) > 0.002 || !(x.Error > 0) {
			t.Errorf("%s: relative error %.4f, of outputs %.4f", x.Name, x.Error, x.Output)
		}
	}
	ok(t, "verify", out)
	if status, _, errs := run(t, "pack", src, "-o", out, "--tolerance", "1.5"); status != 2 || !strings.Contains(errs, "tolerance 1.5, want more than 0 and less than 1") {
		t.Errorf("status %d, %s", status, errs)
	}
	if status, _, errs := run(t, "pack", src, "-o", out, "--tolerance", "0.1", "--bits", "3"); status != 2 || !strings.Contains(errs, "can't be used together") {
		t.Errorf("status %d, %s", status, errs)
	}
}

// TestPackRAM packs for a memory and asks the file what it needs.
func TestPackRAM(t *testing.T) {
	src, out := fixture(t, "tiny"), filepath.Join(t.TempDir(), "m.lamina")
	type planned struct {
		Bits      float64 `json:"bits_per_weight"`
		PlanError string  `json:"plan_error"`
		Plan      struct {
			Regime   string `json:"regime"`
			Resident int64  `json:"resident_budget_bytes"`
		} `json:"plan"`
	}
	var got planned
	okJSON(t, &got, "pack", src, "-o", out, "--ram", "1GiB", "--context", "128", "--mode", "scalar")
	if got.Bits < 6 {
		t.Errorf("%.3f bits with memory for everything", got.Bits)
	}
	okJSON(t, &got, "show", out, "--ram", "1GiB", "--context", "128")
	if r := got.Plan.Regime; r != "A" && r != "B" {
		t.Errorf("packed for 1 GiB, it runs in regime %q %s", r, got.PlanError)
	}
	status, _, errs := run(t, "pack", src, "-o", out, "-f", "--ram", "2MiB", "--context", "128", "--progress", "none")
	if status != 1 || !strings.Contains(errs, "--ram 2 MiB is too little: even at 1.5 bits per weight the model takes ") {
		t.Errorf("status %d, %s", status, errs)
	}
	if status, _, errs := run(t, "pack", src, "-o", out, "--bits", "3", "--context", "128"); status != 2 || !strings.Contains(errs, "--context 128: want more than 0, with --ram") {
		t.Errorf("status %d, %s", status, errs)
	}
}

// TestFitMemory checks the choice on a shape that memory matters for.
func TestFitMemory(t *testing.T) {
	c, err := llama.ParseConfig([]byte(`{"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_act":"silu","hidden_size":576,
		"intermediate_size":1536,"num_hidden_layers":30,"num_attention_heads":9,"num_key_value_heads":3,"head_dim":64,"vocab_size":49152,
		"max_position_embeddings":8192,"rms_norm_eps":1e-5,"rope_theta":100000,"tie_word_embeddings":true}`))
	if err != nil {
		t.Fatal(err)
	}
	// The process is part of a plan, and this one has more than a program of its own.
	debug.FreeOSMemory()
	budget.TrimProgram()
	more := max(0, budget.RSS()-32<<20)
	last := 0.0
	for _, ram := range []int64{96 << 20, 112 << 20, 128 << 20, 1 << 30} {
		ram += more
		bits, err := fitMemory(c, ram, 512, 2, mostBits)
		if err != nil {
			t.Fatal(err)
		}
		if bits < last || bits > mostBits {
			t.Errorf("%d MiB: %.3f bits, less memory gave %.3f", ram>>20, bits, last)
		}
		last = bits
		at := func(bits float64) plan.Plan {
			p, err := engine.Estimate(c, bits, engine.Options{RAM: ram, Context: 512, Threads: 2, Serve: true})
			if err != nil && !errors.Is(err, plan.ErrTooSmall) {
				t.Fatal(err)
			}
			return p
		}
		// The process is measured anew each time.
		if p := at(bits - 0.05); p.Regime == plan.C {
			t.Errorf("%d MiB: %.3f bits are streamed", ram>>20, bits)
		}
		if p := at(min(bits+0.05, mostBits)); bits < mostBits && p.Regime != plan.C {
			t.Errorf("%d MiB: more than %.3f bits would fit", ram>>20, bits)
		}
	}
	if last != mostBits {
		t.Errorf("%.3f bits in 1 GiB", last)
	}
}

// TestPackResume interrupts a calibrated run and goes on.
func TestPackResume(t *testing.T) {
	dir := t.TempDir()
	src, out := fixture(t, "tiny"), filepath.Join(dir, "m.lamina")
	args := []string{"pack", src, "-o", out, "--bits", "3", "--mode", "scalar", "--resume", "--calibrate", fixture(t, "text.txt"), "--calibrate-tokens", "512", "--threads", "1"}
	if status, errs := interrupt(t, `"phase":"encode","item":"layers.0.gate_up"`, func() {}, args...); status != 1 {
		t.Errorf("status %d, %s", status, errs)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) != 1 || files[0] != out+".resume" {
		t.Errorf("left behind: %v", files)
	}
	var r struct {
		Resumed int `json:"resumed_tensors"`
	}
	okJSON(t, &r, args...)
	if r.Resumed < 4 {
		t.Errorf("%d tensors taken over", r.Resumed)
	}
	ok(t, "verify", out)
	if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) != 1 {
		t.Errorf("left behind: %v", files)
	}
}
