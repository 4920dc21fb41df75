//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package server

import (
	"errors"

	"golang.org/x/sys/unix"
)

const canWatch = true

// peerClosed looks at the next byte without taking it: none and no error is
// the end of the stream. An end behind unread input is not seen.
func peerClosed(fd uintptr) bool {
	var b [1]byte
	n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	if err != nil {
		return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR)
	}
	return n == 0
}
