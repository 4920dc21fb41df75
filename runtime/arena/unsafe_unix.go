//go:build unix && !solaris && !illumos && !aix

package arena

import "unsafe"

// address returns where mem begins; it does not move.
func address(mem []byte) uintptr { return uintptr(unsafe.Pointer(&mem[0])) }
