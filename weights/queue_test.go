package weights_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
	"unsafe"

	"github.com/lamina-llm/lamina/weights"
)

// aligned returns n bytes that begin where a direct read may write to, with room
// for the rest of the last block.
func aligned(n int) []byte {
	b := make([]byte, n+2*weights.UnitAlign)
	skip := int(-uintptr(unsafe.Pointer(&b[0])) & (weights.UnitAlign - 1))
	return b[skip : skip+n : skip+(n+weights.UnitAlign-1)&^(weights.UnitAlign-1)]
}

// TestQueue reads units in blocks through a queue, more at a time than it is made
// for, and compares them with what ReadUnit brings. Then the file is cut.
func TestQueue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.lamina")
	w, err := weights.Create(path)
	check(t, err)
	sizes := []int{3 << 20, 5000, 1<<20 + 1}
	for i, n := range sizes {
		name := string(rune('a' + i))
		w.BeginUnit(name)
		w.BeginTensor(weights.TensorInfo{Name: name, Codec: "f32", Rows: n, Cols: 1})
		w.Span(pattern(n, i))
	}
	check(t, w.Commit())
	f, err := weights.Open(path)
	check(t, err)
	defer f.Close()
	if f.Queue(4) != nil {
		t.Fatal("a queue that would fill the page cache")
	}
	f.BypassCache()
	q := f.Queue(4)
	if q == nil {
		t.Skip("no queue for the temporary folder on this system")
	}
	const block = 64 << 10
	// all submits every block of unit i and returns what the queue tells, as an error.
	all := func(i int, dst []byte) error {
		var errs []error
		under := 0
		for off := 0; off < len(dst); off += block {
			end := min(off+block, len(dst))
			part := dst[off:end]
			if end < len(dst) {
				part = dst[off:end:end]
			}
			q.Submit(i, part, int64(off), uint64(off))
			under++
		}
		deadline := time.Now().Add(time.Minute)
		seen := map[uint64]bool{}
		for under > 0 && time.Now().Before(deadline) {
			got := 0
			n := q.Wait(time.Second, func(token uint64, n int, err error) {
				if seen[token] || n != min(block, len(dst)-int(token)) {
					t.Errorf("unit %d: block at %d of %d bytes, again: %v", i, token, n, seen[token])
				}
				seen[token] = true
				errs = append(errs, err)
				got++
			})
			if n != got {
				t.Fatalf("Wait: %d reads, told of %d", n, got)
			}
			under -= n
		}
		if under != 0 {
			t.Fatalf("unit %d: %d reads never ended", i, under)
		}
		return errors.Join(errs...)
	}
	for i, u := range f.Units() {
		want, got := make([]byte, u.Len), aligned(int(u.Len))
		check(t, f.ReadUnit(i, want))
		check(t, all(i, got))
		if !bytes.Equal(got, want) {
			t.Errorf("unit %d differs", i)
		}
	}
	if n := q.Wait(0, func(uint64, int, error) { t.Error("a read that was not asked for") }); n != 0 {
		t.Errorf("%d reads left", n)
	}
	// Where a direct read cannot go, another does.
	crooked := aligned(6000)[1:5001:5001]
	check(t, all(1, crooked[:5000]))
	if want := pattern(5000, 1); !bytes.Equal(crooked[:5000], want) {
		t.Error("an unaligned part differs")
	}
	check(t, os.Truncate(path, f.Units()[0].Off+1<<20))
	if err := all(0, aligned(3<<20)); !errors.Is(err, weights.ErrTruncated) {
		t.Errorf("a file that was cut: %v", err)
	}
	check(t, q.Close())
}
