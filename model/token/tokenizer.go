package token

import (
	"errors"
	"fmt"
	"hash/maphash"
	"math/bits"
	"strings"
	"unicode/utf8"
)

var (
	// ErrUnsupported marks a tokenizer that needs an algorithm this package lacks.
	ErrUnsupported = errors.New("unsupported tokenizer")
	// ErrFormat marks tokenizer data that is damaged or contradicts itself.
	ErrFormat = errors.New("malformed tokenizer")
	// ErrUTF8 is returned for text that is not valid UTF-8.
	ErrUTF8 = errors.New("token: text is not valid UTF-8")
	// ErrTooLong is returned for a text of more than 1 GiB.
	ErrTooLong = errors.New("token: text is longer than 1 GiB")
)

func unsupported(format string, args ...any) error {
	return fmt.Errorf("token: %w: %s", ErrUnsupported, fmt.Sprintf(format, args...))
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("token: %w: %s", ErrFormat, fmt.Sprintf(format, args...))
}

const (
	maxVocab  = 1<<21 - 1 // ids fit 21 bits, see mergeTable
	maxMerges = 1<<22 - 1
	maxText   = 1 << 30
	maxAdded  = 1 << 16 // bytes of one added token
)

// metaspace is SentencePiece's visible space, U+2581.
const metaspace = "\u2581"

// kind is the family of a tokenizer.
type kind uint8

const (
	byteLevel     kind = iota // symbols are bytes
	sentencePiece             // symbols are characters, unknown ones fall back to byte tokens
	numKinds
)

// spaceMode says how SentencePiece text gets its leading space. "Early" modes
// work before added tokens with the normalized flag are looked for (a
// tokenizer.json normalizer, SentencePiece itself), "late" ones after (the
// Metaspace pre-tokenizer).
type spaceMode uint8

const (
	earlyNone   spaceMode = iota
	earlyAlways           // one more space in front of every stretch of text
	lateNone
	lateMissing // a space in front of every stretch that has none
	lateFirst   // the same, at the start of the text only
	numSpaceModes
)

// Bits of Tokenizer.types.
const (
	typeSpecial uint8 = 1 << iota // left out by Decode when asked
	typeByte                      // SentencePiece "<0xAB>"
	typeAbsent                    // a gap in the vocabulary
	typeHidden                    // not reachable by lookup of ordinary text
)

// config is the small part of a tokenizer, everything but vocabulary and merges.
type config struct {
	kind         kind
	space        spaceMode
	ignoreMerges bool    // a word that is a token stays whole, merges or not
	fuseUnk      bool    // neighbouring unknown symbols become one unk
	byteFallback bool    // sentencePiece: unknown characters become byte tokens
	strip        uint8   // leading spaces that Decode removes, 0 or 1
	stages       []stage // pre-tokenizer, byteLevel only
	bos, eos     int32   // -1 if none
	unk          int32   // -1 if none
	head, tail   []int32 // ids that EncodeOptions.AddSpecial puts around the text
}

// Tokenizer encodes and decodes text. It is immutable and safe for concurrent
// use.
type Tokenizer struct {
	config
	blob  []byte   // pieces one after another; raw bytes for byteLevel, text with U+2581 for sentencePiece
	offs  []uint32 // piece i is blob[offs[i]:offs[i+1]]
	types []uint8

	merges mergeTable
	added  []addedToken
	raw    matcher // added tokens found in the text as it is
	norm   matcher // added tokens found in normalised text

	// Derived at load.
	byteIDs     [256]int32 // token of each byte, -1 if none
	seed        maphash.Seed
	pieces      []uint32 // open addressing: id+1 by hash of the piece; nil when never needed
	splitSpaces bool     // no merge crosses the boundary in front of a U+2581
}

// EncodeOptions says how Encode treats special tokens. The zero value encodes
// plain text and nothing else.
type EncodeOptions struct {
	// AddSpecial puts the tokens of the post-processor around the text,
	// usually the beginning-of-sequence token in front.
	AddSpecial bool
	// ParseSpecial turns the text of a special token ("<|im_end|>") into that
	// token. Use it for text from a chat template, not for text from a user
	// alone. Added tokens that are not special are always recognised.
	ParseSpecial bool
}

// Vocab returns the number of ids, gaps included: every id is below it.
func (t *Tokenizer) Vocab() int { return len(t.types) }

// BOS returns the beginning-of-sequence token, -1 if there is none.
func (t *Tokenizer) BOS() int32 { return t.bos }

// EOS returns the end-of-sequence token, -1 if there is none. A model may end
// its answers with other tokens too; its configuration lists them.
func (t *Tokenizer) EOS() int32 { return t.eos }

// AddsBOS tells whether EncodeOptions.AddSpecial puts BOS in front.
func (t *Tokenizer) AddsBOS() bool { return len(t.head) > 0 && t.head[0] == t.bos }

func (t *Tokenizer) valid(id int32) bool {
	return uint32(id) < uint32(len(t.types)) && t.types[id]&typeAbsent == 0
}

// IsSpecial tells whether id is a control token, which Decode can leave out.
func (t *Tokenizer) IsSpecial(id int32) bool {
	return t.valid(id) && t.types[id]&typeSpecial != 0
}

// Text returns the text of a token as templates and stop lists name it, for
// instance "<|im_end|>"; "" for an id outside the vocabulary.
func (t *Tokenizer) Text(id int32) string {
	if !t.valid(id) {
		return ""
	}
	return string(t.piece(id))
}

// Special returns the id of the added token (special or not) with this exact
// text.
func (t *Tokenizer) Special(text string) (id int32, ok bool) {
	for i := range t.added {
		if string(t.piece(t.added[i].id)) == text {
			return t.added[i].id, true
		}
	}
	return -1, false
}

// TokenBytes returns the bytes that a token stands for, in a new slice; they
// may be part of a character. It is empty for an id outside the vocabulary.
func (t *Tokenizer) TokenBytes(id int32) []byte { return t.appendBytes(nil, id) }

func (t *Tokenizer) piece(id int32) []byte { return t.blob[t.offs[id]:t.offs[id+1]] }

func (t *Tokenizer) appendBytes(dst []byte, id int32) []byte {
	if !t.valid(id) {
		return dst
	}
	p := t.piece(id)
	if t.kind == byteLevel {
		return append(dst, p...)
	}
	if t.types[id]&typeByte != 0 {
		b, _ := byteToken(string(p))
		return append(dst, b)
	}
	for i := 0; i < len(p); {
		if p[i] == metaspace[0] && strings.HasPrefix(string(p[i:min(i+3, len(p))]), metaspace) {
			dst = append(dst, ' ')
			i += len(metaspace)
			continue
		}
		dst = append(dst, p[i])
		i++
	}
	return dst
}

// byteToken parses SentencePiece's name of a byte token, "<0x0A>".
func byteToken(s string) (byte, bool) {
	if len(s) != 6 || s[:3] != "<0x" || s[5] != '>' {
		return 0, false
	}
	v := 0
	for _, c := range []byte(s[3:5]) {
		switch {
		case '0' <= c && c <= '9':
			v = v<<4 | int(c-'0')
		case 'A' <= c && c <= 'F':
			v = v<<4 | int(c-'A'+10)
		default:
			return 0, false
		}
	}
	return byte(v), true
}

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

// finish checks what the loaders filled in and builds the derived tables.
func (t *Tokenizer) finish() error {
	n := int32(len(t.types))
	for _, id := range []int32{t.bos, t.eos, t.unk} {
		if id < -1 || id >= n {
			return malformed("special token id %d is outside the vocabulary of %d", id, n)
		}
	}
	for _, ids := range [][]int32{t.head, t.tail} {
		for _, id := range ids {
			if !t.valid(id) {
				return malformed("post-processor token id %d is outside the vocabulary of %d", id, n)
			}
		}
	}
	for b := range t.byteIDs {
		t.byteIDs[b] = -1
	}
	for id := n - 1; id >= 0; id-- { // the lowest id wins
		p := t.piece(id)
		switch {
		case t.kind == byteLevel && len(p) == 1 && t.types[id]&(typeAbsent|typeHidden) == 0:
			t.byteIDs[p[0]] = id
		case t.kind == sentencePiece && t.types[id]&typeByte != 0:
			b, ok := byteToken(string(p))
			if !ok {
				return malformed("byte token %d is called %q", id, p)
			}
			t.byteIDs[b] = id
		}
	}
	if t.byteFallback {
		for b, id := range t.byteIDs {
			if id < 0 {
				return unsupported("byte fallback without a token for byte 0x%02X", b)
			}
		}
	}
	if t.ignoreMerges || t.kind == sentencePiece {
		t.indexPieces()
	}
	if t.kind == sentencePiece {
		_, ok := t.lookup(metaspace)
		t.splitSpaces = ok && !t.mergesCrossSpaces()
	}
	return t.indexAdded()
}

func (t *Tokenizer) indexPieces() {
	count := 0
	for _, k := range t.types {
		if k&(typeAbsent|typeHidden) == 0 {
			count++
		}
	}
	t.seed = maphash.MakeSeed()
	t.pieces = make([]uint32, tableSize(count))
	mask := uint64(len(t.pieces) - 1)
next:
	for id, k := range t.types {
		if k&(typeAbsent|typeHidden) != 0 {
			continue
		}
		p := t.piece(int32(id))
		h := maphash.Bytes(t.seed, p) & mask
		for ; t.pieces[h] != 0; h = (h + 1) & mask {
			if string(t.piece(int32(t.pieces[h]-1))) == string(p) {
				continue next // a duplicate: the lowest id wins
			}
		}
		t.pieces[h] = uint32(id) + 1
	}
}

// tableSize returns a power of two that n entries fill to at most three quarters.
func tableSize(n int) int {
	return 1 << bits.Len(uint(n+n/3+1))
}

// mergesCrossSpaces tells whether some merge makes a piece that holds a
// U+2581 behind another character.
func (t *Tokenizer) mergesCrossSpaces() bool {
	for _, id := range t.merges.results {
		p := string(t.piece(id))
		if strings.Contains(strings.TrimLeft(p, metaspace), metaspace) {
			return true
		}
	}
	return false
}

// Decode returns the text of ids, the inverse of Encode. Ids outside the
// vocabulary are dropped, special tokens too if asked; bytes that are no valid
// UTF-8 become U+FFFD. A SentencePiece text loses the one leading space that
// Encode added.
func (t *Tokenizer) Decode(ids []int32, skipSpecial bool) string {
	s := t.NewStream(StreamOptions{SkipSpecial: skipSpecial})
	s.buf = make([]byte, 0, 4*len(ids))
	for _, id := range ids {
		if !skipSpecial || !t.IsSpecial(id) {
			s.buf = t.appendBytes(s.buf, id)
		}
	}
	return s.Flush()
}
