package token

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

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

func (h *hfBuilder) normalizer() error {
	for _, n := range flatten(h.file.Normalizer) {
		switch {
		case n.Type == "Prepend" && n.Prepend == metaspace:
			h.prepend = true
		case n.Type == "Replace" && n.Pattern.String != nil && *n.Pattern.String == " " && n.Content == metaspace:
			h.replace = true
		default:
			return unsupported("normalizer %s; only those of Llama 2 are supported", n.Type)
		}
	}
	if h.prepend && !h.replace {
		return unsupported("normalizer Prepend without Replace")
	}
	return nil
}

func (h *hfBuilder) preTokenizer() error {
	nodes := flatten(h.file.PreTokenizer)
	if len(nodes) == 0 || len(nodes) == 1 && nodes[0].Type == "Metaspace" {
		return h.metaspace(nodes)
	}
	if h.replace {
		return unsupported("pre-tokenizer %s after the Llama 2 normalizer", nodes[0].Type)
	}
	bytesLevel := false
	for _, n := range nodes {
		if bytesLevel {
			return unsupported("pre-tokenizer %s after ByteLevel", n.Type)
		}
		switch n.Type {
		case "ByteLevel":
			bytesLevel = true
			if orTrue(n.AddPrefixSpace) {
				h.stages = append(h.stages, stagePrefixSpace)
			}
			if orTrue(n.UseRegex) {
				h.stages = append(h.stages, stageGPT2)
			}
		case "Digits":
			if n.IndividualDigits {
				h.stages = append(h.stages, stageDigit)
			} else {
				h.stages = append(h.stages, stageDigits)
			}
		case "Split":
			st, err := splitStage(n)
			if err != nil {
				return err
			}
			h.stages = append(h.stages, st)
		default:
			return unsupported("pre-tokenizer %s", n.Type)
		}
	}
	if !bytesLevel {
		return unsupported("pre-tokenizer without ByteLevel or Metaspace")
	}
	if h.byteFallback {
		return unsupported("byte_fallback with a ByteLevel pre-tokenizer")
	}
	if len(h.stages) > maxStages {
		return unsupported("pre-tokenizer of %d steps", len(h.stages))
	}
	h.kind = byteLevel
	return nil
}

func splitStage(n *hfNode) (stage, error) {
	if n.Pattern.Regex == nil || n.Behavior != "Isolated" || n.Invert {
		return 0, unsupported("pre-tokenizer Split other than by an isolated regular expression")
	}
	switch *n.Pattern.Regex {
	case patternLlama3:
		return stageLlama3, nil
	case patternGPT2:
		return stageGPT2, nil
	case patternDigit:
		return stageDigit, nil
	case patternDigits:
		return stageDigits, nil
	}
	return 0, unsupported("pre-tokenizer pattern %s", *n.Pattern.Regex)
}

func (h *hfBuilder) metaspace(nodes []*hfNode) error {
	h.kind = sentencePiece
	switch {
	case len(nodes) == 0 && h.prepend:
		h.space = earlyAlways
		return nil
	case len(nodes) == 0 && h.replace:
		h.space = earlyNone
		return nil
	case len(nodes) == 0:
		return unsupported("BPE without a pre-tokenizer")
	case h.replace:
		return unsupported("Metaspace after the Llama 2 normalizer")
	}
	n := nodes[0]
	if n.Replacement != metaspace {
		return unsupported("Metaspace with replacement %q", n.Replacement)
	}
	if n.Split == nil || *n.Split {
		return unsupported("Metaspace that splits words")
	}
	switch n.PrependScheme {
	case "always":
		h.space = lateMissing
	case "first":
		h.space = lateFirst
	case "never":
		h.space = lateNone
	default:
		return unsupported("Metaspace with prepend_scheme %q", n.PrependScheme)
	}
	return nil
}

func (h *hfBuilder) decoder() error {
	var got []string
	for _, n := range flatten(h.file.Decoder) {
		switch {
		case n.Type == "Replace" && n.Pattern.String != nil && *n.Pattern.String == metaspace && n.Content == " ":
		case n.Type == "Strip" && n.Content == " " && n.Stop == 0 && n.Start >= 0 && n.Start <= 1:
			h.strip = uint8(n.Start)
		case n.Type == "ByteLevel", n.Type == "ByteFallback", n.Type == "Fuse":
		default:
			return unsupported("decoder %s", n.Type)
		}
		got = append(got, n.Type)
	}
	switch kinds := strings.Join(got, " "); {
	case h.kind == byteLevel && (kinds == "ByteLevel" || kinds == ""):
	case h.kind == sentencePiece && h.byteFallback && (kinds == "Replace ByteFallback Fuse Strip" || kinds == "Replace ByteFallback Fuse"):
	case h.kind == sentencePiece && !h.byteFallback && (kinds == "Replace Fuse Strip" || kinds == "Replace Fuse"):
	default:
		return unsupported("decoder sequence %q", kinds)
	}
	return nil
}

// vocab reads the vocabulary as a stream, which keeps no second copy of it.
func (h *hfBuilder) vocab() error {
	h.ids = make(map[string]int32)
	d := json.NewDecoder(bytes.NewReader(h.file.Model.Vocab))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return malformed("tokenizer.json: model.vocab is not an object")
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return malformed("tokenizer.json: model.vocab: %v", err)
		}
		var id int64
		if err := d.Decode(&id); err != nil {
			return malformed("tokenizer.json: id of token %q: %v", key, err)
		}
		tok, _ := key.(string)
		piece, flags := h.spell(tok)
		if id >= maxVocab || int(id) > len(h.file.Model.Vocab) {
			return malformed("token %q has id %d", tok, id)
		}
		if err := h.set(id, piece, flags); err != nil {
			return err
		}
		h.ids[tok] = int32(id)
	}
	if u := h.file.Model.Unk; u != nil {
		id, ok := h.ids[*u]
		if !ok {
			return malformed("unk_token %q is not in the vocabulary", *u)
		}
		h.unk = id
	}
	return nil
}

// spell returns the stored form of a token and its type.
func (h *hfBuilder) spell(tok string) (piece string, flags uint8) {
	if h.kind == byteLevel {
		piece, ok := unmapBytes(tok)
		if !ok {
			return piece, typeHidden
		}
		return piece, 0
	}
	if _, ok := byteToken(tok); ok && h.byteFallback {
		return tok, typeByte | typeHidden
	}
	return tok, 0
}

// merges accepts both spellings: "a b" and ["a", "b"].
func (h *hfBuilder) merges() error {
	d := json.NewDecoder(bytes.NewReader(h.file.Model.Merges))
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return malformed("tokenizer.json: model.merges is not a list")
	}
	for d.More() {
		var m hfMerge
		if err := d.Decode(&m); err != nil {
			return malformed("tokenizer.json: merge %d: %v", len(h.builder.merges), err)
		}
		if err := h.addMerge(h.ids, m[0], m[1]); err != nil {
			return err
		}
	}
	return nil
}

type hfMerge [2]string

func (m *hfMerge) UnmarshalJSON(data []byte) (err error) {
	if len(data) > 0 && data[0] == '"' {
		var s string
		if err := json.Unmarshal(data, &s); err != nil {
			return err
		}
		m[0], m[1], err = cutMerge(s)
		return err
	}
	var list []string
	if err := json.Unmarshal(data, &list); err != nil {
		return err
	}
	if len(list) != 2 {
		return fmt.Errorf("%w: %d parts", io.ErrUnexpectedEOF, len(list))
	}
	m[0], m[1] = list[0], list[1]
	return nil
}

func (h *hfBuilder) addedTokens() error {
	limit := int64(len(h.types) + len(h.file.AddedTokens) + 1<<16)
	for _, a := range h.file.AddedTokens {
		if a.ID > limit {
			return malformed("added token %q has id %d", a.Content, a.ID)
		}
		id, inModel := h.ids[a.Content]
		if inModel && int64(id) != a.ID {
			return malformed("added token %q has id %d, the vocabulary says %d", a.Content, a.ID, id)
		}
		piece, flags := h.spell(a.Content)
		if !inModel {
			flags |= typeHidden
		}
		var af uint8
		if a.Special {
			flags |= typeSpecial
			af |= addedSpecial
		}
		match := a.Content
		if a.Normalized == nil && !a.Special || a.Normalized != nil && *a.Normalized {
			af |= addedNormalized
			if h.replace {
				match = strings.ReplaceAll(match, " ", metaspace)
			}
			if h.prepend && match != "" {
				match = metaspace + match
			}
		}
		for flag, on := range map[uint8]bool{addedLStrip: a.LStrip, addedRStrip: a.RStrip, addedSingleWord: a.SingleWord} {
			if on {
				af |= flag
			}
		}
		if err := h.set(a.ID, piece, flags); err != nil {
			return err
		}
		h.ids[a.Content] = int32(a.ID)
		h.added = append(h.added, addedToken{int32(a.ID), af, match})
	}
	return nil
}

func (h *hfBuilder) postProcessor() error {
	for _, n := range flatten(h.file.PostProcessor) {
		switch n.Type {
		case "ByteLevel":
		case "TemplateProcessing":
			seen := false
			for _, p := range n.Single {
				switch {
				case p.Sequence != nil && p.Sequence.ID == "A" && !seen:
					seen = true
				case p.SpecialToken != nil:
					s, ok := n.SpecialTokens[p.SpecialToken.ID]
					if !ok {
						return malformed("post-processor names the unknown token %q", p.SpecialToken.ID)
					}
					if seen {
						h.tail = append(h.tail, s.IDs...)
					} else {
						h.head = append(h.head, s.IDs...)
					}
				default:
					return unsupported("post-processor template")
				}
			}
			if !seen {
				return unsupported("post-processor template without the text")
			}
		default:
			return unsupported("post-processor %s", n.Type)
		}
	}
	return nil
}

// sequenceTokens sets BOS and EOS. The Llama classes build their own
// post-processor from add_bos_token and add_eos_token, so these win there.
func (h *hfBuilder) sequenceTokens(c *hfConfig) {
	if id, ok := h.ids[string(c.BOS)]; ok {
		h.bos = id
	} else if len(h.head) == 1 {
		h.bos = h.head[0]
	}
	if id, ok := h.ids[string(c.EOS)]; ok {
		h.eos = id
	} else if len(h.tail) == 1 {
		h.eos = h.tail[0]
	}
	if !strings.HasPrefix(c.Class, "Llama") && !strings.HasPrefix(c.Class, "CodeLlama") {
		return
	}
	if c.AddBOS != nil && h.bos >= 0 {
		h.head = nil
		if *c.AddBOS {
			h.head = []int32{h.bos}
		}
	}
	if c.AddEOS != nil && h.eos >= 0 {
		h.tail = nil
		if *c.AddEOS {
			h.tail = []int32{h.eos}
		}
	}
}
