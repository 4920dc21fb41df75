package token

import (
	"errors"
	"fmt"
	"hash/maphash"
	"strings"
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
