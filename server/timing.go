package server

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"sync"
	"time"
)

// timedListener logs, at debug level, how long each answer took on its
// connection: from the first byte of the request that was read to the last one
// of the answer that was written. What a handler logs leaves out both.
type timedListener struct {
	net.Listener
	log *slog.Logger
}

// timed returns ln, or a timedListener if the log wants to know.
func timed(ln net.Listener, log *slog.Logger) net.Listener {
	if !log.Enabled(context.Background(), slog.LevelDebug) {
		return ln
	}
	return timedListener{ln, log}
}

// Accept implements net.Listener.
func (l timedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &timedConn{Conn: c, log: l.log}, nil
}

// timedConn is a connection of it.
type timedConn struct {
	net.Conn
	log *slog.Logger

	mu          sync.Mutex // a shutdown may close it
	head        []byte     // the first bytes of the request
	read, wrote time.Time  // first byte of the request, last one of its answer
}

// NetConn returns the connection inside, which has the file descriptor.
func (c *timedConn) NetConn() net.Conn { return c.Conn }

// Read implements net.Conn. Reading on after a write ends an answer.
func (c *timedConn) Read(p []byte) (int, error) {
	c.report()
	n, err := c.Conn.Read(p)
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if n > 0 && c.read.IsZero() {
		c.read, c.head = now, c.head[:0]
	}
	c.head = append(c.head, p[:min(n, 80-len(c.head))]...) // fasthttp begins with a single byte
	return n, err
}

// Write implements net.Conn.
func (c *timedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wrote = now
	return n, err
}

// Close implements net.Conn.
func (c *timedConn) Close() error {
	c.report()
	return c.Conn.Close()
}

func (c *timedConn) report() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.read.IsZero() || c.wrote.IsZero() {
		return
	}
	line, _, _ := bytes.Cut(c.head, []byte(" HTTP/"))
	c.log.Debug("answered", "request", string(line), "took", c.wrote.Sub(c.read))
	c.read, c.wrote = time.Time{}, time.Time{}
}
