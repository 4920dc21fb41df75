package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// peekBytes is how much of a .gguf file is read: more than the header of any
// with a vocabulary of some hundred thousand.
const peekBytes = 24 << 20

// Peek brings what tells the shape of a model into dir, which must be empty, and
// no weights: config.json of a checkpoint, or the beginning of a .gguf file,
// as a sparse file of the full size whose rest reads as zeros. It returns the
// path of that file and the bytes of the whole model, -1 if unknown.
func Peek(ctx context.Context, ref Ref, dir string, o Options) (name string, size int64, err error) {
	fail := func(err error) (string, int64, error) { return "", 0, ref.failed(err) }
	p, err := newPuller(dir, o)
	if err != nil {
		return fail(err)
	}
	defer p.root.Close()
	files, whole, err := p.resolve(ctx, ref)
	if err != nil {
		return fail(err)
	}
	for _, f := range files {
		if f.size < 0 {
			size = -1
		} else if size >= 0 {
			size += f.size
		}
	}
	if whole {
		for _, f := range files {
			if f.name == "config.json" {
				if err := p.fetch(ctx, dir, f, func(int64, int64) {}); err != nil {
					return fail(err)
				}
				return filepath.Join(dir, f.name), size, nil
			}
		}
		return fail(fmt.Errorf("%w: no config.json", ErrNotFound))
	}
	f := files[0]
	if !strings.HasSuffix(f.name, ".gguf") {
		return fail(fmt.Errorf("%w: %s must be pulled to look into it", ErrNoModel, f.name))
	}
	f.name = path.Base(f.name)
	err = p.retry(ctx, func(ctx context.Context) (bool, error) { return false, p.head(ctx, &f) })
	if err != nil {
		return fail(fmt.Errorf("%s: %w", f.name, err))
	}
	return filepath.Join(dir, f.name), f.size, nil
}

// head writes the beginning of f to a file of its full size.
func (p *puller) head(ctx context.Context, f *file) error {
	ctx, cancel := context.WithTimeout(ctx, p.Stall)
	defer cancel()
	resp, err := p.send(ctx, http.MethodGet, f.url, http.Header{"Range": {fmt.Sprintf("bytes=0-%d", peekBytes-1)}})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := statusError(resp); err != nil {
		return err
	}
	total := resp.ContentLength // of a server that knows no ranges
	if resp.StatusCode == http.StatusPartialContent {
		start, size, ok := contentRange(resp.Header.Get("Content-Range"))
		if !ok || start != 0 {
			return fmt.Errorf("%w: Content-Range %q", ErrServer, resp.Header.Get("Content-Range"))
		}
		total = size
	}
	if f.size < 0 {
		f.size = total
	}
	if f.size < 0 || total >= 0 && total != f.size {
		return fmt.Errorf("%w: %d bytes, want %d", ErrMismatch, total, f.size)
	}
	out, err := p.root.OpenFile(f.name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	want := min(f.size, peekBytes)
	n, err := io.Copy(out, io.LimitReader(resp.Body, want))
	if err != nil || n < want {
		return errors.Join(&temporary{err: fmt.Errorf("after %d of %d bytes: %w", n, want, errors.Join(err, io.ErrUnexpectedEOF))}, out.Close())
	}
	return errors.Join(out.Truncate(f.size), out.Close())
}
