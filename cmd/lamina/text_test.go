package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/lamina-llm/lamina/internal/source"
)

func TestText(t *testing.T) {
	s, err := source.Open(fixture(t, "tiny"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	tok, err := s.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	x := text{tok}
	begin, _ := tok.Special("<|begin|>")
	ids, err := x.Encode("the<|end|>", true, true)
	if err != nil || len(ids) != 3 || ids[0] != begin || string(x.TokenBytes(ids[1])) != "the" {
		t.Errorf("%v, %v", ids, err)
	}
	if b, special := x.Token(ids[2]); !special || string(b) != "<|end|>" {
		t.Errorf("%q, %v", b, special)
	}
	if b, special := x.Token(ids[1]); special || string(b) != "the" {
		t.Errorf("%q, %v", b, special)
	}
	if b, special := x.Token(-1); special || len(b) > 0 {
		t.Errorf("%q, %v", b, special)
	}
	if ids, err = x.Encode("<|end|>", false, false); err != nil || len(ids) != 7 {
		t.Errorf("%v, %v", ids, err)
	}
}

func TestModelID(t *testing.T) {
	for in, want := range map[string]string{
		"storyteller-22m": "storyteller-22m", filepath.Join("a", "b.lamina"): "b", "x.Q4_1.gguf": "x.Q4_1", "d/model.safetensors": "model",
	} {
		if got := modelID(in); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func TestUsage(t *testing.T) {
	for args, want := range map[string]string{
		"nonsense":                   "lamina: unexpected argument nonsense (see 'lamina --help')\n",
		"bench":                      "lamina: expected one of \"codec\", \"model\", ",
		"show":                       "lamina: expected \"<path>\" (see 'lamina show --help')\n",
		"show x --ram 5potato":       "lamina: --ram: ",
		"serve --queue 0":            "lamina: --queue 0: want 1 or more (see 'lamina serve --help')\n",
		"serve --threads 65":         "lamina: --threads 65: want 0 to 64 (see 'lamina serve --help')\n",
		"serve --context=-5":         "lamina: --context -5: want 0 or more (see 'lamina serve --help')\n",
		"eval x":                     "lamina: missing flags: --text=FILE or --choices=FILE (see 'lamina eval --help')\n",
		"eval x --text y --window 1": "lamina: --window 1: want 2 or more, or 0 for the default (see 'lamina eval --help')\n",
		"bench model x -p 0 -n 0":    "lamina: -p 0 -n 0: nothing to measure (see 'lamina bench model --help')\n",
		"bench stream x":             "lamina: missing flags: --ram=SIZE (see 'lamina bench stream --help')\n",
		"vvc encode x -o y --qp 99":  "lamina: missing flags: --size=WxH (see 'lamina vvc encode --help')\n",
		"run hello --temperature 5":  "lamina: sample: invalid request: temperature 5, want 0 to 2 (see 'lamina run --help')\n",
		"version --log-level loud":   "lamina: --log-level must be one of ",
	} {
		status, out, errs := run(t, strings.Fields(args)...)
		if status != 2 || out != "" || !strings.HasPrefix(errs, want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("lamina %s: status %d, %q, %q\nwant %q", args, status, out, errs, want)
		}
	}
	for _, args := range [][]string{nil, {"--help"}, {"pack", "--help"}} {
		if status, out, errs := run(t, args...); status != 0 || errs != "" || !strings.HasPrefix(out, "Usage: lamina") {
			t.Errorf("%v: status %d, %q, %q", args, status, out, errs)
		}
	}
}

// TestHelp checks what kong does not say by itself: defaults behind
// placeholders, and which flags exclude one another.
func TestHelp(t *testing.T) {
	for args, want := range map[string]string{
		"serve": "Address to listen on; default: 127.0.0.1:8080 ($LAMINA_ADDR).",
		"run":   "Usage: lamina run [<file> [<prompt> ...]] [flags]",
		"eval":  "Usage: lamina eval <path> (--text=FILE | --choices=FILE) [flags]",
		"pack":  "Usage: lamina pack <source> (--output=FILE | --export-planes=FOLDER) (--bits=N | --size=SIZE | ",
	} {
		status, out, errs := run(t, args, "--help")
		if text := strings.Join(strings.Fields(out), " "); status != 0 || errs != "" || !strings.Contains(text, want) {
			t.Errorf("%s: status %d, %q, no %q in\n%s", args, status, errs, want, out)
		}
	}
}

func TestUnknownTier(t *testing.T) {
	t.Setenv("LAMINA_CPU", "avx1024")
	if status, _, errs := run(t, "version"); status != 2 || errs != "lamina: LAMINA_CPU=avx1024: want generic, avx2, avx512, neon (see 'lamina version --help')\n" {
		t.Errorf("status %d, %q", status, errs)
	}
}

// TestOutputFirst gives outputs that no file system takes: that is told before
// anything is read or computed.
func TestOutputFirst(t *testing.T) {
	long := filepath.Join(t.TempDir(), strings.Repeat("x", 250))
	for args, want := range map[string]string{
		"pack none -o LONG --bits 3":                                  "lamina: pack: output: ",
		"pack none -o ok --bits 3 --report LONG":                      "lamina: pack: report: ",
		"write none -o LONG":                                          "lamina: pack: output: ",
		"codecs none --csv LONG":                                      "lamina: codecs: ",
		"codecs none --html LONG":                                     "lamina: codecs: ",
		"lowrank none --text none --coded 3 --plot LONG":              "lamina: lowrank: ",
		"run --prompt-cache LONG " + fixture(t, "tiny.lamina") + " x": "lamina: prompt cache: ",
	} {
		status, out, errs := run(t, strings.Fields(strings.ReplaceAll(args, "LONG", long))...)
		if status != 1 || out != "" || !strings.HasPrefix(errs, want) || !strings.Contains(errs, long) {
			t.Errorf("%s: status %d, %q, %q", args, status, out, errs)
		}
	}
}

// failing is a full disk.
type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

// TestOutputFails writes reports to a disk that is full.
func TestOutputFails(t *testing.T) {
	for _, args := range []string{"version", "version --json", "show PATH"} {
		var errs strings.Builder
		line := strings.Fields(strings.ReplaceAll(args, "PATH", fixture(t, "tiny.lamina")))
		status := execute(line, &app{in: strings.NewReader(""), out: failing{}, err: &errs, signals: make(chan os.Signal)})
		if status != 1 || !strings.HasSuffix(errs.String(), "no space left on device (free some or write elsewhere)\n") {
			t.Errorf("%s: status %d, %q", args, status, errs.String())
		}
	}
}

func TestVersion(t *testing.T) {
	var r versionReport
	okJSON(t, &r, "version")
	if r.Version == "" || r.Go == "" || r.Tier == "" || r.Threads < 1 {
		t.Errorf("%+v", r)
	}
	if text := ok(t, "version"); !strings.HasPrefix(text, "lamina "+r.Version+", "+r.Go) {
		t.Error(text)
	}
}
