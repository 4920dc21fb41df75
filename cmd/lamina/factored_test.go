package main

import (
	"context"
	"encoding/json"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/pack"
	"github.com/lamina-llm/lamina/weights"
	"github.com/lamina-llm/lamina/weights/weightstest"
)

// factoredFixture is tiny.lamina with one operator in parts: queries of rank
// 16, dense keys, values of rank 8 beside a dense matrix.
func factoredFixture(t *testing.T) string {
	t.Helper()
	f, err := weights.Open(fixture(t, "tiny.lamina"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	path := filepath.Join(t.TempDir(), "factored.lamina")
	r := rand.New(rand.NewPCG(7, 7))
	random := func(n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(r.NormFloat64()) * 0.05
		}
		return v
	}
	weightstest.Copy(t, f, path, weightstest.Edit{
		Section: func(name string, data []byte) []byte {
			if name != weights.SectionProvenance {
				return data
			}
			var p map[string]any
			err := json.Unmarshal(data, &p)
			if err == nil {
				p["energy_kept"] = map[string][]float64{"layers.1.qkv": {0.875}}
				data, err = json.Marshal(p)
			}
			if err != nil {
				t.Fatal(err)
			}
			return data
		},
		Tensor: func(w *weights.Writer, x *weights.Tensor) bool {
			if x.Name != "layers.1.qkv" {
				return false
			}
			q, kv := tinyHeads*tinyHeadDim, tinyKV*tinyHeadDim
			_, err := pack.WriteFactored(context.Background(), w, &pack.Factored{
				Name: x.Name, Role: x.Role, Cols: x.Cols, Mode: rans.DQ,
				Parts: []pack.FactoredPart{
					{Rows: q, Rank: 16, A: random(q * 16), ABits: 5, B: random(16 * x.Cols), BBits: 6},
					{Rows: kv, Dense: random(kv * x.Cols), DenseBits: 4},
					{Rows: kv, Dense: random(kv * x.Cols), DenseBits: 4, Rank: 8, A: random(kv * 8), ABits: 8, B: random(8 * x.Cols), BBits: 6},
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			return true
		},
	})
	return path
}

func TestShowFactored(t *testing.T) {
	path := factoredFixture(t)
	var r showReport
	okJSON(t, &r, "show", path)
	q, kv := tinyHeads*tinyHeadDim, tinyKV*tinyHeadDim
	found := false
	for _, x := range r.Tensors {
		if x.Name != "layers.1.qkv" {
			if x.Factored != nil {
				t.Errorf("%s is said to be in parts", x.Name)
			}
			continue
		}
		found = true
		s := x.Factored
		if x.Codec != "lowrank1" || s == nil || len(s.Parts) != 3 {
			t.Fatalf("%+v", x)
		}
		adds := int64(16*(q+tinyHidden) + 2*kv*tinyHidden + 8*(kv+tinyHidden))
		dense := int64((q + 2*kv) * tinyHidden)
		if s.MultiplyAdds != adds || s.SavedMultiplyAdds != dense-adds || s.SavedBytes != int64(float64(x.Bytes)*float64(dense-adds)/float64(adds)) {
			t.Errorf("%+v, want %d multiplications of %d", s, adds, dense)
		}
		want := []showPart{{Rows: q, Rank: 16, Energy: 0.875}, {Rows: kv, Dense: true}, {Rows: kv, Rank: 8, Dense: true}}
		for i, p := range s.Parts {
			if p != want[i] {
				t.Errorf("part %d: %+v, want %+v", i, p, want[i])
			}
		}
		if math.Abs(x.Bits-float64(8*x.Bytes)/float64(dense)) > 1e-9 {
			t.Errorf("%v bits a weight", x.Bits)
		}
	}
	if !found {
		t.Fatal("layers.1.qkv is not shown")
	}
	text := ok(t, "show", path)
	for _, want := range []string{"lowrank1, 16, dense, dense + 8", "\ntensor in parts  ", "0.8750, 1, ?", "bytes saved"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestVerifyFactored(t *testing.T) {
	good, bad := factoredFixture(t), filepath.Join(t.TempDir(), "bad.lamina")
	var v, whole verifyReport
	okJSON(t, &v, "verify", good)
	okJSON(t, &whole, "verify", fixture(t, "tiny.lamina"))
	if !v.OK || v.Tensors != whole.Tensors || v.Chunks <= whole.Chunks {
		t.Errorf("%+v; with dense matrices %+v", v, whole)
	}
	f, err := weights.Open(good)
	if err != nil {
		t.Fatal(err)
	}
	last := len(f.Tensor("layers.1.qkv").Spans) - 1
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		span  int
		want  string
		alter func(b []byte) []byte
	}{
		{0, "tensor layers.1.qkv: rans: corrupt", func(b []byte) []byte { b[0]++; return b }},
		{0, "tensor layers.1.qkv: rans: corrupt", func(b []byte) []byte { return b[:3] }},
		{1, "tensor layers.1.qkv: matrix 0: rans: corrupt", func(b []byte) []byte { return b[:9] }},
		{2, "tensor layers.1.qkv: matrix 0: chunk 0: ", func(b []byte) []byte { b[len(b)/2] ^= 0x10; return b }},
		{last, "tensor layers.1.qkv: matrix 3: chunk 0: ", func(b []byte) []byte { return b[:len(b)-1] }},
	} {
		rewrite(t, good, bad, func(owner string, span int, data []byte) []byte {
			if owner == "layers.1.qkv" && span == c.span {
				return c.alter(data)
			}
			return data
		})
		status, _, errs := run(t, "verify", bad, "--progress", "none")
		if status != 1 || !strings.Contains(errs, c.want) {
			t.Errorf("span %d: status %d, %q, want %q", c.span, status, errs, c.want)
		}
	}
}
