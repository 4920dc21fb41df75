package token

import (
	"unicode"
	"unicode/utf8"
)

// stage is one step of a byte-level pre-tokenizer. Each step splits the pieces
// of the step before it. The values are part of the binary form.
type stage uint8

const (
	stageGPT2        stage = iota + 1 // the GPT-2 pattern
	stageLlama3                       // the Llama 3 pattern
	stageDigit                        // every digit alone
	stageDigits                       // runs of digits
	stagePunct                        // runs of punctuation and $+<=>^~|
	stageTriple                       // groups of three ASCII digits
	stagePrefixSpace                  // no split: a space in front of a piece that has none
	numStages
)

// The regular expressions that the scanners reproduce.
const (
	patternGPT2   = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	patternLlama3 = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	patternDigit  = `\p{N}`
	patternDigits = `\p{N}+`
)

// scanner returns the function that gives the length of the first piece of a
// non-empty string; it is at least one character.
func (s stage) scanner() func(string) int {
	switch s {
	case stageGPT2:
		return scanGPT2
	case stageLlama3:
		return scanLlama3
	case stageDigit:
		return scanDigit
	case stageDigits:
		return scanDigits
	case stagePunct:
		return scanPunct
	case stageTriple:
		return scanTriple
	}
	return func(s string) int { return len(s) }
}

// class is what the patterns know about a character.
type class uint8

const (
	classOther  class = iota
	classLetter       // \p{L}
	classNumber       // \p{N}
	classSpace        // \s
)

var asciiClass = func() (t [utf8.RuneSelf]class) {
	for r := range t {
		t[r] = slowClass(rune(r))
	}
	return t
}()

func classOf(r rune) class {
	if uint32(r) < utf8.RuneSelf {
		return asciiClass[r]
	}
	return slowClass(r)
}

func slowClass(r rune) class {
	switch {
	case unicode.IsLetter(r) || unicode.Is(newLetters, r):
		return classLetter
	case unicode.IsNumber(r) || unicode.Is(newNumbers, r):
		return classNumber
	case unicode.IsSpace(r):
		return classSpace
	}
	return classOther
}

// first decodes the first character of s; classOther and width 0 at the end.
func first(s string) (c class, r rune, w int) {
	if s == "" {
		return classOther, 0, 0
	}
	if b := s[0]; b < utf8.RuneSelf {
		return asciiClass[b], rune(b), 1
	}
	r, w = utf8.DecodeRuneInString(s)
	return slowClass(r), r, w
}

// run returns the length of the prefix of s whose characters are of class c.
func run(s string, c class) int {
	i := 0
	for i < len(s) {
		if b := s[i]; b < utf8.RuneSelf {
			if asciiClass[b] != c {
				break
			}
			i++
			continue
		}
		r, w := utf8.DecodeRuneInString(s[i:])
		if slowClass(r) != c {
			break
		}
		i += w
	}
	return i
}

// contraction returns the length of 's 't 're 've 'm 'll 'd at the start of s,
// which begins with an apostrophe. With fold, case does not matter, and the
// long s (U+017F) is an s.
func contraction(s string, fold bool) int {
	at := func(i int) byte {
		if i >= len(s) {
			return 0
		}
		c := s[i]
		if fold && 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		return c
	}
	switch a, b := at(1), at(2); {
	case a == 's' || a == 't' || a == 'm' || a == 'd':
		return 2
	case a == 'r' && b == 'e' || a == 'v' && b == 'e' || a == 'l' && b == 'l':
		return 3
	case fold && a == 0xC5 && b == 0xBF:
		return 3
	}
	return 0
}

// spaces handles \s+(?!\S)|\s+ for s that begins with white space of n bytes:
// a run before a word leaves its last character to the word.
func spaces(s string, n int) int {
	if n == len(s) {
		return n
	}
	_, w := utf8.DecodeLastRuneInString(s[:n])
	if w < n {
		return n - w
	}
	return n
}

func scanGPT2(s string) int {
	c, r, w := first(s)
	if r == '\'' {
		if n := contraction(s, false); n > 0 {
			return n
		}
	}
	if r == ' ' {
		if c2, _, w2 := first(s[1:]); w2 > 0 && c2 != classSpace {
			return 1 + run(s[1:], c2)
		}
	}
	if c != classSpace {
		return w + run(s[w:], c)
	}
	return spaces(s, run(s, classSpace))
}

func scanLlama3(s string) int {
	c, r, w := first(s)
	if r == '\'' {
		if n := contraction(s, true); n > 0 {
			return n
		}
	}
	switch c {
	case classLetter:
		return w + run(s[w:], classLetter)
	case classNumber:
		for range 2 {
			c, _, n := first(s[w:])
			if c != classNumber {
				break
			}
			w += n
		}
		return w
	}
	if r != '\r' && r != '\n' {
		if n := run(s[w:], classLetter); n > 0 {
			return w + n
		}
	}
	n := 0
	if r == ' ' {
		n = 1
	}
	if k := run(s[n:], classOther); k > 0 {
		n += k
		for n < len(s) && (s[n] == '\r' || s[n] == '\n') {
			n++
		}
		return n
	}
	n = run(s, classSpace)
	for i := n; i > 0; i-- { // up to the last line break, if there is one
		if s[i-1] == '\r' || s[i-1] == '\n' {
			return i
		}
	}
	return spaces(s, n)
}

func scanDigit(s string) int {
	for i, r := range s {
		if classOf(r) == classNumber {
			if i > 0 {
				return i
			}
			return utf8.RuneLen(r)
		}
	}
	return len(s)
}

func scanDigits(s string) int {
	if n := run(s, classNumber); n > 0 {
		return n
	}
	return scanDigit(s)
}

func scanPunct(s string) int {
	inside := false
	for i, r := range s {
		p := isPunct(r)
		if i == 0 {
			inside = p
		} else if p != inside {
			return i
		}
	}
	return len(s)
}

func isPunct(r rune) bool {
	switch r {
	case '$', '+', '<', '=', '>', '^', '~', '|':
		return true
	}
	return unicode.IsPunct(r)
}

func scanTriple(s string) int {
	digits := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			digits = 0
			continue
		}
		if digits++; digits == 3 {
			if i == 2 {
				return 3
			}
			return i - 2
		}
	}
	return len(s)
}
