package source

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strings"

	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/weights/gguf"
)

// openGGUF opens a .gguf file of architecture "llama".
func openGGUF(path string) (*Source, error) {
	f, err := gguf.Open(path)
	if err != nil {
		return nil, err
	}
	s := &Source{
		format: GGUF, name: filepath.Base(path), paths: []string{path}, rows: f,
		sampling: model.DefaultSampling(), tok: tokenizerInput{gguf: f},
	}
	if err := s.readGGUF(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return s, nil
}

func (s *Source) readGGUF(f *gguf.File) error {
	have := make(map[string]stored, len(f.Tensors()))
	for _, t := range f.Tensors() {
		have[hfName(t.Name)] = stored{t.Name, t.Shape, t.Type.String()}
	}
	var err error
	if s.config, err = ggufConfig(f, have); err != nil {
		return err
	}
	if s.config.RopeScaling, err = ropeScaling(f, s.config); err != nil {
		return err
	}
	if err := s.addStops(f); err != nil {
		return err
	}
	if err := s.config.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrCheckpoint, err)
	}
	if err := s.setTensors(have); err != nil {
		return err
	}
	for i := range s.tensors {
		t := &s.tensors[i]
		if strings.HasSuffix(t.Name, "q_proj.weight") || strings.HasSuffix(t.Name, "k_proj.weight") {
			t.rotary = s.config.HeadDim
		}
		// Reading no rows asks whether there is a decoder.
		if err := f.ReadRows(t.stored, 0, 0, nil); err != nil {
			if errors.Is(err, gguf.ErrUnsupported) {
				err = fmt.Errorf("%w: %w", llama.ErrUnsupported, err)
			}
			return err
		}
	}
	s.template, err = f.String("tokenizer.chat_template")
	return err
}

// ggufNames maps the parts of a GGUF tensor name to those of Hugging Face.
var ggufNames = map[string]string{
	"attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
	"attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
	"ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}

// hfName returns the Hugging Face name of a GGUF tensor. Names it does not know
// stay what they are, but inside a block they get the layer's prefix, so that
// the check for foreign tensors sees where they belong.
func hfName(name string) string {
	switch name {
	case "token_embd.weight":
		return "model.embed_tokens.weight"
	case "output_norm.weight":
		return "model.norm.weight"
	case "output.weight":
		return "lm_head.weight"
	}
	rest, ok := strings.CutPrefix(name, "blk.")
	if !ok {
		return name
	}
	layer, rest, _ := strings.Cut(rest, ".")
	part, suffix, _ := strings.Cut(rest, ".")
	if part == "attn_rot_embd" || part == "rope_freqs" { // follow from the configuration
		return "model.layers." + layer + ".rotary_emb.inv_freq"
	}
	if hf, ok := ggufNames[part]; ok {
		part = hf
	}
	return "model.layers." + layer + "." + part + "." + suffix
}

// ggufConfig reads the llama.* keys.
func ggufConfig(f *gguf.File, have map[string]stored) (llama.Config, error) {
	var c llama.Config
	arch, err := f.String("general.architecture")
	if err != nil {
		return c, err
	}
	if arch != "llama" {
		return c, fmt.Errorf("%w: GGUF architecture %q (supported: llama)", llama.ErrUnsupported, arch)
	}
	for _, key := range []string{"llama.expert_count", "llama.attention.sliding_window", "llama.logit_scale",
		"llama.embedding_scale", "llama.residual_scale", "llama.attention.scale"} {
		if v, ok := f.Float(key); ok && v != 0 {
			return c, fmt.Errorf("%w: %s is %v", llama.ErrUnsupported, key, v)
		}
	}
	var bad []string
	num := func(key string, otherwise int) int {
		v, ok := f.Int(key)
		if ok && v >= 0 && v <= math.MaxInt32 {
			return int(v)
		}
		if ok || f.Has(key) || otherwise < 0 {
			bad = append(bad, key)
		}
		return otherwise
	}
	c.Hidden = num("llama.embedding_length", -1)
	c.Intermediate = num("llama.feed_forward_length", -1)
	c.Layers = num("llama.block_count", -1)
	c.Heads = num("llama.attention.head_count", -1)
	c.KVHeads = num("llama.attention.head_count_kv", max(c.Heads, 0))
	c.MaxContext = num("llama.context_length", -1)
	c.HeadDim = num("llama.attention.key_length", max(c.Hidden, 0)/max(c.Heads, 1))
	value := num("llama.attention.value_length", c.HeadDim)
	rotary := num("llama.rope.dimension_count", c.HeadDim)
	if embd, ok := have["model.embed_tokens.weight"]; ok {
		c.Vocab = embd.shape[0] // what is really there; llama.vocab_size is optional
	}
	eps, ok := f.Float("llama.attention.layer_norm_rms_epsilon")
	if !ok {
		bad = append(bad, "llama.attention.layer_norm_rms_epsilon")
	}
	c.NormEps, c.RopeTheta = float32(eps), 10000
	if v, ok := f.Float("llama.rope.freq_base"); ok {
		c.RopeTheta = v
	}
	c.BOS = -1
	if id, ok := f.Int("tokenizer.ggml.bos_token_id"); ok && id >= 0 && id < int64(c.Vocab) {
		c.BOS = int32(id)
	}
	_, head := have["lm_head.weight"]
	c.Tied = !head
	switch {
	case len(bad) > 0:
		return c, fmt.Errorf("%w: missing or impossible metadata: %s", ErrCheckpoint, strings.Join(bad, ", "))
	case value != c.HeadDim:
		return c, fmt.Errorf("%w: keys of %d and values of %d per head", llama.ErrUnsupported, c.HeadDim, value)
	case rotary != c.HeadDim:
		return c, fmt.Errorf("%w: rotary embedding of %d of %d dimensions", llama.ErrUnsupported, rotary, c.HeadDim)
	}
	return c, c.Validate()
}

// ropeScaling reads the scaling of RoPE frequencies. Llama 3.1 and later files
// carry it as a tensor of divisors, from which the parameters are recovered.
func ropeScaling(f *gguf.File, c llama.Config) (*llama.RopeScaling, error) {
	kind, err := f.String("llama.rope.scaling.type")
	if err != nil {
		return nil, err
	}
	factor, hasFactor := f.Float("llama.rope.scaling.factor")
	if !hasFactor {
		factor, hasFactor = f.Float("llama.rope.scale_linear") // before 2023-10
	}
	original, _ := f.Int("llama.rope.scaling.original_context_length")
	switch kind {
	case "", "none", "linear":
	default:
		return nil, fmt.Errorf("%w: llama.rope.scaling.type %q (supported: linear, llama3)", llama.ErrUnsupported, kind)
	}
	var divisors []float32
	for _, t := range f.Tensors() {
		if t.Name != "rope_freqs.weight" {
			continue
		}
		if len(t.Shape) != 1 || t.Cols() != c.HeadDim/2 {
			return nil, fmt.Errorf("%w: rope_freqs.weight has shape %v, want [%d]", ErrCheckpoint, t.Shape, c.HeadDim/2)
		}
		divisors = make([]float32, t.Cols())
		if err := f.ReadRows(t.Name, 0, 1, divisors); err != nil {
			return nil, err
		}
	}
	linear := kind != "none" && hasFactor && factor != 1
	if linear && !(factor > 0 && factor < 1e6) {
		return nil, fmt.Errorf("%w: RoPE scaling factor %v", ErrCheckpoint, factor)
	}
	s, plain := explainDivisors(divisors, c, int(original))
	switch {
	case s == nil && !plain, s != nil && linear:
		return nil, fmt.Errorf("%w: rope_freqs.weight does not follow from llama3 scaling (low 1, high 4)", llama.ErrUnsupported)
	case s != nil:
		return s, nil
	case linear:
		return &llama.RopeScaling{Type: "linear", Factor: factor}, nil
	}
	return nil, nil
}

// explainDivisors finds the llama3 parameters that give these frequency
// divisors; plain says that there are none or that all are 1. Only the ratio of
// the original context to the two factors matters, and every Llama 3.x has
// 8192, 1 and 4, so the largest divisor is the one unknown.
func explainDivisors(divisors []float32, c llama.Config, original int) (s *llama.RopeScaling, plain bool) {
	plain = true
	factor := 1.0
	for _, d := range divisors {
		plain = plain && d == 1
		factor = max(factor, float64(d)) // false for NaN, which the comparison below catches
	}
	if plain {
		return nil, true
	}
	if original < 1 {
		original = 8192
	}
	s = &llama.RopeScaling{Type: "llama3", Factor: factor, LowFreqFactor: 1, HighFreqFactor: 4, OriginalContext: original}
	for i, d := range divisors {
		freq := math.Pow(c.RopeTheta, -2*float64(i)/float64(c.HeadDim))
		if want := llama3Divisor(s, freq); !(math.Abs(float64(d)-want) <= 1e-3*want) {
			return nil, false
		}
	}
	return s, false
}

// llama3Divisor is what Llama 3.1 divides a RoPE frequency (radians per token)
// by: nothing for short wavelengths, the factor for long ones, and a blend of
// the two frequencies between.
func llama3Divisor(s *llama.RopeScaling, freq float64) float64 {
	turns := float64(s.OriginalContext) * freq / (2 * math.Pi) // within the original context
	switch {
	case turns > s.HighFreqFactor:
		return 1
	case turns < s.LowFreqFactor:
		return s.Factor
	}
	smooth := (turns - s.LowFreqFactor) / (s.HighFreqFactor - s.LowFreqFactor)
	return 1 / ((1-smooth)/s.Factor + smooth)
}

// endTokens are control tokens that end a turn or a text in the LLaMA family.
// Few files name more than one of theirs in the metadata.
var endTokens = map[string]bool{
	"<|eot_id|>": true, "<|eom_id|>": true, "<|end_of_text|>": true, "<|endoftext|>": true,
	"<|im_end|>": true, "<|end|>": true, "</s>": true,
}

// addStops collects every token that ends a sequence.
func (s *Source) addStops(f *gguf.File) error {
	for _, key := range []string{"eos", "eot", "eom"} {
		if id, ok := f.Int("tokenizer.ggml." + key + "_token_id"); ok && id >= 0 && id < int64(s.config.Vocab) {
			mergeEOS(&s.config, int32(id))
		}
	}
	tokens, err := f.Strings("tokenizer.ggml.tokens")
	if err != nil {
		return err
	}
	types, err := f.Ints("tokenizer.ggml.token_type")
	if err != nil {
		return err
	}
	const control = 3
	for i, text := range tokens[:min(len(tokens), len(types))] {
		if types[i] == control && endTokens[text] {
			mergeEOS(&s.config, int32(i))
		}
	}
	return nil
}
