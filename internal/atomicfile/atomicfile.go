// Package atomicfile writes files that are there whole or not at all, also after a
// crash: under a temporary name first, which they keep until they are on disk.
//
// The temporary name of NAME is NAME.XXXXXXXX.partial with eight hexadecimal digits.
// A process that is killed leaves its half behind; the next one that writes NAME
// removes it, where the system has locks that tell it from one that is being written.
package atomicfile

import (
	"bufio"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	suffix = ".partial"
	digits = 8
)

// Write lets fill write the file at path through a buffer. The file appears, or
// takes the place of another, when all is on disk, with permissions mode less what
// umask forbids; if fill or anything else fails what was at path stays, and nothing
// is left. Calls for one path at the same time are safe: one of them wins.
func Write(path string, mode fs.FileMode, fill func(io.Writer) error) (err error) {
	f, err := Create(path, mode)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close() // a second time does no harm
			os.Remove(f.Name())
		}
	}()
	w := bufio.NewWriterSize(f, 1<<20)
	if err = fill(w); err != nil {
		return err
	}
	if err = errors.Join(w.Flush(), f.Sync()); err != nil {
		return err
	}
	if err = Rename(f, path); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// Create makes the file that is to be called path under a temporary name, for writing
// and reading, and removes what killed processes left of it. The caller syncs it and
// gives it to Rename, or closes and removes it.
func Create(path string, mode fs.FileMode) (*os.File, error) {
	Clean(path)
	for range 100 {
		var tag [digits / 2]byte
		rand.Read(tag[:])
		name := path + "." + hex.EncodeToString(tag[:]) + suffix
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		_ = lock(f, true) // without a lock, nobody else gets it either
		// Clean may have come between.
		if here, err := os.Stat(name); err == nil {
			if st, err := f.Stat(); err == nil && os.SameFile(st, here) {
				return f, nil
			}
		}
		f.Close()
	}
	return nil, fmt.Errorf("no temporary name for %s is free: remove %s.*%s", path, path, suffix)
}

// Clean removes what processes that were killed while they wrote path left of it.
func Clean(path string) {
	dir, base := filepath.Split(path)
	list, _ := os.ReadDir(filepath.Clean(dir)) // in a folder that cannot be read it all stays
	for _, e := range list {
		tag, ok := strings.CutPrefix(e.Name(), base+".")
		tag, ok2 := strings.CutSuffix(tag, suffix)
		if _, err := hex.DecodeString(tag); !ok || !ok2 || err != nil || len(tag) != digits || !e.Type().IsRegular() {
			continue
		}
		f, err := os.OpenFile(filepath.Join(dir, e.Name()), os.O_RDWR, 0)
		if err != nil {
			continue
		}
		if lock(f, false) == nil {
			os.Remove(f.Name())
		}
		f.Close()
	}
}
