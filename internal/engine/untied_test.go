package engine_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/engine"
	"github.com/lamina-llm/lamina/internal/source"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/pack"
	"github.com/lamina-llm/lamina/runtime/plan"
)

// checkpoint writes a small random model with an output head of its own, odd
// widths and llama3 RoPE scaling, in Hugging Face layout.
func checkpoint(t *testing.T) string {
	t.Helper()
	return checkpointOf(t, 3, 16000, 200, false)
}

// checkpointOf is checkpoint with any number of layers, vocabulary and width of the
// feed-forward network, and with or without an output head of its own.
func checkpointOf(t *testing.T, layers, vocab, inter int, tied bool) string {
	t.Helper()
	dir := t.TempDir()
	const hidden, heads, kv, dim = 112, 4, 2, 32
	write := func(name string, v any) {
		data, err := json.Marshal(v)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	write("config.json", map[string]any{
		"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama", "hidden_act": "silu",
		"hidden_size": hidden, "intermediate_size": inter, "num_hidden_layers": layers, "num_attention_heads": heads,
		"num_key_value_heads": kv, "head_dim": dim, "vocab_size": vocab, "max_position_embeddings": 256,
		"rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": tied, "bos_token_id": 0, "eos_token_id": 1,
		"rope_scaling": map[string]any{"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
			"high_freq_factor": 4.0, "original_max_position_embeddings": 64},
	})
	pieces := map[string]int{}
	for i := range vocab {
		pieces[fmt.Sprintf("t%d", i)] = i
	}
	for b := range 94 { // printable ASCII spells itself in byte-level vocabularies
		delete(pieces, fmt.Sprintf("t%d", 100+b))
		pieces[string(rune('!'+b))] = 100 + b
	}
	write("tokenizer.json", map[string]any{
		"version": "1.0", "added_tokens": []any{}, "normalizer": nil, "post_processor": nil,
		"pre_tokenizer": map[string]any{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
		"decoder":       map[string]any{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
		"model":         map[string]any{"type": "BPE", "vocab": pieces, "merges": []string{}, "unk_token": nil},
	})
	r := rand.New(rand.NewPCG(1, 2))
	header, body := map[string]any{}, []byte(nil)
	add := func(name string, scale float64, shape ...int) {
		n := 1
		for _, d := range shape {
			n *= d
		}
		start := len(body)
		for range n {
			v := r.NormFloat64() * scale
			if len(shape) == 1 {
				v = 1 + v
			}
			body = binary.LittleEndian.AppendUint32(body, math.Float32bits(float32(v)))
		}
		header[name] = map[string]any{"dtype": "F32", "shape": shape, "data_offsets": []int{start, len(body)}}
	}
	add("model.embed_tokens.weight", 1, vocab, hidden)
	for i := range layers {
		p := fmt.Sprintf("model.layers.%d.", i)
		add(p+"input_layernorm.weight", 0.2, hidden)
		add(p+"self_attn.q_proj.weight", 0.1, heads*dim, hidden)
		add(p+"self_attn.k_proj.weight", 0.1, kv*dim, hidden)
		add(p+"self_attn.v_proj.weight", 0.1, kv*dim, hidden)
		add(p+"self_attn.o_proj.weight", 0.1, hidden, heads*dim)
		add(p+"post_attention_layernorm.weight", 0.2, hidden)
		add(p+"mlp.gate_proj.weight", 0.1, inter, hidden)
		add(p+"mlp.up_proj.weight", 0.1, inter, hidden)
		add(p+"mlp.down_proj.weight", 0.1, hidden, inter)
	}
	add("model.norm.weight", 0.2, hidden)
	if !tied {
		add("lm_head.weight", 0.1, vocab, hidden)
	}
	head, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	file := binary.LittleEndian.AppendUint64(nil, uint64(len(head)))
	file = append(append(file, head...), body...)
	if err := os.WriteFile(filepath.Join(dir, "model.safetensors"), file, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// logits runs ids through m in one batch and returns all rows.
func logits(t *testing.T, m *engine.Model, ids []int32) [][]float32 {
	t.Helper()
	s, err := m.NewSeq(len(ids))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	rows := make([][]float32, len(ids))
	err = m.Forward(context.Background(), []llama.Seq{{Tokens: ids, KV: s, Want: llama.All}}, func(_, tok int, l []float32) error {
		rows[tok] = slices.Clone(l)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// TestUntied packs a model with an own output head finely and compares its
// logits with the float32 checkpoint, in every regime; embedding rows come from
// memory or, when it is short, from the file.
func TestUntied(t *testing.T) {
	if testing.Short() {
		t.Skip("compares numbers at length; the concurrency is in other tests, too")
	}
	dir := checkpoint(t)
	ctx := context.Background()
	src, err := source.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	path := filepath.Join(t.TempDir(), "untied.lamina")
	if _, err := pack.Run(ctx, src, path, pack.Options{Bits: 8, Mode: rans.Scalar}); err != nil {
		t.Fatal(err)
	}
	ids := []int32{0, 17, 15999, 512, 511, 100, 3, 3, 250, 9640}
	float, err := engine.OpenSource(ctx, dir, engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := logits(t, float, ids)
	if err := float.Close(); err != nil {
		t.Fatal(err)
	}
	var first [][]float32
	seen := map[bool]bool{} // whether the embedding is one of the units
	for _, ram := range []func(plan.Plan) int64{
		func(plan.Plan) int64 { return 8 << 30 },
		func(p plan.Plan) int64 { return p.MinBudget },
	} {
		o := engine.Options{Context: 64, Parallel: 1, BatchTokens: 32, KV: engine.KVQ16}
		var m *engine.Model
		// The process grows and shrinks by itself: come from below, so that the
		// last case really is the smallest budget that works.
		p, err := engine.Plan(ctx, path, o)
		if err != nil {
			t.Fatal(err)
		}
		for o.RAM = ram(p) - 12<<20; ; o.RAM += 256 << 10 {
			if m, err = engine.Open(ctx, path, o); err == nil {
				break
			}
			if !errors.Is(err, plan.ErrTooSmall) || o.RAM > ram(p)+32<<20 {
				t.Fatal(err)
			}
		}
		got := logits(t, m, ids)
		p = m.Plan()
		seen[p.Units[len(p.Units)-1].Name == "embed"] = true
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = got
		}
		for i := range got {
			if !slices.Equal(got[i], first[i]) {
				t.Fatalf("%s: logits of token %d differ from those of the first regime", p.Title(), i)
			}
			var diff, norm float64
			for k, v := range got[i] {
				d := float64(v - want[i][k])
				diff += d * d
				norm += float64(want[i][k]) * float64(want[i][k])
			}
			// Eight bits a weight, all counted, and int8 activations leave a few per cent in so small a model.
			if e := math.Sqrt(diff / norm); e > 0.08 {
				t.Errorf("%s: logits of token %d are %.3f off the float32 model's", p.Title(), i, e)
			}
		}
	}
	if len(seen) != 2 {
		t.Errorf("the embedding was tried in memory and on disk: %v", seen)
	}
}

// TestSmallHead runs a model whose tied head is streamed as one unit, while other
// matrices are in pieces: with a small vocabulary and a wide feed-forward network.
func TestSmallHead(t *testing.T) {
	if testing.Short() {
		t.Skip("compares numbers at length; the concurrency is in other tests, too")
	}
	src, err := source.Open(checkpointOf(t, 2, 2000, 30000, true))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	path := filepath.Join(t.TempDir(), "wide.lamina")
	if _, err := pack.Run(t.Context(), src, path, pack.Options{Bits: 4, Mode: rans.Scalar, Fast: true}); err != nil {
		t.Fatal(err)
	}
	inRegimes(t, path, []int32{0, 17, 1999, 512, 511, 100, 3, 3}, setting{plan.A, 2}, setting{plan.B, 1}, setting{plan.C, 2})
}
