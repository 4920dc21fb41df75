package main

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lamina-llm/lamina/model/llama"
)

func TestShow(t *testing.T) {
	path := fixture(t, "tiny.lamina")
	var r showReport
	okJSON(t, &r, "show", path, "--ram", "2GiB")
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	var src showReport
	okJSON(t, &src, "show", fixture(t, "tiny"))
	if r.Format != "lamina" || r.Bytes != st.Size() || r.Weights != src.Weights || math.Abs(r.Bits-float64(8*r.Bytes)/float64(r.Weights)) > 1e-9 {
		t.Errorf("%s, %d bytes, %d weights, %v bits; the source has %d weights", r.Format, r.Bytes, r.Weights, r.Bits, src.Weights)
	}
	if want := int64(1000 * 2 * tinyLayers * tinyKV * (2*tinyHeadDim + 4)); r.KV != want || src.KV != want {
		t.Errorf("KV cache of %d and %d bytes, want %d", r.KV, src.KV, want)
	}
	if len(r.Tensors) != 2+6*tinyLayers || !r.Chat || len(r.Sections) < 4 || len(r.Provenance) == 0 {
		t.Errorf("%d tensors, %d sections, chat %v, %d bytes of provenance", len(r.Tensors), len(r.Sections), r.Chat, len(r.Provenance))
	}
	var raw struct {
		Config json.RawMessage `json:"config"`
	}
	okJSON(t, &raw, "show", path)
	if c, err := llama.ParseConfig(raw.Config); err != nil || c.Hidden != tinyHidden || c.Layers != tinyLayers {
		t.Errorf("config %+v, %v", c, err)
	}
	for _, x := range r.Tensors {
		coded := x.Codec == "rans1" && x.Mode == "scalar" && x.Classes > 0 && x.Chunks > 0
		if !coded && x.Codec != "f32" || x.Weights != int64(x.Rows*x.Cols) || math.Abs(x.Bits-float64(8*x.Bytes)/float64(x.Weights)) > 1e-9 {
			t.Errorf("%+v", x)
		}
	}
	if r.Plan == nil || r.PlanError != "" || r.Plan.Budget != 2<<30 || r.Plan.Peak > 2<<30 {
		t.Errorf("plan %+v, %s", r.Plan, r.PlanError)
	}
	if src.Format != "safetensors" || len(src.Tensors) != 2+9*tinyLayers || src.Bits < 32 || src.Tensors[0].Codec != "F32" || src.Plan == nil || src.PlanBits != 3.5 || r.PlanBits != 0 {
		t.Errorf("%+v", src)
	}
}

func TestShowText(t *testing.T) {
	text := ok(t, "show", fixture(t, "tiny.lamina"))
	for _, want := range []string{
		" weights in ", " bits per weight\n", "  packed from tiny, data-free, scalar, on 20", "  2 layers, hidden 96, intermediate 320, 3 heads of 32 with 1 for keys and values\n",
		"  vocabulary 264, tied output head, context 256, with chat template\n", "  KV cache: 265.6 KiB per 1,000 tokens\n",
		"\nembed                  264 x 96  rans1 scalar, 1 class, 1 raw  ", "\nnorm                     1 x 96  f32 ", "\nsection tokenizer ", "\nregime A: ", "least budget",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	text = ok(t, "show", fixture(t, "tiny"))
	if !strings.Contains(text, "\nmodel.layers.1.mlp.down_proj.weight  ") || !strings.Contains(text, "F32") || !strings.Contains(text, "next: lamina pack") {
		t.Error(text)
	}
	if !strings.Contains(text, "\nestimate for --bits 3.5:\nregime A: ") {
		t.Error(text)
	}
	text = ok(t, "show", fixture(t, "tiny"), "--ram", "1MiB", "--bits", "2")
	if !strings.Contains(text, "estimate for --bits 2:\n") || !strings.Contains(text, "1 MiB cannot hold this model: at least ") {
		t.Error(text)
	}
	// A budget that cannot work is told, and the table is there all the same.
	text = ok(t, "show", fixture(t, "tiny.lamina"), "--ram", "1MiB")
	if !strings.Contains(text, "all tensors") || !strings.Contains(text, "1 MiB cannot hold this model: at least ") {
		t.Error(text)
	}
}

func TestTypeBits(t *testing.T) {
	// Bytes of a ggml block over its weights, from the format's definition.
	for name, block := range map[string][2]float64{
		"Q4_0": {18, 32}, "Q4_1": {20, 32}, "Q5_0": {22, 32}, "Q5_1": {24, 32}, "Q8_0": {34, 32},
		"Q2_K": {84, 256}, "Q3_K": {110, 256}, "Q4_K": {144, 256}, "Q5_K": {176, 256}, "Q6_K": {210, 256},
	} {
		if want := 8 * block[0] / block[1]; typeBits[name] != want {
			t.Errorf("%s: %v bits, want %v", name, typeBits[name], want)
		}
	}
}

// TestShowRemote describes a model behind a hub's API, whose weights it never
// asks for.
func TestShowRemote(t *testing.T) {
	dir := fixture(t, "tiny")
	var local showReport
	okJSON(t, &local, "show", dir)
	config, err := os.Stat(filepath.Join(dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	asked := []string{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/api/") {
			fmt.Fprintf(w, `{"sha":"abc","siblings":[{"rfilename":"config.json","size":%d},{"rfilename":"model.safetensors","size":12345}]}`, config.Size())
			return
		}
		asked = append(asked, r.URL.Path)
		http.ServeFile(w, r, filepath.Join(dir, filepath.Base(r.URL.Path)))
	}))
	defer server.Close()
	t.Setenv("HF_ENDPOINT", server.URL)
	var r showReport
	okJSON(t, &r, "show", "org/tiny", "--ram", "1GiB")
	if r.Weights != local.Weights || r.Plan == nil || r.Plan.MinBudget < 1<<20 || r.PlanBits != 3.5 || r.Bytes != 12345+config.Size() {
		t.Errorf("%+v", r)
	}
	if len(asked) != 1 || !strings.HasSuffix(asked[0], "/config.json") {
		t.Errorf("asked for %v", asked)
	}
	if text := ok(t, "show", "org/tiny"); !strings.HasSuffix(text, "\nnext: lamina pull org/tiny\n") {
		t.Error(text)
	}
}
