package chat

import (
	"fmt"
	"strings"
)

// plain applies the white space rules of jinja2 with trim_blocks and
// lstrip_blocks to a source, so that the interpreter has none left to apply: a
// statement or comment takes the indentation before it, if it begins its line,
// and the line break after it; a minus sign takes all white space on its side, a
// plus sign none. One line break at the end of the source goes. It also bounds
// how deep expressions nest, because the parser recurses.
//
// The interpreter's own rules differ: they take the blank between an
// expression and a statement on one line.
func plain(source string) (string, error) {
	source = strings.ReplaceAll(source, "\r\n", "\n")
	source = strings.ReplaceAll(source, "\r", "\n")
	rest := strings.TrimSuffix(source, "\n")
	var out strings.Builder
	lineStart := true // what follows begins a line
	for {
		at := nextTag(rest)
		if at < 0 {
			out.WriteString(rest)
			return out.String(), nil
		}
		kind := rest[at+1] // '{', '%' or '#'
		size, err := tagSize(rest[at:])
		if err != nil {
			return "", fmt.Errorf("chat: %w: line %d: %v", ErrInvalid, 1+strings.Count(source[:len(source)-len(rest)+at], "\n"), err)
		}
		data, body := rest[:at], rest[at+2:at+size-2]
		rest = rest[at+size:]
		var open, end byte
		if body != "" && (body[0] == '-' || body[0] == '+') {
			open, body = body[0], body[1:]
		}
		if n := len(body); n > 0 && (body[n-1] == '-' || body[n-1] == '+' && kind != '{') {
			end, body = body[n-1], body[:n-1]
		}
		switch {
		case open == '-':
			data = strings.TrimRightFunc(data, isSpace)
		case open != '+' && kind != '{':
			if i := strings.LastIndexByte(data, '\n') + 1; (i > 0 || lineStart) && strings.TrimFunc(data[i:], isSpace) == "" {
				data = data[:i]
			}
		}
		out.WriteString(data)
		switch kind {
		case '{':
			out.WriteString("{{ " + body + " }}")
		case '%':
			out.WriteString("{% " + body + " %}")
		}
		after := rest
		switch {
		case end == '-':
			rest = strings.TrimLeftFunc(rest, isSpace)
		case end != '+' && kind != '{':
			rest = strings.TrimPrefix(rest, "\n")
		}
		lineStart = strings.HasSuffix(after[:len(after)-len(rest)], "\n")
	}
}

// nextTag returns the position of the next {{, {% or {#, -1 if there is none.
func nextTag(s string) int {
	for i := 0; i+1 < len(s); i++ {
		if s[i] == '{' && (s[i+1] == '{' || s[i+1] == '%' || s[i+1] == '#') {
			return i
		}
	}
	return -1
}

// tagSize returns the length of the tag that s begins with, delimiters
// included. Strings and brackets inside may hold what looks like its end.
// Multiplication is refused.
func tagSize(s string) (int, error) {
	if s[1] == '#' {
		if i := strings.Index(s[2:], "#}"); i >= 0 {
			return i + 4, nil
		}
		return 0, fmt.Errorf("comment without end")
	}
	end := "%}"
	if s[1] == '{' {
		end = "}}"
	}
	depth := 0
	for i := 2; i < len(s); i++ {
		if depth == 0 && strings.HasPrefix(s[i:], end) {
			return i + 2, nil
		}
		switch c := s[i]; c {
		case '(', '[', '{':
			if depth++; depth > maxNesting {
				return 0, fmt.Errorf("brackets nested deeper than %d", maxNesting)
			}
		case ')', ']', '}':
			depth = max(depth-1, 0)
		case '*':
			// The interpreter has no bound for a string times a number, and running
			// out of memory ends the process.
			return 0, fmt.Errorf("the operators * and ** are not supported in chat templates")
		case '\'', '"':
			for i++; i < len(s) && s[i] != c; i++ {
				if s[i] == '\\' {
					i++
				}
			}
		}
	}
	return 0, fmt.Errorf("tag %s without %s", s[:2], end)
}
