package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// writeOutput lets fill write the file at path, which is replaced only if force
// is set, or standard output if path is "-".
func writeOutput(a *app, path string, force bool, fill func(io.Writer) error) error {
	if path == "-" {
		w := bufio.NewWriter(a.out)
		return errors.Join(fill(w), w.Flush())
	}
	if _, err := os.Stat(path); err == nil && !force {
		return fmt.Errorf("%s exists (give --force to replace it)", path)
	}
	return writeFile(path, fill)
}

// writeFile lets fill write the file at path, which appears, or is replaced,
// only when it is whole and on disk.
func writeFile(path string, fill func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".lamina-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	w := bufio.NewWriterSize(f, 1<<20)
	if err = fill(w); err == nil {
		err = w.Flush()
	}
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
