// Package llama is the LLaMA family: its configuration, the contract for its
// weights, and its forward pass in float32 activations over whatever form the
// weights have.
//
// It does no I/O, knows no file format and no codec, and owns no goroutine:
// weights come through [Weights], parallelism through [model.Pool], the cache
// through package kv. Supported are Llama 2, 3, 3.1 and 3.2, SmolLM and
// SmolLM2, TinyLlama, and Mistral without sliding window; [ParseConfig] names
// what is not.
//
// A [Config] is a value. A [Model] and a [FloatWeights] are for one goroutine
// at a time.
package llama

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
)

// ErrUnsupported marks a checkpoint whose architecture Lamina does not run.
var ErrUnsupported = errors.New("unsupported model")

// Config holds the hyper-parameters of a LLaMA-family model, under the names
// of a Hugging Face config.json, which is also how they are stored.
type Config struct {
	Hidden       int          // hidden_size: width of the residual stream
	Intermediate int          // intermediate_size: width of the SwiGLU
	Layers       int          // num_hidden_layers
	Heads        int          // num_attention_heads
	KVHeads      int          // num_key_value_heads; Heads is a multiple (GQA)
	HeadDim      int          // head_dim; Hidden / Heads unless stated
	Vocab        int          // vocab_size
	MaxContext   int          // max_position_embeddings, in tokens
	NormEps      float32      // rms_norm_eps
	RopeTheta    float64      // rope_theta
	RopeScaling  *RopeScaling // nil is plain RoPE
	Tied         bool         // tie_word_embeddings: the head is the embedding
	BOS          int32        // bos_token_id; -1 if none
	EOS          []int32      // eos_token_id, one or several
}

// RopeScaling is the "llama3" (Llama 3.1 and later) or "linear" scaling of
// RoPE frequencies.
type RopeScaling struct {
	Type            string  // "llama3" or "linear"
	Factor          float64 // > 0
	LowFreqFactor   float64 // llama3 only
	HighFreqFactor  float64 // llama3 only
	OriginalContext int     // llama3 only: original_max_position_embeddings
}

// Limits that every configuration must keep, so that nothing downstream has to
// fear an absurd allocation.
const (
	maxWidth  = 1 << 17
	maxLayers = 1 << 10
	maxVocab  = 1 << 21
	maxCtx    = 1 << 24
)

// hfConfig mirrors config.json. Pointers tell absent from zero.
type hfConfig struct {
	Architectures  []string        `json:"architectures"`
	ModelType      string          `json:"model_type"`
	Hidden         int             `json:"hidden_size"`
	Intermediate   int             `json:"intermediate_size"`
	Layers         int             `json:"num_hidden_layers"`
	Heads          int             `json:"num_attention_heads"`
	KVHeads        *int            `json:"num_key_value_heads"`
	HeadDim        *int            `json:"head_dim"`
	Vocab          int             `json:"vocab_size"`
	MaxContext     int             `json:"max_position_embeddings"`
	NormEps        *float64        `json:"rms_norm_eps"`
	RopeTheta      *float64        `json:"rope_theta"`
	RopeScaling    json.RawMessage `json:"rope_scaling"`
	RopeParameters json.RawMessage `json:"rope_parameters"`
	Tied           *bool           `json:"tie_word_embeddings"`
	BOS            json.RawMessage `json:"bos_token_id"`
	EOS            json.RawMessage `json:"eos_token_id"`
	HiddenAct      string          `json:"hidden_act"`
	AttentionBias  bool            `json:"attention_bias"`
	MLPBias        bool            `json:"mlp_bias"`
	SlidingWindow  json.RawMessage `json:"sliding_window"`
	LayerTypes     []string        `json:"layer_types"`
	PartialRotary  *float64        `json:"partial_rotary_factor"`
	Experts        int             `json:"num_experts"`
	LocalExperts   int             `json:"num_local_experts"`
	Quantization   json.RawMessage `json:"quantization_config"`
}

type hfRope struct {
	Type           string   `json:"rope_type"`
	OldType        string   `json:"type"`
	Theta          *float64 `json:"rope_theta"`
	Factor         float64  `json:"factor"`
	LowFreqFactor  float64  `json:"low_freq_factor"`
	HighFreqFactor float64  `json:"high_freq_factor"`
	Original       int      `json:"original_max_position_embeddings"`
	Partial        *float64 `json:"partial_rotary_factor"`
}

// ParseConfig reads a Hugging Face config.json. It returns an error that wraps
// [ErrUnsupported] and names the reason if the architecture is not one that
// Lamina runs, and a plain error if the numbers make no sense.
func ParseConfig(data []byte) (Config, error) {
	var h hfConfig
	if err := json.Unmarshal(data, &h); err != nil {
		return Config{}, fmt.Errorf("config.json: %w", err)
	}
	if err := h.check(); err != nil {
		return Config{}, err
	}
	c := Config{
		Hidden: h.Hidden, Intermediate: h.Intermediate, Layers: h.Layers, Heads: h.Heads,
		KVHeads: h.Heads, Vocab: h.Vocab, MaxContext: h.MaxContext,
		NormEps: 1e-6, RopeTheta: 10000, BOS: -1,
	}
	if h.KVHeads != nil {
		c.KVHeads = *h.KVHeads
	}
	if h.HeadDim != nil {
		c.HeadDim = *h.HeadDim
	} else if c.Heads > 0 {
		if c.Hidden%c.Heads != 0 {
			return Config{}, fmt.Errorf("config.json: hidden_size %d is not a multiple of %d heads and there is no head_dim", c.Hidden, c.Heads)
		}
		c.HeadDim = c.Hidden / c.Heads
	}
	if h.NormEps != nil {
		c.NormEps = float32(*h.NormEps)
	}
	if h.RopeTheta != nil {
		c.RopeTheta = *h.RopeTheta
	}
	if h.Tied != nil {
		c.Tied = *h.Tied
	}
	if c.MaxContext == 0 {
		c.MaxContext = 2048
	}
	for _, raw := range []json.RawMessage{h.RopeParameters, h.RopeScaling} {
		if err := c.parseRope(raw); err != nil {
			return Config{}, err
		}
	}
	bos, err := tokenIDs("bos_token_id", h.BOS)
	if err != nil {
		return Config{}, err
	}
	if len(bos) > 0 {
		c.BOS = bos[0]
	}
	if c.EOS, err = tokenIDs("eos_token_id", h.EOS); err != nil {
		return Config{}, err
	}
	return c, c.Validate()
}

// check refuses architectures that Lamina does not run.
func (h *hfConfig) check() error {
	switch h.ModelType {
	case "llama", "mistral", "":
	default:
		return fmt.Errorf("%w: model_type %q (supported: llama, mistral without sliding window)", ErrUnsupported, h.ModelType)
	}
	for _, a := range h.Architectures {
		if a != "LlamaForCausalLM" && a != "MistralForCausalLM" {
			return fmt.Errorf("%w: architecture %q (supported: LlamaForCausalLM, MistralForCausalLM)", ErrUnsupported, a)
		}
	}
	switch {
	case h.ModelType == "" && len(h.Architectures) == 0:
		return fmt.Errorf("%w: config.json names neither model_type nor architectures", ErrUnsupported)
	case h.HiddenAct != "" && h.HiddenAct != "silu" && h.HiddenAct != "swish":
		return fmt.Errorf("%w: hidden_act %q (supported: silu)", ErrUnsupported, h.HiddenAct)
	case h.AttentionBias:
		return fmt.Errorf("%w: attention_bias", ErrUnsupported)
	case h.MLPBias:
		return fmt.Errorf("%w: mlp_bias", ErrUnsupported)
	case h.Experts > 1 || h.LocalExperts > 1:
		return fmt.Errorf("%w: mixture of %d experts", ErrUnsupported, max(h.Experts, h.LocalExperts))
	case h.PartialRotary != nil && *h.PartialRotary != 1:
		return fmt.Errorf("%w: partial_rotary_factor %v", ErrUnsupported, *h.PartialRotary)
	case present(h.Quantization):
		return fmt.Errorf("%w: quantization_config (give the unquantised checkpoint or a GGUF)", ErrUnsupported)
	}
	for _, t := range h.LayerTypes {
		if t != "full_attention" {
			return fmt.Errorf("%w: layer_types %q", ErrUnsupported, t)
		}
	}
	return h.checkWindow()
}

// checkWindow refuses attention that does not see the whole context. A Mistral
// configuration without the key means a window of 4096, one with null none.
func (h *hfConfig) checkWindow() error {
	window := 0
	switch {
	case present(h.SlidingWindow):
		if err := json.Unmarshal(h.SlidingWindow, &window); err != nil {
			return fmt.Errorf("config.json: sliding_window: %w", err)
		}
	case len(h.SlidingWindow) == 0 && h.ModelType == "mistral":
		window = 4096
	}
	if window > 0 && window < h.MaxContext {
		return fmt.Errorf("%w: sliding_window %d of a context of %d", ErrUnsupported, window, h.MaxContext)
	}
	return nil
}

// MarshalJSON writes the configuration as a Hugging Face config.json that
// ParseConfig reads back to the same value.
func (c Config) MarshalJSON() ([]byte, error) {
	m := map[string]any{
		"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama", "hidden_act": "silu",
		"hidden_size": c.Hidden, "intermediate_size": c.Intermediate, "num_hidden_layers": c.Layers,
		"num_attention_heads": c.Heads, "num_key_value_heads": c.KVHeads, "head_dim": c.HeadDim,
		"vocab_size": c.Vocab, "max_position_embeddings": c.MaxContext, "rms_norm_eps": c.NormEps,
		"rope_theta": c.RopeTheta, "tie_word_embeddings": c.Tied, "eos_token_id": c.EOS,
	}
	if c.BOS >= 0 {
		m["bos_token_id"] = c.BOS
	}
	if r := c.RopeScaling; r != nil {
		m["rope_scaling"] = map[string]any{
			"rope_type": r.Type, "factor": r.Factor, "low_freq_factor": r.LowFreqFactor,
			"high_freq_factor": r.HighFreqFactor, "original_max_position_embeddings": r.OriginalContext,
		}
	}
	return json.Marshal(m)
}

// Validate reports the first hyper-parameter that makes no sense.
func (c Config) Validate() error {
	check := func(name string, v, max int) error {
		if v < 1 || v > max {
			return fmt.Errorf("llama config: %s is %d, want 1 to %d", name, v, max)
		}
		return nil
	}
	err := errors.Join(
		check("hidden_size", c.Hidden, maxWidth), check("intermediate_size", c.Intermediate, maxWidth),
		check("num_hidden_layers", c.Layers, maxLayers), check("num_attention_heads", c.Heads, maxWidth),
		check("num_key_value_heads", c.KVHeads, maxWidth), check("head_dim", c.HeadDim, 1024),
		check("vocab_size", c.Vocab, maxVocab), check("max_position_embeddings", c.MaxContext, maxCtx))
	switch {
	case err != nil:
		return err
	case c.Heads%c.KVHeads != 0:
		return fmt.Errorf("llama config: %d heads are not a multiple of %d key-value heads", c.Heads, c.KVHeads)
	case c.HeadDim%2 != 0:
		return fmt.Errorf("llama config: head_dim %d is odd", c.HeadDim)
	case c.Heads*c.HeadDim > maxWidth:
		return fmt.Errorf("llama config: %d heads of %d are too wide", c.Heads, c.HeadDim)
	case !(c.NormEps > 0 && c.NormEps < 1):
		return fmt.Errorf("llama config: rms_norm_eps is %v", c.NormEps)
	case !(c.RopeTheta >= 1 && c.RopeTheta <= 1e15):
		return fmt.Errorf("llama config: rope_theta is %v", c.RopeTheta)
	}
	if c.RopeScaling != nil {
		if err := c.RopeScaling.validate(); err != nil {
			return err
		}
	}
	for _, id := range append([]int32{max(c.BOS, 0)}, c.EOS...) {
		if id < 0 || int(id) >= c.Vocab {
			return fmt.Errorf("llama config: special token %d is outside the vocabulary of %d", id, c.Vocab)
		}
	}
	return nil
}

// QKV returns the rows of the joined query, key and value projection.
func (c Config) QKV() int { return (c.Heads + 2*c.KVHeads) * c.HeadDim }

// KVBytesPerToken returns what one token occupies in a KV cache of 16 bits.
func (c Config) KVBytesPerToken() int64 {
	return int64(c.Layers) * 2 * int64(c.KVHeads) * (int64(c.HeadDim)*2 + 4)
}

func (c *Config) parseRope(raw json.RawMessage) error {
	if !present(raw) {
		return nil
	}
	var r hfRope
	if err := json.Unmarshal(raw, &r); err != nil {
		return fmt.Errorf("config.json: rope_scaling: %w", err)
	}
	if r.Theta != nil {
		c.RopeTheta = *r.Theta
	}
	if r.Partial != nil && *r.Partial != 1 {
		return fmt.Errorf("%w: partial_rotary_factor %v", ErrUnsupported, *r.Partial)
	}
	if r.Type == "" {
		r.Type = r.OldType
	}
	switch r.Type {
	case "", "default":
		return nil
	case "linear", "llama3":
	default:
		return fmt.Errorf("%w: rope_scaling type %q (supported: llama3, linear)", ErrUnsupported, r.Type)
	}
	c.RopeScaling = &RopeScaling{Type: r.Type, Factor: r.Factor}
	if r.Type == "llama3" {
		c.RopeScaling.LowFreqFactor, c.RopeScaling.HighFreqFactor, c.RopeScaling.OriginalContext = r.LowFreqFactor, r.HighFreqFactor, r.Original
	}
	return nil
}

// validate reports factors that would make no sense or no finite rate.
func (s *RopeScaling) validate() error {
	finite := func(v float64) bool { return v > 0 && v < math.MaxFloat32 }
	ok := finite(s.Factor)
	switch s.Type {
	case "linear":
	case "llama3":
		ok = ok && finite(s.LowFreqFactor) && finite(s.HighFreqFactor) && s.HighFreqFactor > s.LowFreqFactor &&
			s.OriginalContext >= 1 && s.OriginalContext <= maxCtx
	default:
		return fmt.Errorf("%w: rope scaling %q", ErrUnsupported, s.Type)
	}
	if !ok {
		return fmt.Errorf("llama config: %s rope scaling has impossible factors: %+v", s.Type, *s)
	}
	return nil
}

func tokenIDs(name string, raw json.RawMessage) ([]int32, error) {
	if !present(raw) {
		return nil, nil
	}
	var one int32
	if json.Unmarshal(raw, &one) == nil {
		return []int32{one}, nil
	}
	var many []int32
	if err := json.Unmarshal(raw, &many); err != nil {
		return nil, fmt.Errorf("config.json: %s: %w", name, err)
	}
	return many, nil
}

func present(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }
