//go:build amd64 || arm64

package weights

import (
	"os"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ring is a context of the system's asynchronous input and output: io_setup(2)
// and the calls beside it. They are older than io_uring, and container run-times
// that forbid that allow them. Reads past the page cache are truly asynchronous.
type ring struct {
	file *os.File
	fd   uint32
	ctx  uintptr
}

// iocb is struct iocb of linux/aio_abi.h on little-endian machines.
type iocb struct {
	data     uint64
	key      uint32
	rwFlags  uint32
	opcode   uint16
	priority int16
	fd       uint32
	buf      uint64
	nbytes   uint64
	offset   int64
	reserved uint64
	flags    uint32
	resfd    uint32
}

// ioEvent is struct io_event.
type ioEvent struct {
	data, obj uint64
	res, res2 int64
}

// newRing returns nil where the system refuses one.
func newRing(f *os.File, depth int) *ring {
	r := &ring{file: f, fd: uint32(f.Fd())}
	if _, _, e := unix.Syscall(unix.SYS_IO_SETUP, uintptr(depth), uintptr(unsafe.Pointer(&r.ctx)), 0); e != 0 {
		return nil
	}
	return r
}

// submit reports whether the read of p has begun.
func (r *ring) submit(p []byte, off int64, token uint64) bool {
	cb := &iocb{data: token, fd: r.fd, buf: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(p)))), nbytes: uint64(len(p)), offset: off} // opcode 0 is a read
	n, _, _ := unix.Syscall(unix.SYS_IO_SUBMIT, r.ctx, 1, uintptr(unsafe.Pointer(&cb)))
	runtime.KeepAlive(cb)
	return n == 1
}

// patience is how long a wait keeps its processor from the Go scheduler, which
// takes time to give it to others and to get it back.
const patience = time.Millisecond

// wait is Queue.Wait for what the system has read.
func (r *ring) wait(d time.Duration, settle func(token uint64, n int64)) int {
	var events [16]ioEvent
	call, step := unix.RawSyscall6, min(d, patience)
	for end := time.Now().Add(d); ; {
		ts := unix.NsecToTimespec(step.Nanoseconds())
		n, _, e := call(unix.SYS_IO_GETEVENTS, r.ctx, 1, uintptr(len(events)), uintptr(unsafe.Pointer(&events)), uintptr(unsafe.Pointer(&ts)), 0)
		if e == 0 && n > 0 {
			for _, ev := range events[:n] {
				settle(ev.data, ev.res)
			}
			return int(n)
		}
		if e == 0 { // nothing for as long as that
			call = unix.Syscall6
		} else if e != unix.EINTR {
			return 0
		}
		if step = time.Until(end); step <= 0 {
			return 0
		}
	}
}

// close waits for what is under way.
func (r *ring) close() error {
	_, _, e := unix.Syscall(unix.SYS_IO_DESTROY, r.ctx, 0, 0)
	if e != 0 {
		return e
	}
	return nil
}
