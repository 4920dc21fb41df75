package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lamina-llm/lamina/internal/hub"
)

func TestPull(t *testing.T) {
	src := fixture(t, "tiny.lamina")
	server := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(src))))
	defer server.Close()
	dir := t.TempDir()
	var r pullReport
	okJSON(t, &r, "pull", server.URL+"/tiny.lamina", "-o", filepath.Join(dir, "new"))
	got, err := os.ReadFile(r.Path)
	if err != nil {
		t.Fatal(err)
	}
	if want, _ := os.ReadFile(src); string(got) != string(want) || r.Path != filepath.Join(dir, "new", "tiny.lamina") || r.Next != "lamina run "+r.Path {
		t.Errorf("%+v, %d bytes", r, len(got))
	}
	ok(t, "verify", r.Path)

	t.Chdir(dir) // the default folder is made where one is
	out := ok(t, "pull", server.URL+"/tiny/model.safetensors")
	want := filepath.Join("model", "model.safetensors") + "\nnext: lamina pack model/model.safetensors -o model.lamina --bits 3.5\n"
	if out != want {
		t.Errorf("%q, want %q", out, want)
	}
	status, _, errs := run(t, "pull", server.URL+"/none.gguf", "-o", dir, "--progress", "none")
	if status != 1 || !strings.HasPrefix(errs, "lamina: hub: "+server.URL+"/none.gguf: ") || !strings.Contains(errs, "not found") {
		t.Errorf("status %d, %s", status, errs)
	}
	status, _, errs = run(t, "pull", "not/a/repository")
	if status != 2 || !strings.HasPrefix(errs, "lamina: hub: invalid model reference") || !strings.HasSuffix(errs, " (see 'lamina pull --help')\n") {
		t.Errorf("status %d, %s", status, errs)
	}
}

func TestModelName(t *testing.T) {
	for ref, want := range map[string]string{
		"HuggingFaceTB/SmolLM2-135M": "SmolLM2-135M", "a/b@main:x.gguf": "b", "https://x.org/m/tiny.Q4_1.gguf?download=1": "tiny.Q4_1",
	} {
		r, err := hub.ParseRef(ref)
		if err != nil {
			t.Fatal(err)
		}
		if got := modelName(r); got != want {
			t.Errorf("%s: %q, want %q", ref, got, want)
		}
	}
}

func TestQuoteArg(t *testing.T) {
	for in, want := range map[string]string{
		"a/b-c_1.lamina": "a/b-c_1.lamina", "a b": "'a b'", "it's": `'it'\''s'`, "": "''", "$x": "'$x'", "~x": "'~x'", "ü": "'ü'", `{"a":1}`: `'{"a":1}'`,
	} {
		if got := quoteArg(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}
