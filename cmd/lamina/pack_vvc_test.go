package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lamina-llm/lamina/pack"
)

type nll struct {
	NLL float64 `json:"nll"`
}

// TestPackVVC packs pictures at a QP and at a rate, and uses the file as any
// other: finer pictures are larger and nearer to the source.
func TestPackVVC(t *testing.T) {
	src, dir := fixture(t, "tiny"), t.TempDir()
	var exact nll
	okJSON(t, &exact, "eval", src, "--text", fixture(t, "text.txt"), "--window", "64")
	last := pack.Report{Bits: 99}
	for _, qp := range []string{"12", "24", "33.5"} {
		out := filepath.Join(dir, "qp"+qp+".lamina")
		var r pack.Report
		okJSON(t, &r, "pack", src, "-o", out, "--codec", "vvc", "--qp", qp)
		if r.Mode != "vvc1" || r.Bits >= last.Bits || last.Tensors != nil && r.Tensors[2].Error <= last.Tensors[2].Error {
			t.Errorf("QP %s: %s, %.3f bits, error %.3f after %.3f bits", qp, r.Mode, r.Bits, r.Tensors[2].Error, last.Bits)
		}
		last = r
		var v verifyReport
		okJSON(t, &v, "verify", out)
		if !v.OK || v.Decoded < r.Weights {
			t.Errorf("verify: %+v", v)
		}
		if text := ok(t, "show", out); !strings.Contains(text, "vvc1, 1 picture, 7 bits unpacked") || !strings.Contains(text, "regime A") {
			t.Errorf("show:\n%s", text)
		}
		if qp == "12" { // about 5 bits
			var got nll
			okJSON(t, &got, "eval", out, "--text", fixture(t, "text.txt"), "--window", "64")
			if math.Abs(got.NLL-exact.NLL) > 0.05 {
				t.Errorf("NLL %.4f, the source has %.4f", got.NLL, exact.NLL)
			}
			ok(t, "run", out, "the", "--raw", "-n", "4")
		}
	}
	var r pack.Report
	okJSON(t, &r, "pack", src, "-o", filepath.Join(dir, "bits.lamina"), "--codec", "vvc", "--bits", "4.5")
	// Units begin on pages, which are large for so small a model.
	if got, want := float64(r.Bytes), 4.5*float64(r.Weights)/8; math.Abs(got-want) > 8192 {
		t.Errorf("%v bytes, want %v", got, want)
	}
}

// TestPackExchange exports planes, codes them with the vvc command as an encoder
// outside would, and imports the streams from the folder and from one file.
func TestPackExchange(t *testing.T) {
	src, dir := fixture(t, "tiny"), t.TempDir()
	folder := filepath.Join(dir, "planes")
	ok(t, "pack", src, "--codec", "vvc", "--qp", "24", "--export-planes", folder)
	data, err := os.ReadFile(filepath.Join(folder, pack.ManifestName))
	if err != nil {
		t.Fatal(err)
	}
	var m pack.Manifest
	if err := json.Unmarshal(data, &m); err != nil || len(m.Planes) != 1+4*tinyLayers {
		t.Fatalf("%v: %s", err, data)
	}
	var all []byte
	for _, e := range m.Planes {
		stream := filepath.Join(folder, e.Stream)
		ok(t, "vvc", "encode", filepath.Join(folder, e.File), "--size", fmt.Sprintf("%dx%d", e.Width, e.Height), "--qp", fmt.Sprint(e.QP), "-o", stream)
		part, err := os.ReadFile(stream)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, part...)
	}
	one := filepath.Join(folder, "all.266")
	write(t, one, all)
	var direct, imported [2]nll
	packed := func(name string, args ...string) string {
		out := filepath.Join(dir, name+".lamina")
		ok(t, append([]string{"pack", src, "-o", out, "--codec", "vvc"}, args...)...)
		ok(t, "verify", out)
		return out
	}
	eval := func(file string) (r nll) {
		okJSON(t, &r, "eval", file, "--text", fixture(t, "text.txt"), "--window", "64", "--tokens", "256")
		return r
	}
	direct[0] = eval(packed("direct", "--qp", "24"))
	for i, path := range []string{folder, one} {
		imported[i] = eval(packed(fmt.Sprintf("import%d", i), "--import", path))
		if imported[i] != direct[0] {
			t.Errorf("%s: NLL %v, coded here %v", path, imported[i], direct[0])
		}
	}

	// What cannot be right is refused, with its name.
	refuse := func(what, want string, args ...string) {
		t.Helper()
		out := filepath.Join(dir, "refused.lamina")
		status, _, errs := run(t, append([]string{"pack", src, "-o", out, "--codec", "vvc", "--progress", "none"}, args...)...)
		if status != 1 || !strings.Contains(errs, want) {
			t.Errorf("%s: status %d, %s\nwant %s", what, status, errs, want)
		}
		if _, err := os.Stat(out); err == nil {
			t.Errorf("%s: a file was written", what)
		}
	}
	write(t, one, all[:len(all)-200])
	refuse("a cut file", "layers.1.down: picture 0: ", "--import", one)
	write(t, one, append(all, all...))
	refuse("too many pictures", "pictures that decode alone, want", "--import", one)
	// The matrices gate_up of both layers have one shape.
	a, b := filepath.Join(folder, "layers.0.gate_up.266"), filepath.Join(folder, "layers.1.gate_up.266")
	first, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	other, err := os.ReadFile(b)
	if err != nil {
		t.Fatal(err)
	}
	write(t, a, other)
	refuse("another matrix", "layers.0.gate_up: relative error 1.", "--import", folder)
	write(t, a, first)
	for what, edit := range map[string]func(e *pack.ManifestEntry){
		"161 x 96, the model has 160 x 96": func(e *pack.ManifestEntry) { e.Rows++ },
		"frames of 0 rows":                 func(e *pack.ManifestEntry) { e.Band = 0 },
		"2 frames of 96 x 160":             func(e *pack.ManifestEntry) { e.Frames = 2 },
		"deviation 0":                      func(e *pack.ManifestEntry) { e.Deviation = 0 },
		`stream "../x.266" is not a file`:  func(e *pack.ManifestEntry) { e.Stream = "../x.266" },
		"lists no matrix layers.0.qkv":     func(e *pack.ManifestEntry) { e.Name = "other" },
	} {
		bad := m
		bad.Planes = append([]pack.ManifestEntry{}, m.Planes...)
		edit(&bad.Planes[1])
		text, err := json.Marshal(bad)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(folder, pack.ManifestName), text)
		refuse("manifest", what, "--import", folder)
	}
}
