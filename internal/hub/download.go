package hub

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"strconv"
	"strings"
	"time"
)

// An unfinished download is NAME.part; NAME.part.etag holds the validator that
// proves, on resumption, that the server still has the same file.
const (
	partSuffix = ".part"
	etagSuffix = ".part.etag"
)

// temporary marks an error worth another attempt.
type temporary struct {
	err   error
	after time.Duration // asked for by the server; 0 is not
}

func (t *temporary) Error() string { return t.err.Error() }
func (t *temporary) Unwrap() error { return t.err }

// maxWait bounds one pause, whatever the server asks for.
const maxWait = 2 * time.Minute

// retry calls f until it succeeds, fails for good, or fails Attempts times in
// a row without progress.
func (p *puller) retry(ctx context.Context, f func(ctx context.Context) (progress bool, err error)) error {
	wait := p.Backoff
	for failures := 0; ; {
		progress, err := f(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var t *temporary
		if !errors.As(err, &t) {
			return err
		}
		if failures++; progress {
			failures, wait = 1, p.Backoff
		}
		if failures >= p.Attempts {
			return fmt.Errorf("%w: gave up after %d attempts: %w", ErrServer, failures, err)
		}
		pause := min(max(wait, t.after), maxWait)
		if p.Retrying != nil {
			p.Retrying(err, pause)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
		wait *= 2
	}
}

// statusError turns a status that is no success into an error.
func statusError(resp *http.Response) error {
	switch code := resp.StatusCode; {
	case code >= 200 && code < 300:
		return nil
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		return fmt.Errorf("%w: %s", ErrAuth, resp.Status)
	case code == http.StatusNotFound, code == http.StatusGone:
		return fmt.Errorf("%w: %s", ErrNotFound, resp.Request.URL.Redacted())
	case code == http.StatusTooManyRequests, code == http.StatusRequestTimeout, code >= 500:
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		return &temporary{fmt.Errorf("%w: %s", ErrServer, resp.Status), time.Duration(min(max(seconds, 0), 3600)) * time.Second}
	default:
		return fmt.Errorf("%w: %s", ErrServer, resp.Status)
	}
}

// fetch brings one file into the target directory.
func (p *puller) fetch(ctx context.Context, dir string, f file, report func(done, total int64)) error {
	if st, err := p.root.Stat(f.name); err == nil && f.size >= 0 && st.Size() == f.size {
		if p.verify(ctx, f.name, f) == nil {
			report(f.size, f.size)
			return nil
		}
	}
	if sub := path.Dir(f.name); sub != "." {
		if err := p.root.MkdirAll(sub, 0o755); err != nil {
			return err
		}
	}
	part, err := p.root.OpenFile(f.name+partSuffix, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer part.Close()
	rotten := false
	err = p.retry(ctx, func(ctx context.Context) (bool, error) {
		progress, err := p.download(ctx, dir, part, &f, report)
		if err != nil {
			return progress, err
		}
		if err := p.verify(ctx, f.name+partSuffix, f); err != nil {
			// The part may be what is left of another version: start over, once.
			if truncErr := part.Truncate(0); truncErr != nil || rotten || ctx.Err() != nil {
				return false, err
			}
			rotten = true
			return false, &temporary{err: err}
		}
		return true, nil
	})
	if err != nil {
		if errors.Is(err, ErrMismatch) {
			part.Close()
			return errors.Join(err, p.root.Remove(f.name+partSuffix), p.dropETag(f.name))
		}
		return err
	}
	if err := part.Sync(); err != nil {
		return err
	}
	if err := part.Close(); err != nil {
		return err
	}
	if err := p.root.Rename(f.name+partSuffix, f.name); err != nil {
		return err
	}
	return p.dropETag(f.name)
}

func (p *puller) dropETag(name string) error {
	if err := p.root.Remove(name + etagSuffix); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// download adds to the part what is missing, in one request. It completes f
// with the size and hash that the server announces.
func (p *puller) download(ctx context.Context, dir string, part *os.File, f *file, report func(done, total int64)) (progress bool, err error) {
	have, header, err := p.resumption(part, f)
	if err != nil {
		return false, err
	}
	if header == nil {
		return true, nil // only the check is missing
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := time.AfterFunc(p.Stall, func() { cancel(fmt.Errorf("no data for %v", p.Stall)) })
	defer stall.Stop()
	resp, err := p.send(ctx, http.MethodGet, f.url, header)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	have, total, err := p.answered(resp, part, f, have)
	if err != nil {
		return false, err
	}
	if free, ok := diskFree(dir); ok && total-have > free {
		return false, fmt.Errorf("%w: %d MB needed, %d MB free in %s", ErrSpace, (total-have)/1e6, free/1e6, dir)
	}
	if have == 0 {
		if err := part.Truncate(0); err != nil {
			return false, err
		}
		if err := p.keepETag(f.name, resp.Header.Get("Etag")); err != nil {
			return false, err
		}
	}
	if _, err := part.Seek(have, io.SeekStart); err != nil {
		return false, err
	}
	report(have, total)
	size, progress, err := receive(ctx, part, resp.Body, have, total, func(done int64) {
		stall.Reset(p.Stall)
		report(done, total)
	})
	if err == nil {
		f.size = size
	}
	return progress, err
}

// resumption returns how many bytes of the part count, and the header of a
// request for the others; nil if there are none and the hash will tell.
func (p *puller) resumption(part *os.File, f *file) (have int64, header http.Header, err error) {
	st, err := part.Stat()
	if err != nil {
		return 0, nil, err
	}
	have = st.Size()
	etag, _ := p.root.ReadFile(f.name + etagSuffix)
	header = http.Header{}
	switch {
	case f.size >= 0 && have > f.size:
		have = 0
	case f.size >= 0 && have == f.size && f.sha256 != "":
		return have, nil, nil
	case len(etag) > 0:
		header.Set("If-Range", string(etag))
	case f.sha256 == "":
		have = 0 // nothing would notice another version
	}
	if have > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", have))
	} else {
		header.Del("If-Range")
	}
	return have, header, nil
}

// answered checks an answer to a request for what comes after have bytes. It
// returns how many of them count after all, and the size of the file, -1 if
// that is unknown, and gives f the hash that a redirect announced.
func (p *puller) answered(resp *http.Response, part *os.File, f *file, have int64) (from, total int64, err error) {
	if resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && have > 0 {
		if err := errors.Join(part.Truncate(0), p.dropETag(f.name)); err != nil {
			return 0, 0, err
		}
		return 0, 0, &temporary{err: fmt.Errorf("%w: %s", ErrServer, resp.Status)}
	}
	if err := statusError(resp); err != nil {
		return 0, 0, err
	}
	total = resp.ContentLength
	if resp.StatusCode == http.StatusPartialContent {
		start, size, ok := contentRange(resp.Header.Get("Content-Range"))
		if !ok || start != have {
			return 0, 0, fmt.Errorf("%w: asked for bytes from %d, got Content-Range %q", ErrServer, have, resp.Header.Get("Content-Range"))
		}
		from, total = have, size
	}
	if f.size >= 0 && total >= 0 && total != f.size {
		return 0, 0, fmt.Errorf("%w: %d bytes, want %d", ErrMismatch, total, f.size)
	}
	if f.size >= 0 {
		total = f.size
	}
	if f.sha256 == "" {
		f.sha256 = p.linked
	}
	return from, total, nil
}

// receive appends body to the part, which has some bytes, up to a total that is
// -1 if unknown. It returns what the part has in the end and whether that is more.
func receive(ctx context.Context, part io.Writer, body io.Reader, have, total int64, moved func(done int64)) (size int64, progress bool, err error) {
	buf := make([]byte, 128<<10)
	for {
		n, readErr := body.Read(buf)
		if ctx.Err() != nil { // a fast connection need not notice by itself
			readErr = context.Cause(ctx)
		}
		if n > 0 {
			if total >= 0 && have+int64(n) > total {
				return have, progress, fmt.Errorf("%w: more than %d bytes", ErrMismatch, total)
			}
			if _, err := part.Write(buf[:n]); err != nil {
				return have, progress, err
			}
			have, progress = have+int64(n), true
			moved(have)
		}
		if errors.Is(readErr, io.EOF) {
			break
		}
		if readErr != nil {
			return have, progress, &temporary{err: fmt.Errorf("after %d bytes: %w", have, readErr)}
		}
	}
	if total >= 0 && have < total {
		return have, progress, &temporary{err: fmt.Errorf("after %d of %d bytes: %w", have, total, io.ErrUnexpectedEOF)}
	}
	return have, progress, nil
}

// keepETag stores a strong validator; a weak one cannot vouch for bytes.
func (p *puller) keepETag(name, etag string) error {
	if etag == "" || strings.HasPrefix(etag, "W/") || len(etag) > 1024 {
		return p.dropETag(name)
	}
	return p.root.WriteFile(name+etagSuffix, []byte(etag), 0o644)
}

// contentRange parses "bytes START-END/SIZE"; size is -1 for "*".
func contentRange(s string) (start, size int64, ok bool) {
	s, ok = strings.CutPrefix(s, "bytes ")
	span, whole, ok2 := strings.Cut(s, "/")
	first, _, ok3 := strings.Cut(span, "-")
	start, err := strconv.ParseInt(first, 10, 64)
	if !ok || !ok2 || !ok3 || err != nil || start < 0 {
		return 0, 0, false
	}
	if whole == "*" {
		return start, -1, true
	}
	size, err = strconv.ParseInt(whole, 10, 64)
	return start, size, err == nil && size >= start
}

// verify compares what is on the disk with the size and hash of f, as far as
// they are known.
func (p *puller) verify(ctx context.Context, name string, f file) error {
	in, err := p.root.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		return err
	}
	if f.size >= 0 && st.Size() != f.size {
		return fmt.Errorf("%w: %d bytes, want %d", ErrMismatch, st.Size(), f.size)
	}
	if f.sha256 == "" {
		return nil
	}
	sum, buf := sha256.New(), make([]byte, 256<<10)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := in.Read(buf)
		sum.Write(buf[:n])
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != f.sha256 {
		return fmt.Errorf("%w: SHA-256 %s, want %s", ErrMismatch, got, f.sha256)
	}
	return nil
}
