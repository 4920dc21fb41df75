package pack_test

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
	"strings"
	"testing"

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/source"
	"github.com/lamina-llm/lamina/pack"
	"github.com/lamina-llm/lamina/weights"
)

const (
	tinyHidden, tinyFFN, tinyLayers, tinyHeads, tinyVocab = 192, 1272, 3, 4, 259
	tinyHead                                              = 32
)

// checkpoint writes a random LLaMA whose tokens are bytes.
func checkpoint(t *testing.T) *source.Source {
	t.Helper()
	dir := t.TempDir()
	vocab, n := map[string]int{}, 256
	for b := range 256 { // GPT-2's printable stand-ins for bytes
		switch {
		case b >= '!' && b <= '~', b >= 0xa1 && b <= 0xac, b >= 0xae:
			vocab[string(rune(b))] = len(vocab)
		default:
			vocab[string(rune(n))] = len(vocab)
			n++
		}
	}
	for _, s := range []string{"th", "he", "in"} {
		vocab[s] = len(vocab)
	}
	bytes := map[string]any{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}
	tokenizer, err := json.Marshal(map[string]any{
		"version": "1.0", "added_tokens": []any{}, "normalizer": nil, "pre_tokenizer": bytes, "decoder": bytes, "post_processor": nil,
		"model": map[string]any{"type": "BPE", "vocab": vocab, "merges": []string{"t h", "h e", "i n"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`{"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_act":"silu","hidden_size":%d,
		"intermediate_size":%d,"num_hidden_layers":%d,"num_attention_heads":%d,"num_key_value_heads":2,"head_dim":%d,"vocab_size":%d,
		"max_position_embeddings":128,"rms_norm_eps":1e-5,"rope_theta":10000,"tie_word_embeddings":true}`,
		tinyHidden, tinyFFN, tinyLayers, tinyHeads, tinyHead, tinyVocab)
	r := rand.New(rand.NewPCG(3, 5))
	header, data := map[string]any{}, []byte{}
	add := func(name string, shape ...int) {
		begin, n, scale, mean := len(data), shape[0], 0.3, 1.0
		if len(shape) == 2 {
			n, scale, mean = n*shape[1], 1/math.Sqrt(float64(shape[1])), 0
		}
		for range n {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(float32(mean+scale*r.NormFloat64())))
		}
		header[name] = map[string]any{"dtype": "F32", "shape": shape, "data_offsets": []int{begin, len(data)}}
	}
	add("model.embed_tokens.weight", tinyVocab, tinyHidden)
	for i := range tinyLayers {
		p := fmt.Sprintf("model.layers.%d.", i)
		add(p+"input_layernorm.weight", tinyHidden)
		add(p+"post_attention_layernorm.weight", tinyHidden)
		add(p+"self_attn.q_proj.weight", tinyHeads*tinyHead, tinyHidden)
		add(p+"self_attn.k_proj.weight", 2*tinyHead, tinyHidden)
		add(p+"self_attn.v_proj.weight", 2*tinyHead, tinyHidden)
		add(p+"self_attn.o_proj.weight", tinyHidden, tinyHeads*tinyHead)
		add(p+"mlp.gate_proj.weight", tinyFFN, tinyHidden)
		add(p+"mlp.up_proj.weight", tinyFFN, tinyHidden)
		add(p+"mlp.down_proj.weight", tinyHidden, tinyFFN)
	}
	add("model.norm.weight", tinyHidden)
	h, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	tensors := append(append(binary.LittleEndian.AppendUint64(nil, uint64(len(h))), h...), data...)
	for name, content := range map[string][]byte{"tokenizer.json": tokenizer, "config.json": []byte(config), "model.safetensors": tensors} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	src, err := source.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	return src
}

func tokens(n int) []int32 {
	r := rand.New(rand.NewPCG(1, 9))
	out := make([]int32, n)
	for i := range out {
		out[i] = int32(tinyVocab * r.Float64() * r.Float64())
	}
	return out
}

func TestCalibrated(t *testing.T) {
	src := checkpoint(t)
	path := filepath.Join(t.TempDir(), "m.lamina")
	cal := &pack.Calibration{Name: "noise", Tokens: tokens(700)}
	for _, mode := range []rans.Mode{rans.Scalar, rans.DQ} {
		phases := map[string]pack.Progress{}
		o := pack.Options{Size: 900 << 10, Mode: mode, Workers: 2, Calibrate: cal, Progress: func(p pack.Progress) {
			if last := phases[p.Phase]; p.Done <= last.Done || p.Done > p.Total {
				t.Errorf("%+v after %+v", p, last)
			}
			phases[p.Phase] = p
		}}
		r, err := pack.Run(context.Background(), src, path, o)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d bytes, asked for %d", r.Bytes, o.Size)
		if math.Abs(float64(r.Bytes-o.Size)) > 0.01*float64(o.Size) {
			t.Errorf("%v: %d bytes, want %d", mode, r.Bytes, o.Size)
		}
		for _, name := range []string{"calibrate", "scan", "plan", "encode"} {
			if p := phases[name]; p.Done == 0 || p.Done != p.Total {
				t.Errorf("%v: phase %s ended with %+v", mode, name, p)
			}
		}
		f, err := weights.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if prov, err := f.Section("provenance"); err != nil || !strings.Contains(string(prov), `"calibrated on 700 tokens of noise, `+mode.String()) {
			t.Errorf("%v: provenance %s, %v", mode, prov, err)
		}
		for _, rep := range r.Tensors {
			if got := relativeError(t, src, f, rep.Name); math.Abs(got-rep.Error) > 1e-3*rep.Error {
				t.Errorf("%v: %s decodes with an error of %.6f, reported %.6f", mode, rep.Name, got, rep.Error)
			}
		}
		f.Close()
	}
}

// relativeError decodes a matrix and compares it with the source; 0.0 stands
// for none. Without calibration, norms are folded in, so it fits no such file.
func relativeError(t *testing.T, src *source.Source, f *weights.File, name string) float64 {
	t.Helper()
	names := []string{"model.embed_tokens.weight"}
	if layer, part, ok := strings.Cut(strings.TrimPrefix(name, "layers."), "."); ok {
		for _, s := range map[string][]string{"qkv": {"self_attn.q", "self_attn.k", "self_attn.v"}, "out": {"self_attn.o"},
			"gate_up": {"mlp.gate", "mlp.up"}, "down": {"mlp.down"}}[part] {
			names = append(names, "model.layers."+layer+"."+s+"_proj.weight")
		}
		names = names[1:]
	}
	var want []float32
	for _, n := range names {
		info, _ := src.Tensor(n)
		part := make([]float32, info.Rows*info.Cols)
		if err := src.ReadRows(n, 0, info.Rows, part); err != nil {
			t.Fatal(err)
		}
		want = append(want, part...)
	}
	tensor := f.Tensor(name)
	spans := make([][]byte, len(tensor.Spans))
	for i, s := range tensor.Spans {
		spans[i] = make([]byte, s.Len)
		if err := f.ReadSpan(spans[i], s); err != nil {
			t.Fatal(err)
		}
	}
	m, err := rans.NewMatrix(tensor.Rows, tensor.Cols, spans[0])
	if err == nil {
		err = m.Attach(spans[1:])
	}
	if err != nil {
		t.Fatal(err)
	}
	perm, l, cols := m.Permutation(), m.Layout(), tensor.Cols
	if perm == nil {
		for j := range cols {
			perm = append(perm, uint32(j))
		}
	}
	got := make([]float64, len(want)) // in steps
	var s rans.Scratch
	for c := range m.Chunks() {
		r0, r1 := m.Band(c / m.Blocks())
		p0, p1 := m.Block(c % m.Blocks())
		dst := make([][]uint8, p1-p0)
		for i := range dst {
			c0, c1 := l.Columns(p0 + i)
			dst[i] = make([]uint8, (r1-r0+15)/16*16*(c1-c0))
		}
		delta := map[[3]int]int32{}
		if err := m.Levels(c, dst, func(p, row, col int, d int32) { delta[[3]int{p, row, col}] = d }, &s); err != nil {
			t.Fatal(err)
		}
		for i := range dst {
			c0, c1 := l.Columns(p0 + i)
			for r := range r1 - r0 {
				for k := c0; k < min(c1, cols); k++ {
					level := int32(dst[i][r*(c1-c0)+k-c0]) - m.Zero() + delta[[3]int{i, r, k - c0}]
					got[(r0+r)*cols+int(perm[k])] = float64(level)
				}
			}
		}
	}
	loss, energy := 0.0, 0.0
	for i, w := range want {
		side := m.Side()
		d := got[i]*float64(side.Row.Value(i/cols))*float64(side.Col.Value(i%cols)) - float64(w)
		loss, energy = loss+d*d, energy+float64(w)*float64(w)
	}
	return math.Sqrt(loss / energy)
}

func TestCalibrationStops(t *testing.T) {
	src, dir := checkpoint(t), t.TempDir()
	for _, phase := range []string{"calibrate", "plan", "encode"} {
		ctx, stop := context.WithCancel(context.Background())
		o := pack.Options{Bits: 3, Mode: rans.Scalar, Calibrate: &pack.Calibration{Name: "noise", Tokens: tokens(300)}, Progress: func(p pack.Progress) {
			if p.Phase == phase {
				stop()
			}
		}}
		if _, err := pack.Run(ctx, src, filepath.Join(dir, "m.lamina"), o); !errors.Is(err, context.Canceled) {
			t.Errorf("stopped in phase %s: %v", phase, err)
		}
		stop()
		if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) != 0 {
			t.Errorf("stopped in phase %s: left %v", phase, files)
		}
	}
	few := pack.Options{Bits: 3, Calibrate: &pack.Calibration{Tokens: slices.Repeat([]int32{1}, 5)}}
	if err := few.Validate(); err == nil {
		t.Error("a calibration text of five tokens was accepted")
	}
}
