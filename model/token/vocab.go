package token

import "strings"

// Vocab is a tokenizer as the metadata of a GGUF file describes it. Each field
// names its key below "tokenizer.ggml.".
type Vocab struct {
	Model  string    // model: "gpt2" (byte-level BPE) or "llama" (SentencePiece BPE)
	Pre    string    // pre: name of the pre-tokenizer, gpt2 only
	Tokens []string  // tokens
	Scores []float32 // scores, llama only
	Types  []int32   // token_type; nil is all normal
	Merges []string  // merges, "left right", gpt2 only

	BOS int32 // bos_token_id, -1 if none
	EOS int32 // eos_token_id, -1 if none
	UNK int32 // unknown_token_id, -1 if none, llama only

	AddBOS         bool // add_bos_token
	AddEOS         bool // add_eos_token
	AddSpacePrefix bool // add_space_prefix, llama only
}

// Defaults sets the ids and flags that a file of this Model and Pre means when
// it lacks the keys. Call it before applying those that are present.
func (v *Vocab) Defaults() {
	v.BOS, v.EOS, v.UNK = -1, -1, -1
	v.AddBOS, v.AddEOS, v.AddSpacePrefix = false, false, false
	switch {
	case v.Model == "llama":
		v.BOS, v.EOS, v.UNK = 1, 2, 0
		v.AddBOS, v.AddSpacePrefix = true, true
	case isLlama3(v.Pre):
		v.AddBOS = true
	}
}

func isLlama3(pre string) bool {
	return pre == "llama-bpe" || pre == "llama3" || pre == "llama-v3"
}

// GGUF token types.
const (
	ggufNormal = iota + 1
	ggufUnknown
	ggufControl
	ggufUserDefined
	ggufUnused
	ggufByte
)

// FromVocab builds the tokenizer of a GGUF file. It keeps no reference to v.
func FromVocab(v Vocab) (*Tokenizer, error) {
	n := len(v.Tokens)
	if v.Types != nil && len(v.Types) != n {
		return nil, malformed("%d tokens but %d token types", n, len(v.Types))
	}
	b := &builder{config: config{bos: v.BOS, eos: v.EOS, unk: v.UNK}}
	if v.AddBOS && v.BOS >= 0 {
		b.head = []int32{v.BOS}
	}
	if v.AddEOS && v.EOS >= 0 {
		b.tail = []int32{v.EOS}
	}
	switch v.Model {
	case "gpt2":
		b.kind, b.unk = byteLevel, -1 // bytes without a token are dropped
		switch {
		case isLlama3(v.Pre):
			b.stages, b.ignoreMerges = []stage{stageLlama3}, true
		case v.Pre == "smollm":
			b.stages = []stage{stageDigit, stageGPT2}
		case v.Pre == "gpt-2":
			b.stages = []stage{stageGPT2}
		case v.Pre == "" || v.Pre == "default":
			b.stages = []stage{stagePunct, stageGPT2, stageDigits, stageTriple}
		default:
			return nil, unsupported("GGUF pre-tokenizer %q; llama-bpe, smollm, gpt-2 and default are supported", v.Pre)
		}
	case "llama":
		b.kind, b.fuseUnk = sentencePiece, true
		if len(v.Scores) != n {
			return nil, malformed("%d tokens but %d scores", n, len(v.Scores))
		}
		if v.AddSpacePrefix {
			b.space, b.strip = earlyAlways, 1
		}
	default:
		return nil, unsupported("GGUF tokenizer model %q; gpt2 and llama are supported", v.Model)
	}
	for i, tok := range v.Tokens {
		typ := int32(ggufNormal)
		if v.Types != nil {
			typ = v.Types[i]
		}
		if err := b.setGGUF(int32(i), tok, typ); err != nil {
			return nil, err
		}
	}
	if b.kind == sentencePiece {
		if err := b.mergesFromScores(v.Scores); err != nil {
			return nil, err
		}
	} else if err := b.mergesFromText(v); err != nil {
		return nil, err
	}
	return b.build()
}

func (b *builder) setGGUF(id int32, tok string, typ int32) error {
	piece, flags := tok, uint8(0)
	switch typ {
	case ggufControl, ggufUnknown:
		flags = typeSpecial | typeHidden
		b.added = append(b.added, addedToken{id, addedSpecial, tok})
	case ggufUserDefined:
		flags = typeHidden
		b.added = append(b.added, addedToken{id, 0, tok})
	case ggufUnused:
		flags = typeHidden
	case ggufByte:
		flags = typeHidden
		if b.kind == sentencePiece {
			flags |= typeByte
			b.byteFallback = true
		}
	case ggufNormal, 0:
		if b.kind == byteLevel {
			var ok bool
			if piece, ok = unmapBytes(tok); !ok {
				flags = typeHidden
			}
		}
	default:
		return malformed("token %d has the unknown type %d", id, typ)
	}
	return b.set(int64(id), piece, flags)
}

func (b *builder) mergesFromText(v Vocab) error {
	ids := make(map[string]int32, len(v.Tokens))
	for i := len(v.Tokens) - 1; i >= 0; i-- {
		ids[v.Tokens[i]] = int32(i)
	}
	b.merges = make([]merge, 0, len(v.Merges))
	for _, m := range v.Merges {
		left, right, err := cutMerge(m)
		if err != nil {
			return err
		}
		if err := b.addMerge(ids, left, right); err != nil {
			return err
		}
	}
	return nil
}

// cutMerge splits "left right". The left part is never empty, so a token that
// is itself a space can't confuse it.
func cutMerge(m string) (left, right string, err error) {
	if m != "" {
		if i := strings.IndexByte(m[1:], ' '); i >= 0 {
			return m[:i+1], m[i+2:], nil
		}
	}
	return "", "", malformed("merge %q is not two tokens", m)
}

func (b *builder) addMerge(ids map[string]int32, left, right string) error {
	l, ok1 := ids[left]
	r, ok2 := ids[right]
	res, ok3 := ids[left+right]
	if !ok1 || !ok2 || !ok3 {
		return malformed("merge %q + %q: a part or the result is not in the vocabulary", left, right)
	}
	b.merges = append(b.merges, merge{l, r, res, uint32(len(b.merges))})
	return nil
}
