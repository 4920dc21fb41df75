package llama

import (
	"encoding/json"
	"errors"
	"maps"
	"math"
	"reflect"
	"strings"
	"testing"
)

// plain is a complete configuration, which tests change one key at a time.
func plain() map[string]any {
	return map[string]any{
		"architectures": []any{"LlamaForCausalLM"}, "model_type": "llama", "hidden_act": "silu", "hidden_size": 64,
		"intermediate_size": 176, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
		"vocab_size": 256, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
		"tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2, "attention_bias": false, "mlp_bias": false,
	}
}

type change = map[string]any

// with parses plain with keys changed; a nil value removes the key.
func with(t *testing.T, changes change) (Config, error) {
	t.Helper()
	m := plain()
	maps.Copy(m, changes)
	for k, v := range changes {
		if v == nil {
			delete(m, k)
		}
	}
	data, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return ParseConfig(data)
}

var null = json.RawMessage("null")

func TestParseConfig(t *testing.T) {
	want := Config{Hidden: 64, Intermediate: 176, Layers: 2, Heads: 4, KVHeads: 2, HeadDim: 16, Vocab: 256, MaxContext: 8192,
		NormEps: 1e-5, RopeTheta: 10000, BOS: 1, EOS: []int32{2}}
	for name, test := range map[string]struct {
		change change
		edit   func(*Config)
	}{
		"plain":           {change{}, func(*Config) {}},
		"no GQA":          {change{"num_key_value_heads": nil}, func(c *Config) { c.KVHeads = 4 }},
		"head_dim":        {change{"head_dim": 24}, func(c *Config) { c.HeadDim = 24 }},
		"null head_dim":   {change{"head_dim": null}, func(*Config) {}},
		"tied":            {change{"tie_word_embeddings": true}, func(c *Config) { c.Tied = true }},
		"defaults":        {change{"rms_norm_eps": nil, "rope_theta": nil, "max_position_embeddings": nil, "tie_word_embeddings": nil}, func(c *Config) { c.NormEps = 1e-6; c.MaxContext = 2048 }},
		"no tokens":       {change{"bos_token_id": null, "eos_token_id": nil}, func(c *Config) { c.BOS = -1; c.EOS = nil }},
		"several ends":    {change{"eos_token_id": []int{2, 5, 7}}, func(c *Config) { c.EOS = []int32{2, 5, 7} }},
		"mistral":         {change{"model_type": "mistral", "architectures": []string{"MistralForCausalLM"}, "sliding_window": null}, func(*Config) {}},
		"wide window":     {change{"model_type": "mistral", "sliding_window": 8192}, func(*Config) {}},
		"default rope":    {change{"rope_scaling": change{"rope_type": "default"}}, func(*Config) {}},
		"old linear":      {change{"rope_scaling": change{"type": "linear", "factor": 4}}, func(c *Config) { c.RopeScaling = &RopeScaling{Type: "linear", Factor: 4} }},
		"rope_parameters": {change{"rope_theta": nil, "rope_parameters": change{"rope_type": "default", "rope_theta": 5e5}}, func(c *Config) { c.RopeTheta = 5e5 }},
		"llama3": {change{"rope_theta": 5e5, "rope_scaling": change{"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 8192}},
			func(c *Config) {
				c.RopeTheta, c.RopeScaling = 5e5, &RopeScaling{Type: "llama3", Factor: 8, LowFreqFactor: 1, HighFreqFactor: 4, OriginalContext: 8192}
			}},
	} {
		expect := want
		test.edit(&expect)
		got, err := with(t, test.change)
		if err != nil || !reflect.DeepEqual(got, expect) {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, err, expect)
			continue
		}
		data, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ParseConfig(data); err != nil || !reflect.DeepEqual(again, got) {
			t.Errorf("%s: written and read back: %+v, %v, want %+v", name, again, err, got)
		}
	}
}

// TestUnsupported checks that what Lamina does not run is refused by name.
func TestUnsupported(t *testing.T) {
	for want, changes := range map[string]change{
		`"qwen2"`:                                {"model_type": "qwen2", "architectures": []string{"Qwen2ForCausalLM"}},
		`"gemma2"`:                               {"model_type": "gemma2"},
		`"phi3"`:                                 {"model_type": "phi3"},
		`"mixtral"`:                              {"model_type": "mixtral", "architectures": []string{"MixtralForCausalLM"}},
		`"LlamaForSequenceClassification"`:       {"architectures": []string{"LlamaForSequenceClassification"}},
		`"SmolLM3ForCausalLM"`:                   {"model_type": nil, "architectures": []string{"SmolLM3ForCausalLM"}},
		`neither model_type nor architectures`:   {"model_type": nil, "architectures": nil},
		`hidden_act "gelu"`:                      {"hidden_act": "gelu"},
		`attention_bias`:                         {"attention_bias": true},
		`mlp_bias`:                               {"mlp_bias": true},
		`sliding_window 4096 of a context of 81`: {"model_type": "mistral"},
		`sliding_window 1024`:                    {"sliding_window": 1024},
		`partial_rotary_factor 0.25`:             {"rope_parameters": change{"rope_theta": 1e4, "partial_rotary_factor": 0.25}},
		`layer_types "sliding_attention"`:        {"layer_types": []string{"full_attention", "sliding_attention"}},
		`mixture of 8 experts`:                   {"num_local_experts": 8},
		`mixture of 60 experts`:                  {"num_experts": 60},
		`partial_rotary_factor 0.5`:              {"partial_rotary_factor": 0.5},
		`quantization_config`:                    {"quantization_config": change{"quant_method": "gptq"}},
		`rope_scaling type "yarn"`:               {"rope_scaling": change{"rope_type": "yarn", "factor": 4}},
		`rope_scaling type "dynamic"`:            {"rope_scaling": change{"type": "dynamic", "factor": 4}},
		`rope_scaling type "longrope"`:           {"rope_parameters": change{"rope_type": "longrope"}},
	} {
		_, err := with(t, changes)
		if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: error is %v, want one that names %s", changes, err, want)
		}
	}
}

// TestNonsense checks that impossible numbers are refused, but not as
// unsupported.
func TestNonsense(t *testing.T) {
	for want, changes := range map[string]change{
		"hidden_size is 0":            {"hidden_size": nil, "head_dim": 16},
		"hidden_size is -64":          {"hidden_size": -64},
		"hidden_size is 1073741824":   {"hidden_size": 1 << 30},
		"intermediate_size":           {"intermediate_size": 0},
		"num_hidden_layers":           {"num_hidden_layers": 1 << 20},
		"num_attention_heads":         {"num_attention_heads": 0},
		"num_key_value_heads":         {"num_key_value_heads": 0},
		"not a multiple of 3 key":     {"num_key_value_heads": 3},
		"not a multiple of 5 heads":   {"num_attention_heads": 5},
		"head_dim 15 is odd":          {"head_dim": 15},
		"too wide":                    {"head_dim": 1024, "num_attention_heads": 1024},
		"vocab_size":                  {"vocab_size": 1 << 40},
		"max_position_embeddings":     {"max_position_embeddings": -1},
		"rms_norm_eps":                {"rms_norm_eps": 0},
		"rope_theta":                  {"rope_theta": -1},
		"special token 256":           {"bos_token_id": 256},
		"special token -2":            {"eos_token_id": []int{1, -2}},
		"eos_token_id":                {"eos_token_id": "two"},
		"cannot unmarshal":            {"hidden_size": "wide"},
		"linear rope scaling has":     {"rope_scaling": change{"type": "linear"}},
		"llama3 rope scaling has":     {"rope_scaling": change{"type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4, "original_max_position_embeddings": 8192}},
		"config.json: rope_scaling":   {"rope_scaling": []int{1}},
		"config.json: sliding_window": {"sliding_window": "no"},
	} {
		_, err := with(t, changes)
		if err == nil || errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: error is %v, want one that says %q", changes, err, want)
		}
	}
	c, err := with(t, change{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []RopeScaling{{Type: "yarn", Factor: 2}, {Type: "linear", Factor: math.Inf(1)}, {Type: "linear", Factor: math.NaN()}} {
		c.RopeScaling = &s
		if c.Validate() == nil {
			t.Errorf("%+v passes", s)
		}
	}
}

func TestConfigSizes(t *testing.T) {
	c, err := with(t, change{})
	if err != nil {
		t.Fatal(err)
	}
	if c.QKV() != (4+2+2)*16 || c.KVBytesPerToken() != 2*2*2*(16*2+4) {
		t.Errorf("QKV %d, KVBytesPerToken %d", c.QKV(), c.KVBytesPerToken())
	}
}

// FuzzParseConfig checks that no input panics, and that what is accepted is
// valid, gives finite rotation rates, and survives being written.
func FuzzParseConfig(f *testing.F) {
	for _, change := range []change{{}, {"head_dim": 24}, {"rope_scaling": change{"type": "linear", "factor": 2}},
		{"rope_parameters": change{"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 8192}}} {
		m := plain()
		maps.Copy(m, change)
		data, err := json.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(`{"model_type":"mistral","sliding_window":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseConfig(data)
		if err != nil {
			return
		}
		if err := c.Validate(); err != nil {
			t.Fatalf("accepted but invalid: %v", err)
		}
		for _, r := range c.InverseFrequencies() {
			if r < 0 || math.IsNaN(float64(r)) || math.IsInf(float64(r), 0) {
				t.Fatalf("rotation rate %v from %s", r, data)
			}
		}
		if ScratchBytes(c, Options{}) <= 0 || FloatBytes(c, true) <= 0 {
			t.Fatalf("sizes overflow: %s", data)
		}
		out, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseConfig(out)
		if err != nil {
			t.Fatalf("written: %s: %v", out, err)
		}
		if len(c.EOS) == 0 { // an empty list and none are the same
			c.EOS, again.EOS = nil, nil
		}
		if !reflect.DeepEqual(c, again) {
			t.Fatalf("%+v was read back as %+v", c, again)
		}
	})
}
