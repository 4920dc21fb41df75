package server

import (
	"fmt"
	"net"
	"time"

	"github.com/valyala/fasthttp"
)

// limitedListener answers connections beyond Options.MaxConns itself, with an
// error that clients understand: fasthttp's own is plain text.
type limitedListener struct {
	net.Listener
	s *Server
}

// Accept implements net.Listener.
func (l limitedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		l.s.mu.Lock()
		full := len(l.s.conns) >= l.s.o.MaxConns
		l.s.mu.Unlock()
		if !full {
			return c, nil
		}
		l.s.refuse(c)
	}
}

// refuse answers a connection that there is no room for, before its request is
// read. It takes little time, since no other connection is accepted meanwhile.
func (s *Server) refuse(c net.Conn) {
	defer c.Close()
	e := newError(fasthttp.StatusServiceUnavailable, typeUnavailable, "too_many_connections",
		"All %d connections of the server are in use. Try again later.", s.o.MaxConns)
	s.m.requests.inc("none", e.status)
	body := e.body()
	if c.SetDeadline(time.Now().Add(20*time.Millisecond)) != nil {
		return
	}
	_, err := fmt.Fprintf(c, "HTTP/1.1 503 Service Unavailable\r\nServer: lamina\r\nContent-Type: application/json\r\n"+
		"Content-Length: %d\r\nX-Request-Id: req_%s\r\nRetry-After: 1\r\nConnection: close\r\n\r\n%s", len(body), randomHex(), body)
	if err != nil {
		return
	}
	// A close with unread input would take the answer back.
	if w, ok := c.(interface{ CloseWrite() error }); ok && w.CloseWrite() == nil {
		var b [4096]byte
		for n := 1; n > 0; {
			n, _ = c.Read(b[:])
		}
	}
}
