package token

import "strings"

// normalizer, preTokenizer and decoder read how text is changed and cut before
// and put together after its pieces are looked up: what is not one of the forms
// that models use is refused, since anything else would be silently wrong.
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
