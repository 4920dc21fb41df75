package server

import (
	"bytes"
	"io"

	"github.com/valyala/fasthttp"
)

// gathered is a choice of a whole answer while it grows. It is kept as the JSON
// that will be sent, which takes less memory than what it is made from.
type gathered struct {
	piece           // of the latest one; its text and tokens are in the fields below
	text  []byte    // inside of a JSON string
	lists [4][]byte // insides of the JSON arrays of log-probabilities, as the format needs them
}

func (w *gathered) size() int {
	n := len(w.text)
	for _, l := range w.lists {
		n += len(l)
	}
	return n
}

// addText appends s to the inside of a JSON string. s ends where a character
// does.
func addText(dst []byte, s string) []byte {
	b := encode(s)
	return append(dst, b[1:len(b)-1]...)
}

// addElements appends the elements of the slice v to the inside of a JSON array.
func addElements(dst []byte, v any) []byte {
	b := encode(v)
	if len(b) > 2 && len(dst) > 0 {
		dst = append(dst, ',')
	}
	return append(dst, b[1:len(b)-1]...)
}

// fill is the inside of a field of a frame: of its string, or of its array.
type fill struct {
	field string
	parts [][]byte
}

// weave encodes frame and puts fills into its empty strings and arrays of these
// names, which follow one another. What is in front of them must not be chosen
// by clients, unless it is in strings, where quotes are escaped.
func weave(frame any, fills ...fill) (parts [][]byte) {
	b := encode(frame)
	for _, f := range fills {
		i := bytes.Index(b, []byte(`"`+f.field+`":`)) + len(f.field) + len(`"":"`)
		parts = append(append(parts, b[:i]), f.parts...)
		b = b[i:]
	}
	return append(parts, b)
}

// document is a whole answer: the body of a response, in parts. It holds a share of
// Options.MaxAnswers until Close.
type document struct {
	s     *Server
	parts [][]byte
	held  int64
}

// hold takes memory for n more bytes, their slices' room to grow included.
func (d *document) hold(n int) *apiError {
	more := int64(n) + int64(n)/2
	d.held += more
	if d.s.answers.Add(more) <= d.s.o.MaxAnswers {
		return nil
	}
	e := newError(fasthttp.StatusServiceUnavailable, typeUnavailable, "memory_budget_exceeded",
		"The answer does not fit the server's memory for whole answers, %d bytes. "+
			"Ask for fewer choices, tokens or log-probabilities, or for a stream.", d.s.o.MaxAnswers)
	e.retry, e.noRetry = 5, d.held > d.s.o.MaxAnswers
	return e
}

func (d *document) size() (n int) {
	for _, p := range d.parts {
		n += len(p)
	}
	return n
}

// Read implements io.Reader.
func (d *document) Read(p []byte) (n int, err error) {
	for len(d.parts) > 0 && n < len(p) {
		k := copy(p[n:], d.parts[0])
		n += k
		if d.parts[0] = d.parts[0][k:]; len(d.parts[0]) == 0 {
			d.parts = d.parts[1:]
		}
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// Close implements io.Closer. It may be called more than once.
func (d *document) Close() error {
	d.s.answers.Add(-d.held)
	d.held, d.parts = 0, nil
	return nil
}

// collect waits for all choices and returns the whole answer, which the caller
// closes.
func (g *generation) collect() (*document, *apiError) {
	out := &document{s: g.s}
	whole := make([]gathered, len(g.call.jobs))
	var full *apiError
	show := func(p *piece) {
		if full != nil {
			return
		}
		w := &whole[p.index]
		before := w.size()
		w.index, w.finish, w.stopped = p.index, p.finish, p.stopped
		g.call.format.gather(w, p)
		if full = out.hold(w.size() - before); full != nil {
			g.cancel(full)
		}
	}
	for t := range g.events {
		g.observe(t)
		if p, ok := g.add(t.index, t.Event); ok {
			show(&p)
		}
	}
	for _, p := range g.late() {
		show(&p)
	}
	if full == nil && g.err != nil {
		full = toAPI(g.err)
	}
	if full != nil {
		out.Close()
		return nil, full
	}
	var choices [][]byte
	for i := range whole {
		if i > 0 {
			choices = append(choices, []byte(","))
		}
		choices = append(choices, g.call.format.whole(&whole[i])...)
	}
	e := g.call.envelope(false)
	e.Usage = encode(g.usage())
	out.parts = weave(e, fill{"choices", choices})
	return out, nil
}
