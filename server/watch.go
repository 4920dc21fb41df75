package server

import (
	"net"
	"syscall"
	"time"
)

// watchInterval is how often a client's socket is looked at: the bound, with
// one step of the engine, on work done for nobody.
const watchInterval = 250 * time.Millisecond

// watch calls gone, once, when the peer of conn has closed its side. It reads
// nothing from the connection, so keep-alive and pipelining are undisturbed;
// half-closed counts as closed, as in net/http. The returned function stops
// the watcher and waits for it, and must be called before conn is used for
// another request. Connections without a file descriptor, and systems without
// peerClosed, are not watched: there a failing write is the sign.
func watch(conn net.Conn, gone func()) (stop func()) {
	for { // a TLS connection wraps the one with the descriptor
		c, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		conn = c.NetConn()
	}
	sc, ok := conn.(syscall.Conn)
	if !ok || !canWatch {
		return func() {}
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return func() {}
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(watchInterval)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				return
			case <-tick.C:
			}
			closed := false
			if err := raw.Control(func(fd uintptr) { closed = peerClosed(fd) }); err != nil || closed {
				gone()
				return
			}
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}
