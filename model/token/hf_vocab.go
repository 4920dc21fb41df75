package token

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

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
