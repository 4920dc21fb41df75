//go:build unix && !solaris && !aix

package atomicfile

import (
	"errors"
	"os"
	"syscall"
)

// Rename closes f, which is synced, and gives it the name path. SyncDir of the folder
// makes that durable.
func Rename(f interface {
	Name() string
	Close() error
}, path string) error {
	// In this order f is locked as long as it has its temporary name. It is on disk
	// already: closing it can find nothing that counts.
	err := os.Rename(f.Name(), path)
	if err2 := f.Close(); err != nil {
		err = errors.Join(err, err2)
	}
	return err
}

// SyncDir makes a rename in dir durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// lock locks f until it is closed or the process ends. If it does not wait, it fails
// where another holds f.
func lock(f *os.File, wait bool) error {
	how := syscall.LOCK_EX
	if !wait {
		how |= syscall.LOCK_NB
	}
	for {
		if err := syscall.Flock(int(f.Fd()), how); err != syscall.EINTR {
			return err
		}
	}
}
