package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"time"

	"github.com/valyala/fasthttp"
)

// stream is a generation as the body of a response: an io.ReadCloser that
// fasthttp reads on the connection's goroutine, sending every Read as one
// chunk. A pull reader, rather than fasthttp's stream writer, means no pipe, no
// goroutine beyond the generators, and a Close that is always called.
type stream struct {
	*generation
	conn   net.Conn
	buf    bytes.Buffer // server-sent events not yet read
	silent *time.Timer  // fires when the client has heard nothing for a while
	over   bool         // all is written
	cut    error        // what Read ends with instead of io.EOF
}

func newStream(g *generation, conn net.Conn) *stream {
	st := &stream{generation: g, conn: conn, silent: time.NewTimer(g.s.o.PingInterval)}
	for i := range g.call.jobs {
		if c := g.call.format.opening(i); c != nil {
			st.chunk(c)
		}
	}
	return st
}

// prime waits for the first sign of life, so that a request that is refused
// gets a proper HTTP status. After the ping interval it commits to a stream.
func (st *stream) prime() *apiError {
	opening := st.buf.Len()
	for st.buf.Len() == opening && !st.over {
		st.fill()
	}
	if st.over && st.err != nil && !st.spoke() {
		return toAPI(st.err)
	}
	return nil
}

// Read implements io.Reader. It blocks for at most the ping interval. Every
// Read that returns gives the write that follows it its own deadline, so that
// a client that stops reading is dropped while a long answer is not.
func (st *stream) Read(p []byte) (n int, err error) {
	defer func() {
		if r := recover(); r != nil {
			st.s.m.panics.Inc()
			st.s.log.Error("panic in stream", "id", st.id, "panic", r, "stack", string(debug.Stack()))
			n, err = 0, fmt.Errorf("server: stream panicked: %v", r)
		}
	}()
	for st.buf.Len() == 0 && !st.over {
		st.fill()
	}
	patience := st.s.o.WriteTimeout
	if st.s.base.Err() != nil {
		patience = min(patience, lastWrite)
	}
	if err := st.conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	if st.buf.Len() == 0 {
		if st.cut != nil {
			return 0, st.cut
		}
		return 0, io.EOF
	}
	return st.buf.Read(p)
}

// Close implements io.Closer.
func (st *stream) Close() error {
	st.silent.Stop()
	st.close()
	return nil
}

// unframed answers an HTTP/1.0 request, which knows no chunks: the body ends
// with the connection. fasthttp would send chunks nevertheless, so all is
// written here, and a hijack that does nothing keeps it from answering too.
func (st *stream) unframed(ctx *fasthttp.RequestCtx) {
	ctx.HijackSetNoResponse(true)
	ctx.Hijack(func(net.Conn) {})
	h := &ctx.Response.Header
	h.SetConnectionClose()
	h.SetServer("lamina")
	if err := st.conn.SetWriteDeadline(time.Now().Add(st.s.o.WriteTimeout)); err != nil {
		return
	}
	if _, err := st.conn.Write(h.Header()); err == nil {
		_, _ = io.Copy(st.conn, struct{ io.Reader }{st}) // an error is a client that went away
	}
}

// fill waits for one event, the end, or silence, and writes what it means.
func (st *stream) fill() {
	select {
	case t, ok := <-st.events:
		if !ok {
			st.finish()
			return
		}
		st.observe(t)
		if p, ok := st.add(t.index, t.Event); ok {
			st.show(&p)
		}
	case <-st.silent.C:
		st.buf.WriteString(": ping\n\n")
	}
	if st.buf.Len() > 0 {
		st.silent.Reset(st.s.o.PingInterval)
	}
}

// finish writes the end of the stream.
func (st *stream) finish() {
	st.over = true
	for _, p := range st.late() {
		st.show(&p)
	}
	switch {
	case st.err == nil:
		if st.call.includeUsage {
			e := st.call.envelope(true)
			e.Usage = encode(st.usage())
			st.data(encode(e))
		}
	case errors.Is(st.err, errGone), errors.Is(st.err, context.Canceled):
		st.cut = st.err // nobody is listening
		return
	default:
		st.data(toAPI(st.err).body())
	}
	st.data([]byte("[DONE]"))
}

// show writes a piece.
func (st *stream) show(p *piece) {
	for _, c := range st.call.format.chunks(p) {
		st.chunk(c)
	}
}

// chunk writes one choice in its envelope. With include_usage every chunk but
// the last has a null usage.
func (st *stream) chunk(choice any) {
	e := st.call.envelope(true, choice)
	if st.call.includeUsage {
		e.Usage = []byte("null")
	}
	st.data(encode(e))
}

func (st *stream) data(b []byte) {
	st.buf.WriteString("data: ")
	st.buf.Write(b)
	st.buf.WriteString("\n\n")
}
