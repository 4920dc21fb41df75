package main

import (
	"path/filepath"
	"strings"
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
		"serve --context=-5":         "lamina: --context -5: want 0 or more (see 'lamina serve --help')\n",
		"eval x":                     "lamina: missing flags: --text=FILE or --choices=FILE (see 'lamina eval --help')\n",
		"eval x --text y --window 1": "lamina: --window 1: want 2 or more, or 0 for the default (see 'lamina eval --help')\n",
		"bench model x -p 0 -n 0":    "lamina: -p 0 -n 0: nothing to measure (see 'lamina bench --help')\n",
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
