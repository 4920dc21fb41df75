//go:build purego || !amd64

package crc32c

func folds() bool { return false }

func fold(uint32, *byte, int, *[24]uint64) uint32 { panic("crc32c: no kernel") }
