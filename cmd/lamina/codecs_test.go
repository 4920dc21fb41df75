package main

import (
	"bytes"
	"encoding/csv"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lamina-llm/lamina/internal/codecs"
)

// TestCodecs compares our codecs on the tiny checkpoint: finer settings cost more
// bits and err less, the files hold what the table says, and replacing matrices by
// nearly exact ones leaves the perplexity where it is.
func TestCodecs(t *testing.T) {
	src, dir := fixture(t, "tiny"), t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	var r codecs.Report
	okJSON(t, &r, "codecs", src, "--no-external", "--text", fixture(t, "text.txt"), "--tokens", "128", "--window", "64",
		"--csv", at("c.csv"), "--html", at("c.html"), "--plot", at("plots"))
	if len(r.Points) != 9 || r.Weights != tinyLayers*(160*96+96*96+2*320*96+96*320) {
		t.Fatalf("%d points of %d weights", len(r.Points), r.Weights)
	}
	for i, p := range r.Points {
		if i%3 > 0 {
			last := r.Points[i-1]
			if p.Codec != last.Codec || p.Profile != last.Profile || p.Bits <= last.Bits || p.NMSE >= last.NMSE {
				t.Errorf("%+v after %+v", p, last)
			}
		}
		// The bound holds for what is Gaussian; columns are padded by a third here.
		if p.Gap < 0.05 || p.Gap > 1.4 || math.Abs(p.Gap-(p.Bits+math.Log2(p.NMSE)/2)) > 1e-9 || p.Encode <= 0 || p.Decode <= 0 {
			t.Errorf("%+v", p)
		}
		if i%3 == 2 && math.Abs(p.NLL-r.FloatNLL) > 0.1 {
			t.Errorf("NLL %.3f at %.2f bits, the source has %.3f", p.NLL, p.Bits, r.FloatNLL)
		}
	}
	data, err := os.ReadFile(at("c.csv"))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(bytes.NewReader(data)).ReadAll()
	if err != nil || len(rows) != 10 || rows[1][0] != "native" || rows[9][0] != "VVC" {
		t.Errorf("%v: %q", err, rows)
	}
	for _, name := range []string{"rate-distortion", "perplexity", "encoding", "decoding"} {
		data, err := os.ReadFile(at("plots/" + name + ".png"))
		if err != nil {
			t.Fatal(err)
		}
		if img, err := png.Decode(bytes.NewReader(data)); err != nil || img.Bounds().Dx() < 800 {
			t.Errorf("%s: %v", name, err)
		}
	}
	page, err := os.ReadFile(at("c.html"))
	if err != nil || bytes.Count(page, []byte("<svg")) != 4 || bytes.Contains(page, []byte("://")) || !bytes.Contains(page, []byte("VVC all-intra")) {
		t.Errorf("page of %d bytes: %v", len(page), err)
	}
	if text := ok(t, "codecs", src, "--no-external", "--only", "vvc", "--points", "1", "--layers", "1"); strings.Count(text, "VVC") != 1 || strings.Contains(text, "native") {
		t.Errorf("one codec:\n%s", text)
	}
}

// TestCodecsExternal runs what is installed beside ours on one layer.
func TestCodecsExternal(t *testing.T) {
	if testing.Short() {
		t.Skip("runs other programs")
	}
	var r codecs.Report
	okJSON(t, &r, "codecs", fixture(t, "tiny"), "--layers", "1", "--points", "1", "--only", "H.264,JPEG XL,VVC")
	if len(r.Points) == 1 {
		t.Skip("neither ffmpeg nor JPEG XL's tools are installed")
	}
	if len(r.Skipped) != 0 {
		t.Errorf("left out: %v", r.Skipped)
	}
	for _, p := range r.Points {
		// A frame is mostly empty here, and files have headers.
		if p.NMSE > 0.3 || p.Gap < 0 || p.Gap > 3 {
			t.Errorf("%+v", p)
		}
	}
}

func TestCodecsRefuses(t *testing.T) {
	src := fixture(t, "tiny")
	for args, want := range map[string]string{
		"--points 4":      "lamina: --points 4: want 1 to 3",
		"--tokens 1":      "lamina: --tokens 1 --window 256: want 2 or more",
		"--layers=-1":     "lamina: --layers -1: want 0 or more",
		"--text /nowhere": "lamina: codecs: text: open /nowhere",
	} {
		status, _, errs := run(t, append([]string{"codecs", src, "--progress", "none"}, strings.Fields(args)...)...)
		if status == 0 || !strings.HasPrefix(errs, want) {
			t.Errorf("%s: status %d, %s", args, status, errs)
		}
	}
}
