package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Provenance says where a model came from.
type Provenance struct {
	Name   string     `json:"name"` // base name of the directory or file
	Format Format     `json:"format"`
	Files  []FileHash `json:"files"`
}

// FileHash identifies one file.
type FileHash struct {
	Name   string `json:"name"` // base name
	Size   int64  `json:"size"` // bytes
	SHA256 string `json:"sha256,omitempty"`
}

// Provenance lists the files of the checkpoint. With hash it reads all of them
// for their SHA-256, in constant memory; progress, if not nil, is told how many
// bytes were read since the last call.
func (s *Source) Provenance(ctx context.Context, hash bool, progress func(n int64)) (Provenance, error) {
	p := Provenance{Name: s.name, Format: s.format}
	for _, path := range s.paths {
		h, err := hashFile(ctx, path, hash, progress)
		if err != nil {
			return p, fmt.Errorf("source: %w", err)
		}
		p.Files = append(p.Files, h)
	}
	return p, nil
}

func hashFile(ctx context.Context, path string, hash bool, progress func(int64)) (FileHash, error) {
	f, err := os.Open(path)
	if err != nil {
		return FileHash{}, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return FileHash{}, err
	}
	h := FileHash{Name: filepath.Base(path), Size: st.Size()}
	if !hash {
		return h, nil
	}
	sum, buf := sha256.New(), make([]byte, 256<<10)
	for {
		if err := ctx.Err(); err != nil {
			return h, err
		}
		n, err := f.Read(buf)
		sum.Write(buf[:n])
		if progress != nil && n > 0 {
			progress(int64(n))
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return h, err
		}
	}
	h.SHA256 = hex.EncodeToString(sum.Sum(nil))
	return h, nil
}
