package chat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/nikolalohinski/gonja/v2/exec"
)

// list is a list of the template. The interpreter's own look-up does not take
// an index of minus the length.
type list []any

// GetItem returns element key, counted from the end if it is negative.
func (l list) GetItem(key any) (*exec.Value, bool) {
	i, ok := key.(int)
	if i < 0 {
		i += len(l)
	}
	if !ok || i < 0 || i >= len(l) {
		return exec.AsValue(nil), false
	}
	return exec.ToValue(l[i]), true
}

// decodeJSON reads a JSON value into the interpreter's types. Objects keep the
// order of their keys; whole numbers are integers.
func decodeJSON(data []byte) (any, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("not valid UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v, err := decodeValue(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("text after the JSON value")
	}
	return v, nil
}

func decodeValue(d *json.Decoder, depth int) (any, error) {
	if depth > maxNesting {
		return nil, fmt.Errorf("JSON nested deeper than %d", maxNesting)
	}
	tok, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch tok := tok.(type) {
	case json.Number:
		if n, err := strconv.Atoi(tok.String()); err == nil {
			return n, nil
		}
		f, err := tok.Float64()
		return f, err
	case json.Delim:
		if tok == '[' {
			items := list{}
			for d.More() {
				v, err := decodeValue(d, depth+1)
				if err != nil {
					return nil, err
				}
				items = append(items, v)
			}
			_, err := d.Token()
			return items, err
		}
		dict := exec.NewDict()
		index := map[string]int{}
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			v, err := decodeValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			k, _ := key.(string)
			if i, ok := index[k]; ok { // the last one counts, at the place of the first
				dict.Pairs[i].Value = exec.AsValue(v)
				continue
			}
			index[k] = len(dict.Pairs)
			dict.Pairs = append(dict.Pairs, &exec.Pair{Key: exec.AsValue(k), Value: exec.AsValue(v)})
		}
		_, err := d.Token()
		return dict, err
	}
	return tok, nil
}

// jsonWriter writes a value as Python's json.dumps(v, ensure_ascii=False) does.
type jsonWriter struct {
	strings.Builder
	indent    int // spaces per level, -1 for one line
	item, key string
}

var errTooLong = fmt.Errorf("tojson: %w", ErrLimit)

func (w *jsonWriter) line(depth int) {
	if w.indent >= 0 {
		w.WriteByte('\n')
		w.WriteString(strings.Repeat(" ", w.indent*depth))
	}
}

func (w *jsonWriter) value(v *exec.Value, depth int) error {
	if depth > maxNesting || w.Len() > maxText {
		return errTooLong
	}
	switch {
	case v.IsError():
		return v
	case v.IsNil():
		w.WriteString("null")
	case v.IsBool():
		w.WriteString(strconv.FormatBool(v.Bool()))
	case v.IsInteger():
		w.WriteString(strconv.Itoa(v.Integer()))
	case v.IsFloat():
		w.WriteString(pythonFloat(v.Float()))
	case v.IsString():
		w.str(v.String())
	case v.IsList():
		return w.sequence('[', ']', v, depth, func(item, _ *exec.Value) error { return w.value(item, depth+1) })
	case v.IsDict():
		return w.sequence('{', '}', v, depth, func(key, item *exec.Value) error {
			w.str(key.String())
			w.WriteString(w.key)
			return w.value(item, depth+1)
		})
	default:
		return fmt.Errorf("tojson: value of type %T", v.Interface())
	}
	return nil
}

func (w *jsonWriter) sequence(open, end byte, v *exec.Value, depth int, f func(a, b *exec.Value) error) (err error) {
	w.WriteByte(open)
	n := 0
	v.Iterate(func(_, _ int, a, b *exec.Value) bool {
		if n++; n > 1 {
			w.WriteString(w.item)
		}
		w.line(depth + 1)
		err = f(a, b)
		return err == nil
	}, func() {})
	if n > 0 {
		w.line(depth)
	}
	w.WriteByte(end)
	return err
}

// str writes a string with the escapes of Python's encoder.
func (w *jsonWriter) str(s string) {
	w.WriteByte('"')
	for _, r := range s {
		switch r {
		case '"':
			w.WriteString(`\"`)
		case '\\':
			w.WriteString(`\\`)
		case '\n':
			w.WriteString(`\n`)
		case '\r':
			w.WriteString(`\r`)
		case '\t':
			w.WriteString(`\t`)
		case '\b':
			w.WriteString(`\b`)
		case '\f':
			w.WriteString(`\f`)
		default:
			if r < 0x20 {
				fmt.Fprintf(w, `\u%04x`, r)
			} else {
				w.WriteRune(r)
			}
		}
	}
	w.WriteByte('"')
}

// pythonFloat writes a float as Python's repr: the shortest digits that read
// back the same, with an exponent below 1e-4 and from 1e16 on.
func pythonFloat(f float64) string {
	s := strconv.FormatFloat(f, 'e', -1, 64)
	if i := strings.IndexByte(s, 'e'); i >= 0 {
		if exp, _ := strconv.Atoi(s[i+1:]); exp >= -4 && exp < 16 {
			s = strconv.FormatFloat(f, 'f', -1, 64)
			if !strings.Contains(s, ".") {
				s += ".0"
			}
		}
	}
	switch s {
	case "+Inf":
		return "Infinity"
	case "-Inf":
		return "-Infinity"
	}
	return s
}

func toJSON(_ *exec.Evaluator, in *exec.Value, p *exec.VarArgs) *exec.Value {
	w := &jsonWriter{indent: -1, item: ", ", key: ": "}
	indent := p.GetKeywordArgument("indent", nil)
	if len(p.Args) > 1 { // tojson(ensure_ascii, indent)
		indent = p.Args[1]
	}
	if indent.IsInteger() {
		w.indent, w.item = min(max(indent.Integer(), 0), 16), ","
	}
	if sep := p.GetKeywordArgument("separators", nil); sep.IsList() && sep.Len() == 2 {
		w.item, w.key = sep.Index(0).String(), sep.Index(1).String()
	}
	if err := w.value(in, 0); err != nil {
		return exec.AsValue(err)
	}
	return exec.AsSafeValue(w.String())
}
