package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/lamina-llm/lamina/internal/atomicfile"
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
func writeFile(path string, fill func(io.Writer) error) error {
	return atomicfile.Write(path, 0o644, fill)
}

// canWrite finds out whether files can be made at paths before something long is
// computed for them. Empty ones, and "-", are none.
func canWrite(paths ...string) error {
	for _, path := range paths {
		if path == "" || path == "-" {
			continue
		}
		f, err := atomicfile.Create(path, 0o600)
		if errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("%w (check the permissions of the folder)", err)
		}
		if err != nil {
			return err
		}
		if err := errors.Join(f.Close(), os.Remove(f.Name())); err != nil {
			return err
		}
	}
	return nil
}
