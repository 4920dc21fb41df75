package engine_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lamina-llm/lamina/internal/builtin"
	"github.com/lamina-llm/lamina/internal/engine"
	"github.com/lamina-llm/lamina/runtime/plan"
	"github.com/lamina-llm/lamina/weights"
)

var errDisk = errors.New("input/output error")

// disk is the built-in model on a device that can be made to fail.
type disk struct {
	io.ReaderAt
	fault atomic.Pointer[func(n int, err error, p []byte) (int, error)]
	after atomic.Int64 // reads that still succeed
}

func (d *disk) ReadAt(p []byte, off int64) (int, error) {
	n, err := d.ReaderAt.ReadAt(p, off)
	if f := d.fault.Load(); f != nil && d.after.Add(-1) < 0 {
		return (*f)(n, err, p)
	}
	return n, err
}

func (d *disk) fail(after int64, f func(n int, err error, p []byte) (int, error)) {
	d.after.Store(after)
	if f == nil {
		d.fault.Store(nil)
		return
	}
	d.fault.Store(&f)
}

// streamed opens a model with most weights streamed.
func streamed(t *testing.T, try func(o engine.Options) (*engine.Model, error)) *engine.Model {
	t.Helper()
	o := engine.Options{Context: 256, Parallel: 2, BatchTokens: 32, Threads: 2, KV: engine.KVQ16}
	for i := 0; ; i++ {
		o.RAM = 0
		probe, err := try(o)
		if err != nil {
			t.Fatal(err)
		}
		o.RAM = probe.Plan().MinBudget + 2<<20
		if err := probe.Close(); err != nil {
			t.Fatal(err)
		}
		m, err := try(o)
		if errors.Is(err, plan.ErrTooSmall) && i < 8 {
			continue // the process has grown
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		})
		if m.Plan().Regime != plan.C {
			t.Fatalf("nothing is streamed: %v", m.Plan())
		}
		return m
	}
}

// TestFaults lets the disk fail in several ways in the middle of a request: it
// fails with a message that says where, and the next request is right.
func TestFaults(t *testing.T) {
	r, size, name := builtin.Model()
	d := &disk{ReaderAt: r}
	m := streamed(t, func(o engine.Options) (*engine.Model, error) {
		return engine.OpenReaderAt(context.Background(), d, size, name, o)
	})
	e := start(t, m, engine.Options{NoPrefixCache: true})
	req := request(t, m, opening, 12)
	want := generate(context.Background(), e, req)
	if want.err != nil {
		t.Fatal(want.err)
	}
	for _, c := range []struct {
		name string
		read func(n int, err error, p []byte) (int, error)
		is   error
	}{
		{"error", func(int, error, []byte) (int, error) { return 0, errDisk }, errDisk},
		{"short", func(n int, _ error, _ []byte) (int, error) { return n / 2, io.ErrUnexpectedEOF }, io.ErrUnexpectedEOF},
		{"end", func(int, error, []byte) (int, error) { return 0, io.EOF }, weights.ErrTruncated},
		{"flipped bit", func(n int, err error, p []byte) (int, error) { p[len(p)/3] ^= 4; return n, err }, weights.ErrChecksum},
		{"garbage", func(n int, err error, p []byte) (int, error) { clear(p); return n, err }, weights.ErrChecksum},
	} {
		for _, after := range []int64{0, 3, 40} {
			d.fail(after, c.read)
			got := generate(context.Background(), e, req)
			if !errors.Is(got.err, c.is) {
				t.Errorf("%s after %d reads: %v, want %v", c.name, after, got.err, c.is)
			} else if !strings.Contains(got.err.Error(), name) {
				t.Errorf("%s: the error does not name the file: %v", c.name, got.err)
			}
			d.fail(0, nil)
			sameAs(t, c.name+", afterwards", generate(context.Background(), e, req), want)
		}
	}
	// A read that comes damaged once is read again, and nobody notices: weights, and
	// the rows of the embedding.
	for after := range int64(24) {
		var once atomic.Bool
		d.fail(after, func(n int, err error, p []byte) (int, error) {
			if once.CompareAndSwap(false, true) {
				p[len(p)/3] ^= 4
			}
			return n, err
		})
		sameAs(t, "damaged once", generate(context.Background(), e, req), want)
		if !once.Load() {
			t.Error("nothing was damaged")
		}
	}
	d.fail(0, func(n int, err error, _ []byte) (int, error) { time.Sleep(2 * time.Millisecond); return n, err })
	sameAs(t, "slow disk", generate(context.Background(), e, req), want)
	d.fail(0, nil)
	s, err := m.NewSeq(m.Context())
	if err != nil {
		t.Fatalf("pages are missing after the faults: %v", err)
	}
	s.Close()
}

// TestFileChanges truncates the file under a serving engine, mends it, and
// replaces it.
func TestFileChanges(t *testing.T) {
	r, size, _ := builtin.Model()
	data := make([]byte, size)
	if _, err := r.ReadAt(data, 0); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "model.lamina")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	m := streamed(t, func(o engine.Options) (*engine.Model, error) { return engine.Open(context.Background(), path, o) })
	e := start(t, m, engine.Options{NoPrefixCache: true})
	req := request(t, m, opening, 12)
	want := generate(context.Background(), e, req)
	if want.err != nil {
		t.Fatal(want.err)
	}
	if err := os.Truncate(path, size/3); err != nil {
		t.Fatal(err)
	}
	got := generate(context.Background(), e, req)
	if !errors.Is(got.err, weights.ErrChanged) || !strings.Contains(got.err.Error(), path) {
		t.Errorf("truncated: %v", got.err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	sameAs(t, "mended", generate(context.Background(), e, req), want)
	other := path + ".new"
	if err := os.WriteFile(other, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other, path); err != nil {
		t.Skipf("this system does not replace open files: %v", err)
	}
	sameAs(t, "replaced", generate(context.Background(), e, req), want)
}
