//go:build !unix || solaris || aix

package atomicfile

import (
	"errors"
	"os"
)

// Rename closes f, which is synced, and gives it the name path.
func Rename(f interface {
	Name() string
	Close() error
}, path string) error {
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// SyncDir does nothing: folders cannot be synced here.
func SyncDir(string) error { return nil }

// lock fails: what is left of killed processes stays.
func lock(*os.File, bool) error { return errors.ErrUnsupported }
