package source

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/weights/safetensors"
)

const (
	maxJSON      = 4 << 20   // configuration files and templates
	maxTokenizer = 128 << 20 // tokenizer.json, tokenizer.model
)

// openHF opens a checkpoint in Hugging Face layout: weights (a directory, file
// or index) and, in dir, the files around them.
func openHF(dir, weights string) (*Source, error) {
	name, err := filepath.Abs(weights)
	if err != nil {
		return nil, err
	}
	s := &Source{format: Safetensors, name: filepath.Base(name), tok: tokenizerInput{dir: dir}}
	data, err := readSmall(dir, "config.json", maxJSON)
	if err != nil {
		return nil, err
	}
	if s.config, err = llama.ParseConfig(data); err != nil {
		return nil, err
	}
	if err := s.readGeneration(dir); err != nil {
		return nil, err
	}
	if s.template, err = readTemplate(dir); err != nil {
		return nil, err
	}
	f, err := safetensors.Open(weights)
	if err != nil {
		return nil, err
	}
	s.rows = f
	have := map[string]stored{}
	for _, t := range f.Tensors() {
		have[t.Name] = stored{t.Name, t.Shape, string(t.DType)}
	}
	err = s.setTensors(have)
	for _, t := range s.tensors {
		switch safetensors.DType(t.Type) {
		case safetensors.F32, safetensors.F16, safetensors.BF16:
		default:
			if err == nil {
				err = fmt.Errorf("%w: tensor %q has dtype %s (supported: F32, F16, BF16)", llama.ErrUnsupported, t.Name, t.Type)
			}
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	s.paths = []string{filepath.Join(dir, "config.json")}
	for _, name := range []string{"generation_config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "chat_template.jinja"} {
		if has(dir, name) {
			s.paths = append(s.paths, filepath.Join(dir, name))
		}
	}
	var shards []string
	for _, t := range f.Tensors() {
		shards = append(shards, filepath.Join(dir, t.File))
	}
	slices.Sort(shards)
	s.paths = append(s.paths, slices.Compact(shards)...)
	return s, nil
}

// readGeneration merges generation_config.json, if there is one.
func (s *Source) readGeneration(dir string) error {
	s.sampling = model.DefaultSampling()
	const name = "generation_config.json"
	if !has(dir, name) {
		return nil
	}
	data, err := readSmall(dir, name, maxJSON)
	if err != nil {
		return err
	}
	var g struct {
		DoSample    *bool           `json:"do_sample"`
		Temperature *float32        `json:"temperature"`
		TopP        *float32        `json:"top_p"`
		TopK        *int            `json:"top_k"`
		MinP        *float32        `json:"min_p"`
		Repeat      *float32        `json:"repetition_penalty"`
		EOS         json.RawMessage `json:"eos_token_id"`
	}
	if err := json.Unmarshal(data, &g); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrCheckpoint, name, err)
	}
	// Recommendations out of range are ignored: they are only defaults.
	p := &s.sampling
	if g.Temperature != nil && *g.Temperature >= 0 && *g.Temperature <= 2 {
		p.Temperature = *g.Temperature
	}
	if g.DoSample != nil && !*g.DoSample {
		p.Temperature = 0
	}
	if g.TopP != nil && *g.TopP > 0 && *g.TopP <= 1 {
		p.TopP = *g.TopP
	}
	if g.TopK != nil && *g.TopK >= 0 && *g.TopK <= s.config.Vocab {
		p.TopK = *g.TopK
	}
	if g.MinP != nil && *g.MinP >= 0 && *g.MinP <= 1 {
		p.MinP = *g.MinP
	}
	if g.Repeat != nil && *g.Repeat > 0 && *g.Repeat <= 10 {
		p.RepeatPenalty = *g.Repeat
	}
	var one int32
	var many []int32
	if json.Unmarshal(g.EOS, &one) == nil && string(g.EOS) != "null" {
		many = []int32{one}
	} else if len(g.EOS) > 0 {
		if err := json.Unmarshal(g.EOS, &many); err != nil {
			return fmt.Errorf("%w: %s: eos_token_id: %w", ErrCheckpoint, name, err)
		}
	}
	mergeEOS(&s.config, many...)
	return nil
}

// readTemplate finds the chat template as transformers does: a file of its own
// first, then tokenizer_config.json, which has a string or a list of named ones.
func readTemplate(dir string) (string, error) {
	if has(dir, "chat_template.jinja") {
		data, err := readSmall(dir, "chat_template.jinja", maxJSON)
		return string(data), err
	}
	for _, name := range []string{"chat_template.json", "tokenizer_config.json"} {
		if !has(dir, name) {
			continue
		}
		data, err := readSmall(dir, name, maxJSON)
		if err != nil {
			return "", err
		}
		template, err := parseTemplate(data)
		if err != nil {
			return "", fmt.Errorf("%w: %s: %w", ErrCheckpoint, name, err)
		}
		if template != "" {
			return template, nil
		}
	}
	return "", nil
}

func parseTemplate(data []byte) (string, error) {
	var c struct {
		Template json.RawMessage `json:"chat_template"`
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return "", err
	}
	if len(c.Template) == 0 {
		return "", nil
	}
	var one string
	if json.Unmarshal(c.Template, &one) == nil { // null leaves it empty
		return one, nil
	}
	var named []struct {
		Name     string `json:"name"`
		Template string `json:"template"`
	}
	if err := json.Unmarshal(c.Template, &named); err != nil {
		return "", fmt.Errorf("chat_template is neither a string nor a list of named templates: %w", err)
	}
	for _, t := range named {
		if t.Name == "default" {
			return t.Template, nil
		}
	}
	if len(named) > 0 {
		return named[0].Template, nil
	}
	return "", nil
}

// readSmall reads a file of at most limit bytes.
func readSmall(dir, name string, limit int64) ([]byte, error) {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%w: %s is longer than %d bytes", ErrCheckpoint, name, limit)
	}
	return data, err
}
