package token

import (
	"strings"
	"unicode/utf8"
)

// StreamOptions says what a Stream leaves out.
type StreamOptions struct {
	// SkipSpecial leaves out special tokens.
	SkipSpecial bool
	// Continuation keeps the leading space of the first SentencePiece token:
	// the ids go on a text that is already there.
	Continuation bool
}

// Stream turns ids into text one by one. It never returns part of a UTF-8
// character: bytes wait until the character is whole or can't become one. The
// concatenation of all results is what Decode returns. A Stream belongs to
// one goroutine.
type Stream struct {
	t     *Tokenizer
	skip  bool
	strip bool   // the leading space is still to be removed
	buf   []byte // undecided bytes, at most 3 between calls
}

// NewStream returns a Stream at the beginning of a text.
func (t *Tokenizer) NewStream(o StreamOptions) *Stream {
	return &Stream{t: t, skip: o.SkipSpecial, strip: t.strip > 0 && !o.Continuation}
}

// Push adds a token and returns the text that became certain, often that of
// the token. Ids outside the vocabulary add nothing.
func (s *Stream) Push(id int32) string {
	if s.skip && s.t.IsSpecial(id) {
		return ""
	}
	s.buf = s.t.appendBytes(s.buf, id)
	return s.take(false)
}

// Flush returns what is left, with U+FFFD for an unfinished character, and
// leaves the Stream empty.
func (s *Stream) Flush() string { return s.take(true) }

func (s *Stream) take(all bool) string {
	n := 0 // bytes that are certain
	valid := true
	for n < len(s.buf) {
		if s.buf[n] < utf8.RuneSelf {
			n++
			continue
		}
		w, ok, more := s.sequence(s.buf[n:])
		if more && !all {
			break
		}
		valid = valid && ok
		n += w
	}
	if n == 0 {
		return ""
	}
	var text string
	if valid {
		text = string(s.buf[:n])
	} else {
		var sb strings.Builder
		for i := 0; i < n; {
			w, ok, _ := s.sequence(s.buf[i:n])
			if ok {
				sb.Write(s.buf[i : i+w])
			} else {
				sb.WriteRune(utf8.RuneError)
			}
			i += w
		}
		text = sb.String()
	}
	s.buf = append(s.buf[:0], s.buf[n:]...)
	if s.strip {
		s.strip = false
		text = strings.TrimPrefix(text, " ")
	}
	return text
}

// sequence looks at the UTF-8 sequence at the start of b: its width, whether
// it is valid, and whether more bytes could still make it so. What one U+FFFD
// replaces follows the references: the longest beginning of a character for
// byte-level tokenizers (Unicode 15, section 3.9, practice of substituting
// maximal subparts), single bytes for SentencePiece.
func (s *Stream) sequence(b []byte) (width int, ok, more bool) {
	r, w := utf8.DecodeRune(b)
	if r != utf8.RuneError || w == 3 {
		return w, true, false
	}
	n := subpart(b)
	more = !utf8.FullRune(b)
	if s.t.kind == sentencePiece {
		n = 1
	}
	return n, false, more
}

// subpart returns the length of the longest beginning of b, at least 1, that
// begins some valid character. b does not start with a whole one.
func subpart(b []byte) int {
	n := 1
	for n < min(len(b), 3) && !utf8.FullRune(b[:n+1]) {
		n++
	}
	return n
}
