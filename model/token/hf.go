package token

import "encoding/json"

// hfFile mirrors tokenizer.json.
type hfFile struct {
	AddedTokens []struct {
		ID         int64  `json:"id"`
		Content    string `json:"content"`
		SingleWord bool   `json:"single_word"`
		LStrip     bool   `json:"lstrip"`
		RStrip     bool   `json:"rstrip"`
		Normalized *bool  `json:"normalized"`
		Special    bool   `json:"special"`
	} `json:"added_tokens"`
	Normalizer    *hfNode `json:"normalizer"`
	PreTokenizer  *hfNode `json:"pre_tokenizer"`
	PostProcessor *hfNode `json:"post_processor"`
	Decoder       *hfNode `json:"decoder"`
	Model         struct {
		Type         string          `json:"type"`
		Dropout      *float64        `json:"dropout"`
		Unk          *string         `json:"unk_token"`
		Prefix       *string         `json:"continuing_subword_prefix"`
		Suffix       *string         `json:"end_of_word_suffix"`
		FuseUnk      bool            `json:"fuse_unk"`
		ByteFallback bool            `json:"byte_fallback"`
		IgnoreMerges bool            `json:"ignore_merges"`
		Vocab        json.RawMessage `json:"vocab"`
		Merges       json.RawMessage `json:"merges"`
	} `json:"model"`
}

// hfNode is any normalizer, pre-tokenizer, post-processor or decoder.
type hfNode struct {
	Type          string   `json:"type"`
	Normalizers   []hfNode `json:"normalizers"`
	Pretokenizers []hfNode `json:"pretokenizers"`
	Processors    []hfNode `json:"processors"`
	Decoders      []hfNode `json:"decoders"`

	Pattern struct {
		String *string
		Regex  *string
	} `json:"pattern"`
	Behavior         string `json:"behavior"`
	Invert           bool   `json:"invert"`
	Content          string `json:"content"`
	Prepend          string `json:"prepend"`
	Start            int    `json:"start"`
	Stop             int    `json:"stop"`
	AddPrefixSpace   *bool  `json:"add_prefix_space"`
	UseRegex         *bool  `json:"use_regex"`
	IndividualDigits bool   `json:"individual_digits"`
	Replacement      string `json:"replacement"`
	PrependScheme    string `json:"prepend_scheme"`
	Split            *bool  `json:"split"`

	Single []struct {
		SpecialToken *struct {
			ID string `json:"id"`
		}
		Sequence *struct {
			ID string `json:"id"`
		}
	} `json:"single"`
	SpecialTokens map[string]struct {
		IDs []int32 `json:"ids"`
	} `json:"special_tokens"`
}

// hfConfig is what matters of tokenizer_config.json.
type hfConfig struct {
	Class  string  `json:"tokenizer_class"`
	BOS    hfToken `json:"bos_token"`
	EOS    hfToken `json:"eos_token"`
	AddBOS *bool   `json:"add_bos_token"`
	AddEOS *bool   `json:"add_eos_token"`
}

// hfToken is a token written as a string, as an object with content, or null.
type hfToken string

func (t *hfToken) UnmarshalJSON(data []byte) error {
	var s *string
	if json.Unmarshal(data, &s) == nil {
		if s != nil {
			*t = hfToken(*s)
		}
		return nil
	}
	var o struct {
		Content string `json:"content"`
	}
	err := json.Unmarshal(data, &o)
	*t = hfToken(o.Content)
	return err
}

func orTrue(b *bool) bool { return b == nil || *b }

// FromHF builds the tokenizer of a Hugging Face tokenizer.json.
// tokenizerConfig is the tokenizer_config.json beside it, which names the
// beginning- and end-of-sequence tokens; nil if there is none. Truncation and
// padding are ignored.
func FromHF(tokenizerJSON, tokenizerConfig []byte) (*Tokenizer, error) {
	var f hfFile
	if err := json.Unmarshal(tokenizerJSON, &f); err != nil {
		return nil, malformed("tokenizer.json: %v", err)
	}
	var c hfConfig
	if len(tokenizerConfig) > 0 {
		if err := json.Unmarshal(tokenizerConfig, &c); err != nil {
			return nil, malformed("tokenizer_config.json: %v", err)
		}
	}
	m := &f.Model
	switch {
	case m.Type != "BPE" && !(m.Type == "" && m.Merges != nil):
		return nil, unsupported("model type %q; only BPE is supported", m.Type)
	case m.Dropout != nil && *m.Dropout != 0:
		return nil, unsupported("BPE with dropout")
	case m.Prefix != nil && *m.Prefix != "":
		return nil, unsupported("continuing_subword_prefix %q", *m.Prefix)
	case m.Suffix != nil && *m.Suffix != "":
		return nil, unsupported("end_of_word_suffix %q", *m.Suffix)
	}
	b := &builder{config: config{
		ignoreMerges: m.IgnoreMerges, fuseUnk: m.FuseUnk, byteFallback: m.ByteFallback, bos: -1, eos: -1, unk: -1,
	}}
	h := &hfBuilder{builder: b, file: &f}
	steps := []func() error{h.normalizer, h.preTokenizer, h.decoder, h.vocab, h.merges, h.addedTokens, h.postProcessor}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	h.sequenceTokens(&c)
	return b.build()
}

type hfBuilder struct {
	*builder
	file *hfFile
	ids  map[string]int32 // by spelling

	prepend, replace bool // the Llama normalizer
}

// flatten lists the nodes of nested Sequence nodes in order.
func flatten(n *hfNode) []*hfNode {
	if n == nil {
		return nil
	}
	if n.Type != "Sequence" {
		return []*hfNode{n}
	}
	var list []*hfNode
	for _, children := range [][]hfNode{n.Normalizers, n.Pretokenizers, n.Processors, n.Decoders} {
		for i := range children {
			list = append(list, flatten(&children[i])...)
		}
	}
	return list
}
