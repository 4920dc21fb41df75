//go:build !linux && !darwin && !dragonfly && !freebsd && !netbsd && !openbsd

package server

const canWatch = false

func peerClosed(uintptr) bool { return false }
