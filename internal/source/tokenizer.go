package source

import (
	"fmt"

	"github.com/lamina-llm/lamina/model/token"
	"github.com/lamina-llm/lamina/weights/gguf"
)

// tokenizerInput says where the tokenizer is: in files of a directory, or in
// the metadata of a GGUF file.
type tokenizerInput struct {
	dir  string
	gguf *gguf.File
}

// Tokenizer reads the tokenizer: tokenizer.json (with tokenizer_config.json),
// else tokenizer.model, or the tokenizer.ggml keys of a GGUF file. Each call
// reads it anew; it takes a moment and some garbage, so keep the result.
func (s *Source) Tokenizer() (*token.Tokenizer, error) {
	var t *token.Tokenizer
	var err error
	if s.tok.gguf != nil {
		t, err = ggufTokenizer(s.tok.gguf)
	} else {
		t, err = hfTokenizer(s.tok.dir)
	}
	if err != nil {
		return nil, fmt.Errorf("source: %s: tokenizer: %w", s.name, err)
	}
	return t, nil
}

func hfTokenizer(dir string) (*token.Tokenizer, error) {
	switch {
	case has(dir, "tokenizer.json"):
		data, err := readSmall(dir, "tokenizer.json", maxTokenizer)
		if err != nil {
			return nil, err
		}
		var config []byte
		if has(dir, "tokenizer_config.json") {
			if config, err = readSmall(dir, "tokenizer_config.json", maxJSON); err != nil {
				return nil, err
			}
		}
		return token.FromHF(data, config)
	case has(dir, "tokenizer.model"):
		data, err := readSmall(dir, "tokenizer.model", maxTokenizer)
		if err != nil {
			return nil, err
		}
		return token.FromSentencePiece(data)
	}
	return nil, fmt.Errorf("%w: neither tokenizer.json nor tokenizer.model", ErrCheckpoint)
}

func ggufTokenizer(f *gguf.File) (*token.Tokenizer, error) {
	const prefix = "tokenizer.ggml."
	var v token.Vocab
	for key, dst := range map[string]*string{"model": &v.Model, "pre": &v.Pre} {
		var err error
		if *dst, err = f.String(prefix + key); err != nil {
			return nil, err
		}
	}
	v.Defaults()
	for key, dst := range map[string]*int32{"bos": &v.BOS, "eos": &v.EOS, "unknown": &v.UNK} {
		if id, ok := f.Int(prefix + key + "_token_id"); ok && id == int64(int32(id)) {
			*dst = int32(id)
		}
	}
	for key, dst := range map[string]*bool{"add_bos_token": &v.AddBOS, "add_eos_token": &v.AddEOS, "add_space_prefix": &v.AddSpacePrefix} {
		if b, ok := f.Bool(prefix + key); ok {
			*dst = b
		}
	}
	var err error
	for key, dst := range map[string]*[]string{"tokens": &v.Tokens, "merges": &v.Merges} {
		if *dst, err = f.Strings(prefix + key); err != nil {
			return nil, err
		}
	}
	if v.Scores, err = f.Floats(prefix + "scores"); err != nil {
		return nil, err
	}
	types, err := f.Ints(prefix + "token_type")
	if err != nil {
		return nil, err
	}
	for _, t := range types {
		v.Types = append(v.Types, int32(t))
	}
	return token.FromVocab(v)
}
