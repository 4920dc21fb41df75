// Package source opens a LLaMA checkpoint as others publish it (a Hugging Face
// directory, a .safetensors file beside its config.json, or a .gguf file) and
// gives the packer and the float32 evaluator one view of it: a configuration,
// tensors under Hugging Face names with rows in Hugging Face order, the
// tokenizer, the chat template, sampling defaults and provenance.
//
// It holds no weights: rows are read when asked for. It neither runs a model
// nor writes one, and it does not read .lamina files.
//
// [Open] checks that every tensor the configuration asks for is there with the
// right shape, so later code can rely on it. The caller owns a [Source] and
// closes it. All methods but Close are safe for concurrent use.
package source

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/llama"
)

// Errors, wrapped with what and where. A checkpoint that Lamina cannot run
// wraps [llama.ErrUnsupported] instead.
var (
	// ErrCheckpoint: files are missing, or do not fit one another.
	ErrCheckpoint = errors.New("broken checkpoint")
	// ErrNotFound: no tensor has that name.
	ErrNotFound = errors.New("no such tensor")
)

// Format is the kind of checkpoint.
type Format string

// The formats that Open reads.
const (
	Safetensors Format = "safetensors"
	GGUF        Format = "gguf"
)

// Tensor describes one matrix, or a vector as a matrix of one row.
type Tensor struct {
	Name       string // Hugging Face name, as "model.layers.0.self_attn.q_proj.weight"
	Rows, Cols int    // output and input width
	Type       string // element type in the file, as "BF16" or "Q4_1"

	stored string // name in the file
	rotary int    // > 0: rows of each head of this size are interleaved (see unpermuted)
}

// rowReader is what both file formats offer.
type rowReader interface {
	ReadRows(name string, row0, rows int, dst []float32) error
	io.Closer
}

// Source is an open checkpoint.
type Source struct {
	format   Format
	name     string
	paths    []string // the files it is made of
	config   llama.Config
	sampling model.Sampling
	template string
	tensors  []Tensor
	index    map[string]int
	rows     rowReader
	tok      tokenizerInput
}

// Open opens a checkpoint: a directory with config.json and *.safetensors (or
// a single .gguf), a .safetensors file or index beside its config.json, or a
// .gguf file.
func Open(path string) (*Source, error) {
	s, err := open(path)
	if err != nil {
		return nil, fmt.Errorf("source: %s: %w", path, err)
	}
	return s, nil
}

func open(path string) (*Source, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	switch {
	case st.IsDir():
		if has(path, "config.json") {
			return openHF(path, path)
		}
		files, err := filepath.Glob(filepath.Join(escapeGlob(path), "*.gguf"))
		if err != nil || len(files) != 1 {
			return nil, fmt.Errorf("%w: the directory has no config.json and %d .gguf files (want one or the other)", ErrCheckpoint, len(files))
		}
		return openGGUF(files[0])
	case strings.HasSuffix(path, ".gguf"):
		return openGGUF(path)
	case strings.HasSuffix(path, ".safetensors"), strings.HasSuffix(path, ".safetensors.index.json"):
		return openHF(filepath.Dir(path), path)
	}
	return nil, fmt.Errorf("%w: want a directory, a .safetensors file or a .gguf file", llama.ErrUnsupported)
}

// escapeGlob makes a path match itself.
func escapeGlob(path string) string {
	return strings.NewReplacer(`*`, `[*]`, `?`, `[?]`, `[`, `[[]`).Replace(path)
}

func has(dir, name string) bool {
	_, err := os.Stat(filepath.Join(dir, name))
	return err == nil
}

// Format returns the kind of checkpoint.
func (s *Source) Format() Format { return s.format }

// Name returns the base name of the directory or file.
func (s *Source) Name() string { return s.name }

// Config returns the hyper-parameters. EOS holds every token that ends a
// sequence, those of the generation defaults included.
func (s *Source) Config() llama.Config {
	c := s.config
	c.EOS = slices.Clone(c.EOS)
	return c
}

// Sampling returns the sampling defaults that the checkpoint recommends, or
// [model.DefaultSampling] where it says nothing.
func (s *Source) Sampling() model.Sampling { return s.sampling }

// ChatTemplate returns the Jinja template of the chat format, or "".
func (s *Source) ChatTemplate() string { return s.template }

// Tensors lists what a forward pass needs, embedding first, then layer by
// layer, then norm and, unless tied, the head. The slice belongs to the Source.
func (s *Source) Tensors() []Tensor { return s.tensors }

// Tensor finds a tensor by name.
func (s *Source) Tensor(name string) (Tensor, bool) {
	i, ok := s.index[name]
	if !ok {
		return Tensor{}, false
	}
	return s.tensors[i], true
}

// ReadRows reads rows row0 to row0+rows-1 of a tensor as float32 into dst,
// whose length must be rows times Cols. Query and key rows come in Hugging Face
// order (the two halves of a head one after the other) whatever the file has.
func (s *Source) ReadRows(name string, row0, rows int, dst []float32) error {
	t, ok := s.Tensor(name)
	switch {
	case !ok:
		return fmt.Errorf("source: %s: tensor %q: %w", s.name, name, ErrNotFound)
	case t.rotary == 0 || row0 < 0 || rows < 0 || rows > t.Rows || row0 > t.Rows-rows || len(dst) != rows*t.Cols:
		return s.rows.ReadRows(t.stored, row0, rows, dst) // which reports bad ranges
	}
	for i := range rows {
		if err := s.rows.ReadRows(t.stored, unpermuted(row0+i, t.rotary), 1, dst[i*t.Cols:(i+1)*t.Cols]); err != nil {
			return err
		}
	}
	return nil
}

// unpermuted returns where llama.cpp's converter puts a query or key row.
// Hugging Face rotates dimension i of a head with i+dim/2; llama.cpp rotates
// neighbours, so the converter interleaves the two halves of each head.
func unpermuted(row, dim int) int {
	head, i := row/dim, row%dim
	return head*dim + i%(dim/2)*2 + i/(dim/2)
}

// Close closes the files. No other method may be running or be called later.
func (s *Source) Close() error { return s.rows.Close() }

// needed lists the tensors of a LLaMA under their Hugging Face names.
func needed(c llama.Config) []Tensor {
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	list := []Tensor{{Name: "model.embed_tokens.weight", Rows: c.Vocab, Cols: c.Hidden}}
	for i := range c.Layers {
		add := func(name string, rows, cols int) {
			list = append(list, Tensor{Name: fmt.Sprintf("model.layers.%d.%s.weight", i, name), Rows: rows, Cols: cols})
		}
		add("input_layernorm", 1, c.Hidden)
		add("self_attn.q_proj", q, c.Hidden)
		add("self_attn.k_proj", kv, c.Hidden)
		add("self_attn.v_proj", kv, c.Hidden)
		add("self_attn.o_proj", c.Hidden, q)
		add("post_attention_layernorm", 1, c.Hidden)
		add("mlp.gate_proj", c.Intermediate, c.Hidden)
		add("mlp.up_proj", c.Intermediate, c.Hidden)
		add("mlp.down_proj", c.Hidden, c.Intermediate)
	}
	list = append(list, Tensor{Name: "model.norm.weight", Rows: 1, Cols: c.Hidden})
	if !c.Tied {
		list = append(list, Tensor{Name: "lm_head.weight", Rows: c.Vocab, Cols: c.Hidden})
	}
	return list
}

// stored is a tensor as a file has it.
type stored struct {
	name  string
	shape []int
	typ   string
}

// setTensors matches the tensors of the file against those that the
// configuration needs. have is keyed by Hugging Face name.
func (s *Source) setTensors(have map[string]stored) error {
	s.tensors = needed(s.config)
	s.index = make(map[string]int, len(s.tensors))
	var missing []string
	for i := range s.tensors {
		t := &s.tensors[i]
		s.index[t.Name] = i
		h, ok := have[t.Name]
		if !ok {
			missing = append(missing, t.Name)
			continue
		}
		want := []int{t.Rows, t.Cols}
		if strings.HasSuffix(t.Name, "norm.weight") {
			want = want[1:]
		}
		if !slices.Equal(h.shape, want) {
			return fmt.Errorf("%w: tensor %q has shape %v, the configuration wants %v", ErrCheckpoint, h.name, h.shape, want)
		}
		t.stored, t.Type = h.name, h.typ
	}
	if n := len(missing); n > 0 {
		return fmt.Errorf("%w: %d of %d tensors are missing: %s", ErrCheckpoint, n, len(s.tensors), strings.Join(missing[:min(n, 4)], ", "))
	}
	// Leaving out a tensor that belongs to the arithmetic would give a model
	// that runs and is wrong. What is harmless: frequencies that follow from
	// the configuration, and a head that is tied anyway.
	for name, h := range have {
		if _, used := s.index[name]; used || strings.HasSuffix(name, "rotary_emb.inv_freq") {
			continue
		}
		var layer int
		_, err := fmt.Sscanf(name, "model.layers.%d.", &layer)
		if err == nil && layer < s.config.Layers || strings.HasSuffix(name, ".bias") {
			return fmt.Errorf("%w: tensor %q is not part of a LLaMA", llama.ErrUnsupported, h.name)
		}
	}
	return nil
}

// mergeEOS adds end-of-sequence tokens that the vocabulary has.
func mergeEOS(c *llama.Config, ids ...int32) {
	for _, id := range ids {
		if id >= 0 && int(id) < c.Vocab && !slices.Contains(c.EOS, id) {
			c.EOS = append(c.EOS, id)
		}
	}
}
