package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPackReport(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	text := fixture(t, "text.txt")
	measured := ok(t, "eval", fixture(t, "tiny"), "--round", "q4_0", "--reference", fixture(t, "tiny"), "--text", text, "--tokens", "200", "--json")
	write(t, at("q4.json"), []byte(measured))
	out := ok(t, "pack", fixture(t, "tiny"), "-o", at("m.lamina"), "--bits", "3", "--report", at("r.html"),
		"--measure", text, "--measure-tokens", "200", "--compare", fixture(t, "tiny.lamina"), "--compare", at("q4.json"))
	if !strings.Contains(out, "\nreport: "+at("r.html")+"\n") {
		t.Error(out)
	}
	data, err := os.ReadFile(at("r.html"))
	if err != nil {
		t.Fatal(err)
	}
	page := string(data)
	for _, want := range []string{
		">embed<", ">layers.0.qkv<", ">layers.1.down<", "data-free, dq", "<td>m.lamina</td>", "<td>tiny.lamina</td>",
		"<td>tiny rounded to q4_0</td>", "<td>tiny, the source</td>", "200 tokens of text.txt, windows of 256", "<h2>Levels</h2>", "<h2>KL divergence against size</h2>",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q", want)
		}
	}
	// Without anything measured there is no quality, and there are no leftovers.
	ok(t, "pack", fixture(t, "tiny"), "-o", at("m.lamina"), "-f", "--bits", "2", "--report", at("r.html"))
	if data, err = os.ReadFile(at("r.html")); err != nil || strings.Contains(string(data), "<h2>Quality</h2>") {
		t.Error(err, "quality of nothing")
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) != 3 {
		t.Errorf("files %v", files)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, ".*")); len(files) != 0 {
		t.Errorf("left behind: %v", files)
	}
}

func TestPackReportRefuses(t *testing.T) {
	dir := t.TempDir()
	bad, empty := filepath.Join(dir, "bad.json"), filepath.Join(dir, "empty.json")
	write(t, bad, []byte("{"))
	write(t, empty, []byte("{}"))
	for _, c := range []struct {
		args   string
		status int
		want   string
	}{
		{"--measure TEXT", 2, "lamina: --measure and --compare are for a --report (see"},
		{"--report DIR/r.html --compare TINY", 2, "lamina: --compare TINY: give --measure TEXT, on which it is measured, or the output of 'eval --json' (see"},
		{"--report DIR/r.html --measure TEXT --measure-tokens 1", 2, "lamina: --measure-tokens 1: want 2 or more, or 0 for all (see"},
		{"--report DIR/none/r.html", 1, "lamina: pack: report folder: stat DIR/none: no such file or directory\n"},
		{"--report DIR/bad.json", 1, "lamina: pack: DIR/bad.json exists (give --force to replace it)\n"},
		{"--report DIR/r.html --measure DIR/none", 1, "lamina: pack: report: stat DIR/none: no such file or directory\n"},
		{"--report DIR/r.html --compare DIR/bad.json", 1, "lamina: pack: compare: DIR/bad.json is not the output of 'eval --json': "},
		{"--report DIR/r.html --compare DIR/empty.json", 1, `lamina: pack: compare: DIR/empty.json is not the output of 'eval --json': want "bits_per_weight" and "ppl"` + "\n"},
	} {
		names := []string{"DIR", dir, "TINY", fixture(t, "tiny.lamina")}
		want := strings.NewReplacer(names...).Replace(c.want)
		flags := strings.NewReplacer(append(names, "TEXT", fixture(t, "text.txt"))...).Replace(c.args)
		args := append([]string{"pack", fixture(t, "tiny"), "-o", dir + "/m.lamina", "--bits", "3", "--progress", "none"}, strings.Fields(flags)...)
		status, _, errs := run(t, args...)
		if status != c.status || !strings.HasPrefix(errs, want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("lamina pack %s: status %d, %q\nwant %d, %q", c.args, status, errs, c.status, want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "m.lamina")); err == nil {
		t.Error("packed all the same")
	}
}
