package vvc

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// vector is an entry of a vectors.json: a stream and the MD5 of its decoded planar samples by an independent decoder.
type vector struct {
	Name    string `json:"name"`
	Width   int    `json:"width"`
	Height  int    `json:"height"`
	Chroma  string `json:"chroma"`
	Depth   int    `json:"bit_depth"`
	Frames  int    `json:"frames"`
	Preset  string `json:"preset"`
	QP      int    `json:"qp"`
	Content string `json:"content"`
	MD5     string `json:"decoded_md5"`
}

// loadVectors reads the list of dir, or skips the test when dir does not exist.
func loadVectors(t testing.TB, dir string) []vector {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "vectors.json"))
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("no test streams in %s", dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	var v []vector
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func testVectors(t *testing.T, dir string) {
	for _, v := range loadVectors(t, dir) {
		t.Run(v.Name, func(t *testing.T) {
			t.Logf("%dx%d %s %d bit, %d frames, QP %d, %s, %s", v.Width, v.Height, v.Chroma, v.Depth, v.Frames, v.QP, v.Preset, v.Content)
			stream, err := os.ReadFile(filepath.Join(dir, v.Name+".266"))
			if err != nil {
				t.Fatal(err)
			}
			sum := md5.New()
			frames := 0
			err = Decode(stream, Options{}, func(f *Frame) error {
				if f.Width != v.Width || f.Height != v.Height || f.BitDepth != v.Depth {
					t.Errorf("frame %d is %dx%d of %d bits", frames, f.Width, f.Height, f.BitDepth)
				}
				if (f.Planes[1] != nil) != (v.Chroma == "yuv420") {
					t.Errorf("frame %d has the wrong chroma format", frames)
				}
				if !f.HashChecked {
					t.Errorf("frame %d has no picture hash", frames)
				}
				sum.Write(f.AppendPlanar(nil))
				frames++
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if frames != v.Frames {
				t.Errorf("%d frames, want %d", frames, v.Frames)
			}
			if got := hex.EncodeToString(sum.Sum(nil)); got != v.MD5 {
				t.Errorf("MD5 %s, want %s", got, v.MD5)
			}
		})
	}
}

// TestVectors decodes the small streams of this repository.
func TestVectors(t *testing.T) { testVectors(t, "testdata") }

// TestSharedVectors decodes the full set, which is kept beside the repository.
func TestSharedVectors(t *testing.T) { testVectors(t, "../../../shared/vvc") }

// TestRandomSyntax decodes pictures of random syntax (testdata/README.md) and relies on their picture hashes.
func TestRandomSyntax(t *testing.T) {
	for name, want := range map[string]int{"random": 38, "partitions": 24} {
		t.Run(name, func(t *testing.T) {
			frames := 0
			err := Decode(readStream(t, name), Options{}, func(f *Frame) error {
				if !f.HashChecked {
					t.Errorf("frame %d has no picture hash", frames)
				}
				frames++
				return nil
			})
			if err != nil {
				t.Fatalf("after %d frames: %v", frames, err)
			}
			if frames != want {
				t.Errorf("%d frames, want %d", frames, want)
			}
		})
	}
}
