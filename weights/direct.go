package weights

import (
	"errors"
	"os"
	"reflect"
	"sync/atomic"
	"syscall"
)

// directAlign is what offset, length and address of a direct read must be
// multiples of: no file system in use asks for more, and units start there.
const directAlign = UnitAlign

// uncached reads a file past the page cache where the system can, through a
// descriptor of its own. What cannot be read so is read as usual.
type uncached struct {
	plain   *os.File
	direct  *os.File // nil: the system has no such reads, or not of this file
	refused atomic.Bool
}

// ReadAt implements io.ReaderAt but for the bytes between length and capacity of p,
// which it may overwrite: direct reads take whole blocks.
func (u *uncached) ReadAt(p []byte, off int64) (int, error) {
	whole, ok := u.whole(p)
	if !ok || off%directAlign != 0 {
		return u.plain.ReadAt(p, off)
	}
	n, err := u.direct.ReadAt(whole, off)
	switch {
	case n >= len(p):
		return len(p), nil
	case errors.Is(err, syscall.EINVAL):
		if n == 0 { // a file system that only says so when asked
			u.refused.Store(true)
		}
		return u.plain.ReadAt(p, off)
	}
	return n, err
}

// whole returns p up to the end of its last block, and whether it may be read so.
func (u *uncached) whole(p []byte) ([]byte, bool) {
	n := (len(p) + directAlign - 1) &^ (directAlign - 1)
	if !u.works() || cap(p) < n || !aligned(p) {
		return nil, false
	}
	return p[:n], true
}

func (u *uncached) works() bool { return u.direct != nil && !u.refused.Load() }

func (u *uncached) close() error {
	if u.direct == nil {
		return nil
	}
	return u.direct.Close()
}

// aligned reports whether p begins where a direct read may write to.
func aligned(p []byte) bool { return reflect.ValueOf(p).Pointer()%directAlign == 0 }

// reopen opens the file behind f once more, or returns nil if its path names
// another by now.
func reopen(f *os.File, flags int) *os.File {
	g, err := os.OpenFile(f.Name(), os.O_RDONLY|flags, 0)
	if err != nil {
		return nil
	}
	a, errA := f.Stat()
	b, errB := g.Stat()
	if errA != nil || errB != nil || !os.SameFile(a, b) {
		g.Close()
		return nil
	}
	return g
}
