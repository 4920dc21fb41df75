package token

import (
	"cmp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Flags of an added token, as tokenizer.json names them. The values are part
// of the binary form.
const (
	addedSpecial    uint8 = 1 << iota // recognised only with EncodeOptions.ParseSpecial
	addedNormalized                   // looked for in normalised text
	addedLStrip                       // takes the white space before it
	addedRStrip                       // takes the white space after it
	addedSingleWord                   // only between non-word characters
	addedFlags      = 1<<iota - 1
)

// addedToken is a token that is found in the text before the model sees it.
type addedToken struct {
	id    int32
	flags uint8
	match string // what to look for; normalised if the flag says so
}

// matcher finds added tokens, the leftmost first and the longest there.
type matcher struct {
	tokens []addedToken // by match, ascending
	start  [256]bool    // first bytes of tokens
	single int          // the only first byte, -1 if there are several
}

func newMatcher(tokens []addedToken) matcher {
	m := matcher{tokens: tokens, single: -1}
	slices.SortStableFunc(m.tokens, func(a, b addedToken) int { return cmp.Compare(a.match, b.match) })
	for _, t := range m.tokens {
		m.start[t.match[0]] = true
	}
	if n := len(m.tokens); n > 0 && m.tokens[0].match[0] == m.tokens[n-1].match[0] {
		m.single = int(m.tokens[0].match[0])
	}
	return m
}

// indexAdded checks the added tokens and sorts them into the two matchers.
func (t *Tokenizer) indexAdded() error {
	var raw, norm []addedToken
	for _, a := range t.added {
		if !t.valid(a.id) {
			return malformed("added token %q has id %d, outside the vocabulary of %d", a.match, a.id, len(t.types))
		}
		if len(a.match) > maxAdded || !utf8.ValidString(a.match) {
			return malformed("added token %d is no text of at most %d bytes", a.id, maxAdded)
		}
		switch {
		case a.match == "":
		case a.flags&addedNormalized != 0:
			norm = append(norm, a)
		default:
			raw = append(raw, a)
		}
	}
	t.raw, t.norm = newMatcher(raw), newMatcher(norm)
	return nil
}

// find returns the leftmost, longest token in s at or after from.
func (m *matcher) find(s string, from int) (at int, tok *addedToken) {
	if len(m.tokens) == 0 {
		return len(s), nil
	}
	for i := from; i < len(s); i++ {
		if m.single >= 0 {
			j := strings.IndexByte(s[i:], byte(m.single))
			if j < 0 {
				break
			}
			i += j
		} else if !m.start[s[i]] {
			continue
		}
		if tok := m.longest(s[i:]); tok != nil {
			return i, tok
		}
	}
	return len(s), nil
}

// longest returns the longest token that is a prefix of s. It narrows the
// sorted list one byte at a time, so many tokens with a common beginning cost
// no more than one.
func (m *matcher) longest(s string) *addedToken {
	var best *addedToken
	list := m.tokens
	for n := range len(s) {
		c := s[n]
		lo, _ := slices.BinarySearchFunc(list, c, func(t addedToken, c byte) int {
			if len(t.match) <= n {
				return -1
			}
			return cmp.Compare(t.match[n], c)
		})
		list = list[lo:]
		hi, _ := slices.BinarySearchFunc(list, c, func(t addedToken, c byte) int {
			if t.match[n] <= c {
				return -1
			}
			return 1
		})
		list = list[:hi]
		if len(list) == 0 {
			break
		}
		if len(list[0].match) == n+1 {
			best = &list[0]
		}
	}
	return best
}

// splitter cuts a text at its added tokens.
type splitter struct {
	m     *matcher
	s     string
	parse bool // recognise special tokens
	scan  int  // where the search goes on
	end   int  // where the last token ended, the white space it took included
	done  bool

	lo, hi int   // text before the token
	id     int32 // the token, -1 at the end of the text
}

func (m *matcher) split(s string, parse bool) splitter {
	return splitter{m: m, s: s, parse: parse}
}

// next moves to the next token, or to the rest of the text.
func (p *splitter) next() bool {
	if p.done {
		return false
	}
	for {
		at, tok := p.m.find(p.s, p.scan)
		if tok == nil {
			p.lo, p.hi, p.id, p.done = p.end, len(p.s), -1, true
			return true
		}
		stop := at + len(tok.match)
		p.scan = stop
		if tok.flags&addedSpecial != 0 && !p.parse {
			continue
		}
		if tok.flags&addedSingleWord != 0 {
			before, _ := utf8.DecodeLastRuneInString(p.s[:at])
			after, _ := utf8.DecodeRuneInString(p.s[stop:])
			if at > 0 && isWord(before) || stop < len(p.s) && isWord(after) {
				continue
			}
		}
		if tok.flags&addedLStrip != 0 {
			from := min(p.end, at)
			at = from + len(strings.TrimRightFunc(p.s[from:at], unicode.IsSpace))
		}
		if tok.flags&addedRStrip != 0 {
			stop = len(p.s) - len(strings.TrimLeftFunc(p.s[stop:], unicode.IsSpace))
		}
		p.lo, p.hi, p.id = p.end, max(at, p.end), tok.id
		p.end = stop
		return true
	}
}

// isWord is \w of Unicode regular expressions (UTS 18, annex C).
func isWord(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsMark(r) || r == '\u200c' || r == '\u200d' ||
		unicode.In(r, unicode.Nd, unicode.Nl, unicode.Pc, unicode.Other_Alphabetic)
}
