package source

import (
	"encoding/binary"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestRoundGolden compares with ggml's rules as the Python package gguf has
// them (testdata/make_round.py).
func TestRoundGolden(t *testing.T) {
	data, err := os.ReadFile("testdata/round.f32")
	if err != nil || len(data) != 3*512*4 {
		t.Fatal(len(data), err)
	}
	v := make([]float32, 3*512)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
	}
	in, q4, q8 := v[:512], v[512:1024], v[1024:]
	for _, c := range []struct {
		name  string
		round func([]float32)
		want  []float32
	}{{"q4_0", roundQ4, q4}, {"q8_0", roundQ8, q8}} {
		got := slices.Clone(in)
		c.round(got)
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("%s: weight %d of row %d: %v became %v, want %v", c.name, i%64, i/64, in[i], got[i], c.want[i])
			}
		}
	}
}

func TestRounded(t *testing.T) {
	c := tiny()
	c.Hidden, c.Intermediate = 32, 64
	w := weights(c)
	dir := t.TempDir()
	writeHF(t, dir, toJSON(t, c), tensorFiles(c, w))
	s, err := track(t)(Open(dir))
	if err != nil {
		t.Fatal(err)
	}
	read, err := s.Rounded(RoundQ8_0)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range s.Tensors() {
		got := make([]float32, x.Rows*x.Cols)
		if err := read(x.Name, 0, x.Rows, got); err != nil {
			t.Fatal(err)
		}
		want := slices.Clone(w[x.Name])
		if x.Rows > 1 {
			roundQ8(want)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s is not rounded as it should be", x.Name)
		}
		if same := slices.Equal(got, w[x.Name]); same != (x.Rows == 1) {
			t.Errorf("%s: unchanged %v", x.Name, same)
		}
	}
	if err := read("model.norm.weight", 0, 2, make([]float32, 64)); err == nil {
		t.Error("rows that are not there")
	}
	if _, err := s.Rounded("q5_9"); err == nil || !strings.Contains(err.Error(), `rounding "q5_9": want q4_0 or q8_0`) {
		t.Error(err)
	}
	dir = t.TempDir()
	writeHF(t, dir, toJSON(t, tiny()), tensorFiles(tiny(), weights(tiny())))
	narrow, err := track(t)(Open(dir))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := narrow.Rounded(RoundQ4_0); err == nil || !strings.Contains(err.Error(), `tensor "model.embed_tokens.weight" has rows of 24, which q4_0 cannot store: it takes multiples of 32`) {
		t.Error(err)
	}
}
