package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"
)

// run executes a command line as a program would and returns its exit status
// and outputs.
func run(t testing.TB, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	return runIn(t, "", args...)
}

func runIn(t testing.TB, stdin string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = execute(args, &app{in: strings.NewReader(stdin), out: &out, err: &errs, signals: make(chan os.Signal)})
	return status, out.String(), errs.String()
}

// ok is run for a command that must succeed without a word of complaint.
func ok(t testing.TB, args ...string) string {
	t.Helper()
	status, out, errs := run(t, append(args, "--progress", "none")...)
	if status != 0 || errs != "" {
		t.Fatalf("lamina %s: status %d, %s", strings.Join(args, " "), status, errs)
	}
	return out
}

// okJSON is ok for a command that prints JSON, decoded into v.
func okJSON(t testing.TB, v any, args ...string) {
	t.Helper()
	out := ok(t, append(args, "--json")...)
	d := json.NewDecoder(strings.NewReader(out))
	if err := d.Decode(v); err != nil {
		t.Fatalf("lamina %s: %v in %s", strings.Join(args, " "), err, out)
	}
	if _, err := d.Token(); err != io.EOF {
		t.Fatalf("lamina %s: more than one JSON value: %s", strings.Join(args, " "), out)
	}
}

// fixtures holds what is made once: a checkpoint, the packed file, a text.
var fixtures struct {
	sync.Once
	dir string
}

func TestMain(m *testing.M) {
	for _, key := range []string{"LAMINA_RAM", "LAMINA_ADDR", "LAMINA_API_KEY", "LAMINA_LOG_LEVEL", "LAMINA_LOG_FORMAT"} {
		os.Unsetenv(key)
	}
	status := m.Run()
	if fixtures.dir != "" {
		os.RemoveAll(fixtures.dir)
	}
	os.Exit(status)
}

// fixture returns the path of "tiny" (a Hugging Face directory), "tiny.lamina"
// (the same packed at 4 bits) or "text.txt".
func fixture(t testing.TB, name string) string {
	t.Helper()
	fixtures.Do(func() {
		dir, err := os.MkdirTemp("", "lamina-test")
		if err != nil {
			t.Fatal(err)
		}
		fixtures.dir = dir
		writeCheckpoint(t, filepath.Join(dir, "tiny"))
		ok(t, "pack", filepath.Join(dir, "tiny"), "-o", filepath.Join(dir, "tiny.lamina"), "--bits", "4", "--mode", "scalar")
		var b strings.Builder
		r := rand.New(rand.NewPCG(7, 7))
		for range 400 {
			b.WriteString([]string{"the ", "then ", "it ", "rained, ", "and ", "über ", "42 "}[r.IntN(7)])
		}
		write(t, filepath.Join(dir, "text.txt"), []byte(b.String()))
	})
	path := filepath.Join(fixtures.dir, name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("fixture: %v", err)
	}
	return path
}

func write(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// Shape of the checkpoint: the smallest that has grouped heads, a padded edge
// panel and more than one layer.
const (
	tinyLayers, tinyHidden, tinyFFN, tinyHeads, tinyKV, tinyHeadDim = 2, 96, 320, 3, 1, 32
	tinyContext                                                     = 256
)

// writeCheckpoint writes a random LLaMA with a real, if small, tokenizer.
func writeCheckpoint(t testing.TB, dir string) {
	t.Helper()
	writeCheckpointOf(t, dir, tinyLayers, tinyFFN)
}

// writeCheckpointOf is writeCheckpoint with any number of layers and width of
// the feed-forward network.
func writeCheckpointOf(t testing.TB, dir string, layers, ffn int) {
	t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	tokenizer, vocab := tinyTokenizer(t)
	write(t, filepath.Join(dir, "tokenizer.json"), tokenizer)
	write(t, filepath.Join(dir, "tokenizer_config.json"), []byte(`{"bos_token":"<|begin|>","eos_token":"<|end|>",
		"chat_template":"{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"}`))
	write(t, filepath.Join(dir, "config.json"), fmt.Appendf(nil, `{"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_act":"silu",
		"hidden_size":%d,"intermediate_size":%d,"num_hidden_layers":%d,"num_attention_heads":%d,"num_key_value_heads":%d,"head_dim":%d,
		"vocab_size":%d,"max_position_embeddings":%d,"rms_norm_eps":1e-5,"rope_theta":10000,"tie_word_embeddings":true,
		"bos_token_id":%d,"eos_token_id":%d}`,
		tinyHidden, ffn, layers, tinyHeads, tinyKV, tinyHeadDim, vocab, tinyContext, vocab-2, vocab-1))
	write(t, filepath.Join(dir, "generation_config.json"), []byte(`{"temperature":0.8,"top_p":0.9}`))

	shapes := map[string][]int{"model.embed_tokens.weight": {vocab, tinyHidden}, "model.norm.weight": {tinyHidden}}
	for i := range layers {
		p := fmt.Sprintf("model.layers.%d.", i)
		shapes[p+"input_layernorm.weight"] = []int{tinyHidden}
		shapes[p+"post_attention_layernorm.weight"] = []int{tinyHidden}
		shapes[p+"self_attn.q_proj.weight"] = []int{tinyHeads * tinyHeadDim, tinyHidden}
		shapes[p+"self_attn.k_proj.weight"] = []int{tinyKV * tinyHeadDim, tinyHidden}
		shapes[p+"self_attn.v_proj.weight"] = []int{tinyKV * tinyHeadDim, tinyHidden}
		shapes[p+"self_attn.o_proj.weight"] = []int{tinyHidden, tinyHeads * tinyHeadDim}
		shapes[p+"mlp.gate_proj.weight"] = []int{ffn, tinyHidden}
		shapes[p+"mlp.up_proj.weight"] = []int{ffn, tinyHidden}
		shapes[p+"mlp.down_proj.weight"] = []int{tinyHidden, ffn}
	}
	write(t, filepath.Join(dir, "model.safetensors"), safetensors(t, shapes))
}

// safetensors makes a file of random float32 tensors: norms around one,
// matrices with the variance that keeps activations in range.
func safetensors(t testing.TB, shapes map[string][]int) []byte {
	t.Helper()
	var names []string
	for name := range shapes {
		names = append(names, name)
	}
	sort.Strings(names)
	r := rand.New(rand.NewPCG(3, 5))
	header, data := map[string]any{}, []byte{}
	for _, name := range names {
		shape, begin := shapes[name], len(data)
		n, scale, mean := shape[0], 0.1, 1.0
		if len(shape) == 2 {
			n, scale, mean = n*shape[1], 1/math.Sqrt(float64(shape[1])), 0
		}
		for range n {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(float32(mean+scale*r.NormFloat64())))
		}
		header[name] = map[string]any{"dtype": "F32", "shape": shape, "data_offsets": []int{begin, len(data)}}
	}
	h, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	return append(append(binary.LittleEndian.AppendUint64(nil, uint64(len(h))), h...), data...)
}

// tinyTokenizer returns a byte-level BPE tokenizer.json with four merges and
// four control tokens, and the size of its vocabulary.
func tinyTokenizer(t testing.TB) ([]byte, int) {
	t.Helper()
	vocab := map[string]int{}
	add := func(s string) { vocab[s] = len(vocab) }
	extra := 256
	for b := range 256 { // GPT-2's printable stand-ins for bytes
		switch {
		case b >= '!' && b <= '~', b >= 0xa1 && b <= 0xac, b >= 0xae:
			add(string(rune(b)))
		default:
			add(string(rune(extra)))
			extra++
		}
	}
	merges := []string{"t h", "th e", "Ġ a", "i n"}
	for _, m := range merges {
		add(strings.ReplaceAll(m, " ", ""))
	}
	var added []any
	for _, s := range []string{"<|user|>", "<|assistant|>", "<|begin|>", "<|end|>"} {
		id := len(vocab) + len(added)
		added = append(added, map[string]any{"id": id, "content": s, "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false})
	}
	begin := len(vocab) + 2
	byteLevel := map[string]any{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}
	data, err := json.Marshal(map[string]any{
		"version": "1.0", "added_tokens": added, "normalizer": nil, "pre_tokenizer": byteLevel, "decoder": byteLevel,
		"post_processor": map[string]any{
			"type":           "TemplateProcessing",
			"single":         []any{map[string]any{"SpecialToken": map[string]any{"id": "<|begin|>", "type_id": 0}}, map[string]any{"Sequence": map[string]any{"id": "A", "type_id": 0}}},
			"pair":           []any{},
			"special_tokens": map[string]any{"<|begin|>": map[string]any{"id": "<|begin|>", "ids": []int{begin}, "tokens": []string{"<|begin|>"}}},
		},
		"model": map[string]any{"type": "BPE", "vocab": vocab, "merges": merges},
	})
	if err != nil {
		t.Fatal(err)
	}
	return data, len(vocab) + len(added)
}
