package server

import "golang.org/x/sys/unix"

const canWatch = true

// peerClosed asks the kernel whether the peer has shut down its side. Unlike a
// peek it also sees an end that lies behind unread input, such as a pipelined
// request or the close alert of TLS.
func peerClosed(fd uintptr) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(p, 0)
	return err == nil && n > 0 && p[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0
}
