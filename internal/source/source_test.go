package source

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/llama"
)

// tiny is a LLaMA small enough to write in every format for every test.
func tiny() llama.Config {
	return llama.Config{
		Hidden: 24, Intermediate: 40, Layers: 2, Heads: 4, KVHeads: 2, HeadDim: 8, Vocab: 11, MaxContext: 64,
		NormEps: 1e-5, RopeTheta: 10000, BOS: 1, EOS: []int32{2},
	}
}

// weights draws the tensors of a configuration.
func weights(c llama.Config) map[string][]float32 {
	rng := rand.New(rand.NewPCG(1, 2))
	w := map[string][]float32{}
	for _, t := range needed(c) {
		x := make([]float32, t.Rows*t.Cols)
		for i := range x {
			x[i] = float32(rng.NormFloat64())
		}
		w[t.Name] = x
	}
	return w
}

func bytesOf(x []float32) []byte {
	var b []byte
	for _, v := range x {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}

func write(t testing.TB, dir, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func toJSON(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// tensorFile is a tensor to write: shape outermost first.
type tensorFile struct {
	name  string
	shape []int
	data  []float32
}

func tensorFiles(c llama.Config, w map[string][]float32) []tensorFile {
	var list []tensorFile
	for _, t := range needed(c) {
		shape := []int{t.Rows, t.Cols}
		if strings.HasSuffix(t.Name, "norm.weight") {
			shape = shape[1:]
		}
		list = append(list, tensorFile{t.Name, shape, w[t.Name]})
	}
	return list
}

// writeHF writes a checkpoint in Hugging Face layout.
func writeHF(t testing.TB, dir string, config []byte, tensors []tensorFile) {
	t.Helper()
	header, data := map[string]any{}, []byte{}
	for _, x := range tensors {
		b := bytesOf(x.data)
		header[x.name] = map[string]any{"dtype": "F32", "shape": x.shape, "data_offsets": []int{len(data), len(data) + len(b)}}
		data = append(data, b...)
	}
	h := toJSON(t, header)
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(h)))
	write(t, dir, "config.json", config)
	write(t, dir, "model.safetensors", append(append(out, h...), data...))
}

// ggufFile builds a GGUF file.
type ggufFile struct {
	meta    []byte
	keys    int
	tensors []tensorFile
}

func (g *ggufFile) str(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(b, uint64(len(s))), s...)
}

func (g *ggufFile) set(key string, value any) {
	le := binary.LittleEndian
	b := g.str(g.meta, key)
	switch v := value.(type) {
	case int:
		b = le.AppendUint32(le.AppendUint32(b, 4), uint32(v))
	case float64:
		b = le.AppendUint32(le.AppendUint32(b, 6), math.Float32bits(float32(v)))
	case string:
		b = g.str(le.AppendUint32(b, 8), v)
	case []string:
		b = le.AppendUint64(le.AppendUint32(le.AppendUint32(b, 9), 8), uint64(len(v)))
		for _, s := range v {
			b = g.str(b, s)
		}
	case []int32:
		b = le.AppendUint64(le.AppendUint32(le.AppendUint32(b, 9), 5), uint64(len(v)))
		for _, n := range v {
			b = le.AppendUint32(b, uint32(n))
		}
	case []float32:
		b = le.AppendUint64(le.AppendUint32(le.AppendUint32(b, 9), 6), uint64(len(v)))
		b = append(b, bytesOf(v)...)
	default:
		panic("no such value type")
	}
	g.meta, g.keys = b, g.keys+1
}

func (g *ggufFile) bytes() []byte {
	le := binary.LittleEndian
	b := le.AppendUint32([]byte("GGUF"), 3)
	b = le.AppendUint64(le.AppendUint64(b, uint64(len(g.tensors))), uint64(g.keys))
	b = append(b, g.meta...)
	var data []byte
	for _, t := range g.tensors {
		b = le.AppendUint32(g.str(b, t.name), uint32(len(t.shape)))
		for _, d := range slices.Backward(t.shape) {
			b = le.AppendUint64(b, uint64(d))
		}
		b = le.AppendUint64(le.AppendUint32(b, 0), uint64(len(data)))
		data = append(data, bytesOf(t.data)...)
		data = append(data, make([]byte, -len(data)&31)...)
	}
	b = append(b, make([]byte, -len(b)&31)...)
	return append(b, data...)
}

// permute is the converter's reshape(heads, 2, dim/2, cols).swapaxes(1, 2).
func permute(x []float32, heads, dim, cols int) []float32 {
	var out []float32
	for h := range heads {
		for i := range dim / 2 {
			for half := range 2 {
				row := (h*2+half)*(dim/2) + i
				out = append(out, x[row*cols:(row+1)*cols]...)
			}
		}
	}
	return out
}

func newGGUF(c llama.Config, w map[string][]float32) *ggufFile {
	g := &ggufFile{}
	g.set("general.architecture", "llama")
	for key, v := range map[string]int{
		"embedding_length": c.Hidden, "feed_forward_length": c.Intermediate, "block_count": c.Layers,
		"attention.head_count": c.Heads, "attention.head_count_kv": c.KVHeads, "context_length": c.MaxContext,
		"attention.key_length": c.HeadDim, "attention.value_length": c.HeadDim, "rope.dimension_count": c.HeadDim,
	} {
		g.set("llama."+key, v)
	}
	g.set("llama.attention.layer_norm_rms_epsilon", float64(c.NormEps))
	g.set("llama.rope.freq_base", c.RopeTheta)
	g.set("tokenizer.ggml.bos_token_id", int(c.BOS))
	g.set("tokenizer.ggml.eos_token_id", int(c.EOS[0]))
	r := strings.NewReplacer("model.embed_tokens", "token_embd", "model.norm", "output_norm", "lm_head", "output",
		"model.layers.", "blk.", "input_layernorm", "attn_norm", "self_attn.q_proj", "attn_q", "self_attn.k_proj", "attn_k",
		"self_attn.v_proj", "attn_v", "self_attn.o_proj", "attn_output", "post_attention_layernorm", "ffn_norm",
		"mlp.gate_proj", "ffn_gate", "mlp.up_proj", "ffn_up", "mlp.down_proj", "ffn_down")
	for _, t := range tensorFiles(c, w) {
		switch {
		case strings.Contains(t.name, "q_proj"):
			t.data = permute(t.data, c.Heads, c.HeadDim, c.Hidden)
		case strings.Contains(t.name, "k_proj"):
			t.data = permute(t.data, c.KVHeads, c.HeadDim, c.Hidden)
		}
		t.name = r.Replace(t.name)
		g.tensors = append(g.tensors, t)
	}
	return g
}

func openGGUFBytes(t testing.TB, b []byte) (*Source, error) {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "model.gguf", b)
	return track(t)(Open(dir)) // a directory with one .gguf
}

func track(t testing.TB) func(*Source, error) (*Source, error) {
	return func(s *Source, err error) (*Source, error) {
		if err == nil {
			t.Cleanup(func() { s.Close() })
		}
		return s, err
	}
}

// check compares every row range of every tensor with w.
func check(t *testing.T, s *Source, c llama.Config, w map[string][]float32) {
	t.Helper()
	if len(s.Tensors()) != len(w) {
		t.Fatalf("%d tensors, want %d", len(s.Tensors()), len(w))
	}
	for i, want := range needed(c) {
		x := s.Tensors()[i]
		if x.Name != want.Name || x.Rows != want.Rows || x.Cols != want.Cols || x.Type != "F32" {
			t.Fatalf("tensor %d: %+v, want %+v", i, x, want)
		}
		for row0 := range x.Rows {
			for _, rows := range []int{1, 3, x.Rows - row0} {
				rows = min(rows, x.Rows-row0)
				got := make([]float32, rows*x.Cols)
				if err := s.ReadRows(x.Name, row0, rows, got); err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(got, w[x.Name][row0*x.Cols:][:len(got)]) {
					t.Fatalf("%s rows %d+%d differ", x.Name, row0, rows)
				}
			}
		}
		for _, r := range [][2]int{{-1, 1}, {0, x.Rows + 1}, {x.Rows, 1}, {math.MaxInt, 1}, {1, math.MaxInt}} {
			if err := s.ReadRows(x.Name, r[0], r[1], make([]float32, x.Cols)); err == nil {
				t.Fatalf("%s rows %d+%d: no error", x.Name, r[0], r[1])
			}
		}
	}
	if err := s.ReadRows("none", 0, 1, nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("error %v", err)
	}
}

// The same model in both formats reads the same.
func TestFormatsAgree(t *testing.T) {
	for _, tied := range []bool{false, true} {
		c := tiny()
		c.Tied = tied
		w := weights(c)
		dir := t.TempDir()
		writeHF(t, dir, toJSON(t, c), append(tensorFiles(c, w), tensorFile{"model.layers.0.self_attn.rotary_emb.inv_freq", []int{1}, []float32{1}}))
		for _, path := range []string{dir, filepath.Join(dir, "model.safetensors")} {
			s, err := track(t)(Open(path))
			if err != nil {
				t.Fatal(err)
			}
			if got := toJSON(t, s.Config()); string(got) != string(toJSON(t, c)) {
				t.Errorf("config %s", got)
			}
			check(t, s, c, w)
		}
		s, err := openGGUFBytes(t, newGGUF(c, w).bytes())
		if err != nil {
			t.Fatal(err)
		}
		if got := toJSON(t, s.Config()); string(got) != string(toJSON(t, c)) {
			t.Errorf("GGUF config %s\nwant %s", got, toJSON(t, c))
		}
		check(t, s, c, w)
	}
}

func TestHFErrors(t *testing.T) {
	c := tiny()
	w := weights(c)
	for name, f := range map[string]struct {
		change func(config map[string]any, tensors []tensorFile) []tensorFile
		want   string
		is     error
	}{
		"missing tensors": {func(_ map[string]any, x []tensorFile) []tensorFile { return x[:len(x)-2] }, "2 of 21 tensors are missing: model.norm.weight, lm_head.weight", ErrCheckpoint},
		"wrong shape": {func(_ map[string]any, x []tensorFile) []tensorFile {
			x[2].shape = []int{24, 32}
			return x
		}, "q_proj.weight\" has shape [24 32], the configuration wants [32 24]", ErrCheckpoint},
		"bias": {func(_ map[string]any, x []tensorFile) []tensorFile {
			return append(x, tensorFile{"model.layers.0.self_attn.q_proj.bias", []int{1}, []float32{1}})
		}, "q_proj.bias", llama.ErrUnsupported},
		"foreign tensor": {func(_ map[string]any, x []tensorFile) []tensorFile {
			return append(x, tensorFile{"model.layers.1.self_attn.q_norm.weight", []int{1}, []float32{1}})
		}, "q_norm", llama.ErrUnsupported},
		"architecture": {func(m map[string]any, x []tensorFile) []tensorFile {
			m["architectures"], m["model_type"] = []string{"Qwen2ForCausalLM"}, "qwen2"
			return x
		}, "qwen2", llama.ErrUnsupported},
	} {
		var config map[string]any
		if err := json.Unmarshal(toJSON(t, c), &config); err != nil {
			t.Fatal(err)
		}
		tensors := f.change(config, tensorFiles(c, w))
		dir := t.TempDir()
		writeHF(t, dir, toJSON(t, config), tensors)
		_, err := track(t)(Open(dir))
		if !errors.Is(err, f.is) || !strings.Contains(err.Error(), f.want) {
			t.Errorf("%s: error %v, want %q", name, err, f.want)
		}
	}
	if _, err := Open(t.TempDir()); !errors.Is(err, ErrCheckpoint) {
		t.Errorf("empty directory: %v", err)
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
}

func TestGenerationAndTemplates(t *testing.T) {
	c := tiny()
	dir := t.TempDir()
	writeHF(t, dir, toJSON(t, c), tensorFiles(c, weights(c)))
	reopen := func() *Source {
		t.Helper()
		s, err := track(t)(Open(dir))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := reopen(); s.ChatTemplate() != "" || s.Sampling().Temperature != model.DefaultSampling().Temperature {
		t.Errorf("defaults: %q %+v", s.ChatTemplate(), s.Sampling())
	}
	write(t, dir, "generation_config.json", []byte(`{"do_sample":true,"temperature":0.7,"top_p":0.9,"top_k":7,"eos_token_id":[2,5,99,-1]}`))
	for _, x := range []struct{ config, want string }{
		{`{"chat_template":"one"}`, "one"},
		{`{"chat_template":null}`, ""},
		{`{}`, ""},
		{`{"chat_template":[{"name":"tool_use","template":"tools"},{"name":"default","template":"two"}]}`, "two"},
		{`{"chat_template":[{"name":"rag","template":"three"}]}`, "three"},
	} {
		write(t, dir, "tokenizer_config.json", []byte(x.config))
		s := reopen()
		if s.ChatTemplate() != x.want {
			t.Errorf("%s: template %q, want %q", x.config, s.ChatTemplate(), x.want)
		}
		p := s.Sampling()
		if p.Temperature != 0.7 || p.TopP != 0.9 || p.TopK != 7 || !slices.Equal(s.Config().EOS, []int32{2, 5}) {
			t.Errorf("sampling %+v, eos %v", p, s.Config().EOS)
		}
	}
	write(t, dir, "chat_template.jinja", []byte("file\n"))
	write(t, dir, "generation_config.json", []byte(`{"do_sample":false,"temperature":0.7,"top_p":7,"eos_token_id":4}`))
	s := reopen()
	if p := s.Sampling(); s.ChatTemplate() != "file\n" || p.Temperature != 0 || p.TopP != 1 || !slices.Equal(s.Config().EOS, []int32{2, 4}) {
		t.Errorf("%q %+v %v", s.ChatTemplate(), p, s.Config().EOS)
	}
	for name, bad := range map[string]string{"tokenizer_config.json": `{"chat_template":7}`, "generation_config.json": `{"eos_token_id":"x"}`} {
		os.Remove(filepath.Join(dir, "chat_template.jinja"))
		write(t, dir, name, []byte(bad))
		if _, err := Open(dir); !errors.Is(err, ErrCheckpoint) {
			t.Errorf("%s: error %v", bad, err)
		}
		write(t, dir, name, []byte(`{}`))
	}
}

func TestGGUFMetadata(t *testing.T) {
	c := tiny()
	w := weights(c)
	g := newGGUF(c, w)
	g.set("tokenizer.chat_template", " {{ x }}\n")
	g.set("tokenizer.ggml.eot_token_id", 4)
	g.set("tokenizer.ggml.tokens", []string{"a", "b", "c", "d", "e", "<|im_end|>", "</s>", "g", "h", "i", "j"})
	g.set("tokenizer.ggml.token_type", []int32{1, 1, 1, 1, 1, 3, 1, 1, 1, 1, 1}) // here </s> is plain text
	s, err := openGGUFBytes(t, g.bytes())
	if err != nil {
		t.Fatal(err)
	}
	if s.ChatTemplate() != " {{ x }}\n" || !slices.Equal(s.Config().EOS, []int32{2, 4, 5}) {
		t.Errorf("template %q, eos %v", s.ChatTemplate(), s.Config().EOS)
	}
	for want, set := range map[string]func(*ggufFile){
		"llama.expert_count is 8": func(g *ggufFile) { g.set("llama.expert_count", 8) },
		"scaling.type \"yarn\"":   func(g *ggufFile) { g.set("llama.rope.scaling.type", "yarn") },
		"attn_q.bias": func(g *ggufFile) {
			g.tensors = append(g.tensors, tensorFile{"blk.0.attn_q.bias", []int{1}, []float32{1}})
		},
		"ffn_gate_exps": func(g *ggufFile) {
			g.tensors = append(g.tensors, tensorFile{"blk.1.ffn_gate_exps.weight", []int{1}, []float32{1}})
		},
		"rope_freqs.weight does not follow": func(g *ggufFile) {
			g.tensors = append(g.tensors, tensorFile{"rope_freqs.weight", []int{4}, []float32{1, 2, 3, 9}})
		},
		"llama.attention.sliding_window is 8": func(g *ggufFile) { g.set("llama.attention.sliding_window", 8) },
	} {
		g := newGGUF(c, w)
		set(g)
		if _, err := openGGUFBytes(t, g.bytes()); !errors.Is(err, llama.ErrUnsupported) || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	qwen := &ggufFile{}
	qwen.set("general.architecture", "qwen2")
	if _, err := openGGUFBytes(t, qwen.bytes()); !errors.Is(err, llama.ErrUnsupported) || !strings.Contains(err.Error(), "qwen2") {
		t.Errorf("error %v", err)
	}
	empty := &ggufFile{}
	empty.set("general.architecture", "llama")
	if _, err := openGGUFBytes(t, empty.bytes()); !errors.Is(err, ErrCheckpoint) || !strings.Contains(err.Error(), "llama.embedding_length") {
		t.Errorf("error %v", err)
	}
}

// The divisors of Llama 3.2 1B (head size 64, theta 500000, factor 32), from
// the published formula: wavelengths under 2048 stay, over 8192 are scaled.
func TestRopeFreqs(t *testing.T) {
	c := tiny()
	c.HeadDim, c.RopeTheta = 64, 500000
	divisors := make([]float32, 32)
	blended := 0
	for i := range divisors {
		wavelength := 2 * math.Pi * math.Pow(500000, float64(i)/32)
		switch {
		case wavelength < 8192/4:
			divisors[i] = 1
		case wavelength > 8192:
			divisors[i] = 32
		default:
			smooth := (8192/wavelength - 1) / 3
			divisors[i] = float32(1 / ((1-smooth)/32 + smooth))
			blended++
		}
	}
	if blended == 0 {
		t.Fatal("no frequency tests the blend")
	}
	w := weights(c)
	g := newGGUF(c, w)
	g.tensors = append(g.tensors, tensorFile{"rope_freqs.weight", []int{32}, divisors})
	s, err := openGGUFBytes(t, g.bytes())
	if err != nil {
		t.Fatal(err)
	}
	want := llama.RopeScaling{Type: "llama3", Factor: 32, LowFreqFactor: 1, HighFreqFactor: 4, OriginalContext: 8192}
	if r := s.Config().RopeScaling; r == nil || *r != want {
		t.Errorf("scaling %+v", r)
	}
	for i := range divisors {
		divisors[i] = 1
	}
	g = newGGUF(c, w)
	g.tensors = append(g.tensors, tensorFile{"rope_freqs.weight", []int{32}, divisors})
	g.set("llama.rope.scaling.type", "linear")
	g.set("llama.rope.scaling.factor", 4.0)
	if s, err = openGGUFBytes(t, g.bytes()); err != nil {
		t.Fatal(err)
	}
	if r := s.Config().RopeScaling; r == nil || *r != (llama.RopeScaling{Type: "linear", Factor: 4}) {
		t.Errorf("scaling %+v", r)
	}
}

func TestProvenance(t *testing.T) {
	c := tiny()
	dir := t.TempDir()
	writeHF(t, dir, toJSON(t, c), tensorFiles(c, weights(c)))
	s, err := track(t)(Open(dir))
	if err != nil {
		t.Fatal(err)
	}
	var read, size int64
	p, err := s.Provenance(t.Context(), true, func(n int64) { read += n })
	if err != nil || p.Format != Safetensors || p.Name != filepath.Base(dir) || len(p.Files) != 2 {
		t.Fatalf("%+v, %v", p, err)
	}
	for _, f := range p.Files {
		data, err := os.ReadFile(filepath.Join(dir, f.Name))
		sum := sha256.Sum256(data)
		if err != nil || f.Size != int64(len(data)) || f.SHA256 != hex.EncodeToString(sum[:]) {
			t.Errorf("%+v, %v", f, err)
		}
		size += f.Size
	}
	if read != size {
		t.Errorf("progress told of %d of %d bytes", read, size)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Provenance(ctx, true, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// Cut at any byte, a GGUF model is refused.
func TestTruncatedGGUF(t *testing.T) {
	c := tiny()
	c.Layers = 1
	whole := newGGUF(c, weights(c)).bytes()
	path := filepath.Join(t.TempDir(), "cut.gguf")
	for n := 0; n < len(whole); n += 1 + n/128 {
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := Open(path); err == nil {
			s.Close()
			t.Fatalf("first %d of %d bytes opened", n, len(whole))
		}
	}
}
