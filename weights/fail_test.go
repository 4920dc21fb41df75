package weights

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/lamina-llm/lamina/internal/crc32c"
)

// failing is a temporary file on a disk that fills up after room bytes, or
// whose Sync fails.
type failing struct {
	*os.File
	room int
	sync error
}

func (f *failing) Write(p []byte) (int, error) {
	if len(p) > f.room {
		n, _ := f.File.Write(p[:f.room])
		f.room = 0
		return n, &os.PathError{Op: "write", Path: f.Name(), Err: syscall.ENOSPC}
	}
	f.room -= len(p)
	return f.File.Write(p)
}

func (f *failing) Sync() error {
	if f.sync != nil {
		return f.sync
	}
	return f.File.Sync()
}

// TestDiskFull: wherever the disk ends, the error says so, and neither the
// final nor the temporary name is left.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "m.lamina")
	run := func(room int, sync error) error {
		tmp, err := os.Create(path + ".partial")
		if err != nil {
			t.Fatal(err)
		}
		w := newWriter(path, &failing{tmp, room, sync})
		defer w.Abort()
		w.BeginUnit("u")
		w.BeginTensor(TensorInfo{Name: "t", Codec: "f32", Rows: 1, Cols: 1})
		w.Span(make([]byte, 100_000))
		w.Span(make([]byte, 10))
		return w.Commit()
	}
	for _, room := range []int{0, 1, 4096, 50_000, 104_096, 104_200} {
		err := run(room, nil)
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "no space left: free some") {
			t.Errorf("room for %d bytes: %v", room, err)
		}
	}
	if err := run(1<<20, syscall.EIO); !errors.Is(err, syscall.EIO) {
		t.Errorf("failing fsync: %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left %v", left)
	}
	if err := run(1<<20, nil); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 || left[0].Name() != "m.lamina" {
		t.Errorf("left %v, want m.lamina", left)
	}
}

// seal gives data, a file whose directory was tampered with, checksums that match.
func seal(data []byte) []byte {
	le := binary.LittleEndian
	if len(data) < headerSize {
		return data
	}
	off, n := le.Uint64(data[24:]), uint64(le.Uint32(data[32:]))
	if off <= uint64(len(data)) && n <= uint64(len(data))-off {
		le.PutUint32(data[36:], crc32c.Checksum(data[off:off+n]))
	}
	le.PutUint32(data[60:], crc32c.Checksum(data[:60]))
	return data
}

func openBytes(data []byte) (*File, error) {
	return OpenReaderAt(bytes.NewReader(data), int64(len(data)), "test")
}

// TestLies changes every byte of header and directory and then repairs the
// checksums: the structure's own checks must hold without them, and a lie
// about a size must not cost memory.
func TestLies(t *testing.T) {
	golden, err := os.ReadFile(filepath.Join("testdata", "v1.lamina"))
	if err != nil {
		t.Fatal(err)
	}
	dirOff := int(binary.LittleEndian.Uint64(golden[24:]))
	buf := make([]byte, len(golden))
	for i := range golden {
		if i >= 60 && i < dirOff {
			continue
		}
		for _, b := range []byte{0, 1, 0x7f, 0x80, 0xff, golden[i] + 1, golden[i] - 1} {
			copy(buf, golden)
			buf[i] = b
			exercise(t, seal(buf))
		}
	}
	// All four counts, and lengths of spans, at their largest.
	for i := dirOff; i+4 <= len(golden); i++ {
		copy(buf, golden)
		copy(buf[i:], "\xff\xff\xff\xff")
		seal(buf)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		openBytes(buf)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 64<<10 {
			t.Fatalf("byte %d: Open of %d bytes allocated %d", i, len(buf), n)
		}
		exercise(t, buf)
	}
}

// exercise opens data and, if it opens, reads all of it: nothing may panic,
// and what was laid out lies within the file.
func exercise(t *testing.T, data []byte) {
	f, err := openBytes(data)
	if err != nil {
		sentinels := []error{ErrMagic, ErrVersion, ErrChecksum, ErrTruncated, ErrCorrupt}
		if !slices.ContainsFunc(sentinels, func(s error) bool { return errors.Is(err, s) }) {
			t.Fatalf("error without a sentinel: %v", err)
		}
		return
	}
	for i, u := range f.Units() {
		if u.Off < UnitAlign || u.Off%UnitAlign != 0 || u.Len < 0 || u.Off+u.Len > f.Size() {
			t.Fatalf("unit %+v in a file of %d bytes", u, f.Size())
		}
		buf := make([]byte, u.Len)
		f.ReadUnit(i, buf)
		for k := range u.Count {
			tensor := &f.Tensors()[u.First+k]
			if f.Tensor(tensor.Name) != tensor {
				t.Fatalf("tensor %s is not found", tensor.Name)
			}
			f.UnitSpans(nil, tensor, buf)
		}
	}
	for _, s := range f.Sections() {
		f.Section(s.Name)
	}
	f.Verify(context.Background(), nil)
}

func FuzzOpen(f *testing.F) {
	golden, err := os.ReadFile(filepath.Join("testdata", "v1.lamina"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden, true)
	f.Add(golden[:100], false)
	f.Add([]byte("GGUF"), false)
	f.Fuzz(func(t *testing.T, data []byte, repair bool) {
		data = slices.Clone(data)
		if repair { // get past the checksums to the structure
			if len(data) >= headerSize {
				binary.LittleEndian.PutUint64(data[16:], uint64(len(data)))
			}
			seal(data)
		}
		exercise(t, data)
	})
}
