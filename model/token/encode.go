package token

import (
	"hash/maphash"
	"strings"
	"unicode/utf8"
)

// Encode returns the ids of text. It returns ErrUTF8 for invalid UTF-8 and
// ErrTooLong above 1 GiB, and takes O(n log n) time whatever the text is.
func (t *Tokenizer) Encode(text string, o EncodeOptions) ([]int32, error) {
	return t.AppendEncode(make([]int32, 0, len(text)/4+8), text, o)
}

// AppendEncode is Encode into a slice of the caller.
func (t *Tokenizer) AppendEncode(dst []int32, text string, o EncodeOptions) ([]int32, error) {
	if len(text) > maxText {
		return dst, ErrTooLong
	}
	if !utf8.ValidString(text) {
		return dst, ErrUTF8
	}
	if o.AddSpecial {
		dst = append(dst, t.head...)
	}
	for sp := t.raw.split(text, o.ParseSpecial); sp.next(); {
		if sp.lo < sp.hi {
			dst = t.normalised(dst, text[sp.lo:sp.hi], sp.lo == 0, o.ParseSpecial)
		}
		if sp.id >= 0 {
			dst = append(dst, sp.id)
		}
	}
	if o.AddSpecial {
		dst = append(dst, t.tail...)
	}
	return dst, nil
}

// normalised encodes a stretch without raw added tokens. first is set at the
// start of the text.
func (t *Tokenizer) normalised(dst []int32, s string, first, parse bool) []int32 {
	if t.kind == sentencePiece {
		switch t.space {
		case earlyAlways:
			s = metaspace + strings.ReplaceAll(s, " ", metaspace)
		case earlyNone:
			s = strings.ReplaceAll(s, " ", metaspace)
		}
	}
	for sp := t.norm.split(s, parse); sp.next(); {
		if sp.lo < sp.hi {
			if t.kind == sentencePiece {
				dst = t.encodePieces(dst, t.lateSpace(s[sp.lo:sp.hi], first && sp.lo == 0))
			} else {
				dst = t.encodeStage(dst, s[sp.lo:sp.hi], 0)
			}
		}
		if sp.id >= 0 {
			dst = append(dst, sp.id)
		}
	}
	return dst
}

func (t *Tokenizer) lateSpace(s string, first bool) string {
	if t.space < lateNone {
		return s
	}
	s = strings.ReplaceAll(s, " ", metaspace)
	if (t.space == lateMissing || t.space == lateFirst && first) && !strings.HasPrefix(s, metaspace) {
		s = metaspace + s
	}
	return s
}

// encodeStage runs the pre-tokenizer from stage i on and encodes the words.
func (t *Tokenizer) encodeStage(dst []int32, s string, i int) []int32 {
	if i == len(t.stages) {
		return t.encodeWord(dst, s)
	}
	if t.stages[i] == stagePrefixSpace {
		if s[0] != ' ' {
			s = " " + s
		}
		return t.encodeStage(dst, s, i+1)
	}
	for scan := t.stages[i].scanner(); s != ""; {
		n := scan(s)
		dst = t.encodeStage(dst, s[:n], i+1)
		s = s[n:]
	}
	return dst
}

// encodeWord encodes one word of a byte-level tokenizer.
func (t *Tokenizer) encodeWord(dst []int32, s string) []int32 {
	if t.ignoreMerges {
		if id, ok := t.lookup(s); ok {
			return append(dst, id)
		}
	}
	var buf [64]int32
	ids := buf[:0]
	if len(s) > len(buf) {
		ids = make([]int32, 0, len(s))
	}
	for i := range len(s) {
		ids = t.appendSymbol(ids, t.byteIDs[s[i]])
	}
	return t.merges.apply(dst, ids)
}

// appendSymbol appends id, or for -1 what stands for an unknown symbol. Fusing
// looks at the last symbol, as an unk can only come from here.
func (t *Tokenizer) appendSymbol(ids []int32, id int32) []int32 {
	if id >= 0 {
		return append(ids, id)
	}
	if t.unk < 0 || t.fuseUnk && len(ids) > 0 && ids[len(ids)-1] == t.unk {
		return ids
	}
	return append(ids, t.unk)
}

// encodePieces encodes text of a SentencePiece tokenizer, spaces already U+2581.
func (t *Tokenizer) encodePieces(dst []int32, s string) []int32 {
	for s != "" {
		n := len(s)
		if t.splitSpaces {
			n = spaceBoundary(s)
		}
		dst = t.encodePiece(dst, s[:n])
		s = s[n:]
	}
	return dst
}

// spaceBoundary returns the length of s up to the first U+2581 that follows
// another character, where a chunk can be encoded alone.
func spaceBoundary(s string) int {
	i := 0
	for strings.HasPrefix(s[i:], metaspace) {
		i += len(metaspace)
	}
	if j := strings.Index(s[i:], metaspace); j >= 0 {
		return i + j
	}
	return len(s)
}

func (t *Tokenizer) encodePiece(dst []int32, s string) []int32 {
	var buf [64]int32
	ids := buf[:0]
	for i := 0; i < len(s); {
		_, w := utf8.DecodeRuneInString(s[i:])
		id, ok := t.lookup(s[i : i+w])
		switch {
		case ok:
			ids = append(ids, id)
		case t.byteFallback:
			for j := range w {
				ids = append(ids, t.byteIDs[s[i+j]])
			}
		default:
			ids = t.appendSymbol(ids, -1)
		}
		i += w
	}
	return t.merges.apply(dst, ids)
}

// lookup finds a piece of ordinary text.
func (t *Tokenizer) lookup(s string) (int32, bool) {
	if len(t.pieces) == 0 {
		return -1, false
	}
	mask := uint64(len(t.pieces) - 1)
	for h := maphash.String(t.seed, s) & mask; ; h = (h + 1) & mask {
		e := t.pieces[h]
		if e == 0 {
			return -1, false
		}
		if string(t.piece(int32(e-1))) == s {
			return int32(e - 1), true
		}
	}
}
