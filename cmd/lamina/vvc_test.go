package main

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestVVCVectors decodes the streams of decode/vvc/testdata to files and to
// standard output and compares the MD5s with those of an independent decoder.
func TestVVCVectors(t *testing.T) {
	const dir = "../../decode/vvc/testdata/"
	data, err := os.ReadFile(dir + "vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var list []struct {
		Name   string `json:"name"`
		Frames int    `json:"frames"`
		MD5    string `json:"decoded_md5"`
	}
	if err := json.Unmarshal(data, &list); err != nil {
		t.Fatal(err)
	}
	for _, v := range list {
		out := filepath.Join(t.TempDir(), "out.yuv")
		text := ok(t, "vvc", "decode", dir+v.Name+".266", "-o", out)
		got, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		sum := md5.Sum(got)
		if hex.EncodeToString(sum[:]) != v.MD5 || !strings.Contains(text, ": "+strconv.Itoa(v.Frames)+" pictures, ") {
			t.Errorf("%s: MD5 %x, %s", v.Name, sum, text)
		}
		for _, threads := range []string{"1", "3"} {
			if piped := ok(t, "vvc", "decode", dir+v.Name+".266", "-o", "-", "-t", threads); piped != string(got) {
				t.Errorf("%s: standard output with %s threads differs from the file", v.Name, threads)
			}
		}
	}
}

// TestVVCRoundTrip encodes planes of both depths and decodes them: as many
// pictures of the same size, and at a fine quantiser nearly the same samples.
func TestVVCRoundTrip(t *testing.T) {
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(1, 2))
	for _, depth := range []int{8, 10} {
		for _, frames := range []int{1, 3, 4} {
			const w, h = 72, 40
			var raw []byte
			for range w * h * frames {
				v := min(max(int(r.NormFloat64()*20)+128, 0), 255) << (depth - 8)
				if raw = append(raw, byte(v)); depth > 8 {
					raw = append(raw, byte(v>>8))
				}
			}
			in, stream, out := filepath.Join(dir, "in.yuv"), filepath.Join(dir, "s.266"), filepath.Join(dir, "out.yuv")
			write(t, in, raw)
			text := ok(t, "vvc", "encode", in, "--size", "72x40", "--depth", strconv.Itoa(depth), "--qp", "4", "-o", stream, "-f", "-t", "2")
			if !strings.Contains(text, ": "+strconv.Itoa(frames)+" pictures of 72 x 40 samples, ") {
				t.Errorf("report: %s", text)
			}
			ok(t, "vvc", "decode", stream, "-o", out, "-f")
			got, err := os.ReadFile(out)
			if err != nil || len(got) != len(raw) {
				t.Fatalf("%d bytes, %v, want %d", len(got), err, len(raw))
			}
			step := depth/8 + depth%8/2 // bytes of a sample
			worst := 0
			for i := 0; i < len(raw); i += step {
				a, b := int(raw[i]), int(got[i])
				if depth > 8 {
					a, b = a|int(raw[i+1])<<8, b|int(got[i+1])<<8
				}
				worst = max(worst, a-b, b-a)
			}
			if worst > 8 {
				t.Errorf("%d bits: a sample is off by %d", depth, worst)
			}
		}
	}
}

// TestVVCSlices encodes a plane of five rows of blocks in slices: as many as
// asked for are in the stream, and what decodes differs from the plane as the
// report says.
func TestVVCSlices(t *testing.T) {
	const w, h = 136, 600
	dir, r := t.TempDir(), rand.New(rand.NewPCG(3, 4))
	in, out := filepath.Join(dir, "in.yuv"), filepath.Join(dir, "out.yuv")
	raw := make([]byte, w*h)
	for i := range raw {
		raw[i] = byte(min(max(r.NormFloat64()*20+128, 0), 255))
	}
	write(t, in, raw)
	for _, c := range []struct{ slices, want int }{{1, 1}, {2, 2}, {4, 3}, {5, 5}, {90, 5}} {
		stream := filepath.Join(dir, strconv.Itoa(c.slices)+".266")
		text := ok(t, "vvc", "encode", in, "--size", "136x600", "--qp", "20", "--slices", strconv.Itoa(c.slices), "-o", stream)
		data, err := os.ReadFile(stream)
		if err != nil {
			t.Fatal(err)
		}
		slices := 0
		for i := 0; i+4 < len(data); i++ {
			if bytes.HasPrefix(data[i:], []byte{0, 0, 1}) && data[i+4]>>3 == 8 { // IDR_N_LP
				slices++
			}
		}
		if slices != c.want {
			t.Errorf("--slices %d: %d slices, want %d", c.slices, slices, c.want)
		}
		ok(t, "vvc", "decode", stream, "-o", out, "-f")
		got, err := os.ReadFile(out)
		if err != nil || len(got) != len(raw) {
			t.Fatalf("%d bytes, %v, want %d", len(got), err, len(raw))
		}
		squared := 0
		for i := range raw {
			d := int(raw[i]) - int(got[i])
			squared += d * d
		}
		if want := "mean squared error " + strconv.FormatFloat(float64(squared)/w/h, 'f', 3, 64) + ","; !strings.Contains(text, want) {
			t.Errorf("--slices %d: %s, want %s", c.slices, text, want)
		}
	}
}

func TestVVCRefuses(t *testing.T) {
	dir := t.TempDir()
	good, err := os.ReadFile("../../decode/vvc/testdata/s6.266")
	if err != nil {
		t.Fatal(err)
	}
	bad := bytes.Clone(good)
	bad[len(bad)-3] ^= 1 // in the picture hash, which comes last
	write(t, filepath.Join(dir, "hash.266"), bad)
	write(t, filepath.Join(dir, "cut.266"), good[:len(good)/2])
	write(t, filepath.Join(dir, "in.yuv"), make([]byte, 1000))
	write(t, filepath.Join(dir, "there"), []byte("precious"))
	for _, c := range []struct {
		args   string
		status int
		want   string
	}{
		{"decode DIR/hash.266 -o DIR/out.yuv", 1, "lamina: vvc: DIR/hash.266: picture 0: vvc: picture hash mismatch"},
		{"decode DIR/hash.266 -o -", 1, "lamina: vvc: DIR/hash.266: picture 0: vvc: picture hash mismatch"},
		{"decode DIR/cut.266 -o DIR/out.yuv", 1, "lamina: vvc: DIR/cut.266: picture 0: vvc: invalid bitstream"},
		{"decode DIR/none.266 -o DIR/out.yuv", 1, "lamina: vvc: open DIR/none.266: no such file"},
		{"decode DIR/hash.266 -o DIR/there", 1, "lamina: vvc: DIR/there exists (give --force to replace it)"},
		{"decode DIR/hash.266 -o DIR/out.yuv --threads=-1", 2, "lamina: --threads -1"},
		{"encode DIR/in.yuv --size 30x30 --qp 20 -o DIR/out.266", 1,
			"lamina: vvc: DIR/in.yuv has 1000 bytes, which is not a whole number of planes of 30 x 30 samples of 8 bits (900 bytes each)"},
		{"encode DIR/in.yuv --size 25x20 --depth 10 --qp 64 -o DIR/out.266", 2, "lamina: --qp 64: want 0 to 63"},
		{"encode DIR/in.yuv --size 25x20 --depth 12 --qp 4 -o DIR/out.266", 2, "lamina: --depth 12: want 8 or 10"},
		{"encode DIR/in.yuv --size 25x20 --slices 0 --qp 4 -o DIR/out.266", 2, "lamina: --slices 0: want 1 or more"},
		{"encode DIR/in.yuv --size 25 --qp 4 -o DIR/out.266", 2, "lamina: --size 25: want WIDTHxHEIGHT"},
		{"encode DIR/in.yuv --size 99999999x99999999 --qp 4 -o DIR/out.266", 2, "lamina: --size 99999999x99999999: want WIDTHxHEIGHT"},
	} {
		args := strings.Fields("vvc " + strings.ReplaceAll(c.args, "DIR", dir))
		status, _, errs := run(t, append(args, "--progress", "none")...)
		if want := strings.ReplaceAll(c.want, "DIR", dir); status != c.status || !strings.HasPrefix(errs, want) {
			t.Errorf("lamina %s: status %d, %s\nwant %s", c.args, status, errs, want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "out.yuv")); err == nil {
		t.Error("a picture with the wrong hash was written")
	}
	if files, _ := filepath.Glob(filepath.Join(dir, ".lamina-*")); len(files) != 0 {
		t.Errorf("left behind: %v", files)
	}
}
