// Package gguf reads metadata and tensors from GGUF files, the format of
// llama.cpp. Quantised tensors are dequantised to float32, a range of rows at a
// time, exactly as the reference implementation defines it.
//
// A file is never trusted. [Open] first walks the header with a scan of its
// own that bounds every count and length; only then does gguf-parser-go read
// numbers and the tensor directory, and the two must agree. Strings and arrays
// are read here, on demand, because that library keeps every element in an
// interface value and trims white space, which in a vocabulary is content.
//
// It does not know what a model is: names, architectures and tokenizers are
// the business of internal/source.
//
// The caller owns a [File] and closes it. Nothing is mapped or cached; all
// methods but Close are safe for concurrent use.
//
// Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
package gguf

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	parser "github.com/gpustack/gguf-parser-go"
)

// Errors, wrapped with the file and the key or tensor they concern.
var (
	// ErrFormat: the file is not a valid GGUF, or is cut short.
	ErrFormat = errors.New("invalid GGUF")
	// ErrUnsupported: valid as far as it was read, but not for this package
	// (version 1, big-endian, split files, an element type without decoder).
	ErrUnsupported = errors.New("unsupported GGUF")
	// ErrNotFound: no tensor has that name.
	ErrNotFound = errors.New("no such tensor")
	// ErrRange: the rows asked for, or the length of dst, do not fit the tensor.
	ErrRange = errors.New("rows out of range")
)

// Info describes one tensor.
type Info struct {
	Name  string
	Type  Type
	Shape []int // outermost dimension first, so a row is the last; read only

	off int64 // of the first byte in the file
}

// Rows returns the number of rows: the product of all dimensions but the last,
// 1 for a vector.
func (i Info) Rows() int {
	n := 1
	for _, d := range i.Shape[:len(i.Shape)-1] {
		n *= d
	}
	return n
}

// Cols returns the length of a row: the last dimension (ne0 in ggml).
func (i Info) Cols() int { return i.Shape[len(i.Shape)-1] }

// File is an open GGUF file.
type File struct {
	name    string
	r       io.ReaderAt
	close   func() error
	size    int64
	entries map[string]entry
	keys    []string // in file order
	tensors []Info
	index   map[string]int
	bufs    sync.Pool // *[]byte of bufSize
}

// bufSize bounds one read of tensor data; a block never comes near it.
const bufSize = 64 << 10

var splitName = regexp.MustCompile(`-\d{5}-of-\d{5}(\.gguf)?$`)

// Open reads and checks the header of a GGUF file (version 2 or 3,
// little-endian). Errors wrap [ErrFormat], [ErrUnsupported] or are those of
// the file system.
func Open(path string) (*File, error) {
	abs, err := filepath.Abs(path) // gguf-parser-go would expand a leading ~
	if err != nil {
		return nil, fmt.Errorf("gguf: %w", err)
	}
	file, err := os.Open(abs)
	if err != nil {
		return nil, fmt.Errorf("gguf: %w", err)
	}
	f := &File{name: filepath.Base(path), r: file, close: file.Close}
	st, err := file.Stat()
	if err == nil {
		f.size = st.Size()
		err = f.open(abs)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("gguf: %s: %w", f.name, err), file.Close())
	}
	return f, nil
}

func (f *File) open(path string) error {
	f.bufs.New = func() any { b := make([]byte, bufSize); return &b }
	// The library would go and look for the other parts by itself.
	if splitName.MatchString(path) {
		return fmt.Errorf("%w: one part of a split file (merge the parts with llama-gguf-split)", ErrUnsupported)
	}
	l, err := scan(f.r, f.size)
	if err != nil {
		return err
	}
	lib, err := parse(path)
	if err != nil && strings.Contains(err.Error(), "tensor data needs") {
		return fmt.Errorf("%w: %d bytes follow the header, its tensors take more (the copy or download was cut short: repeat it)", ErrFormat, f.size-l.data)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if len(lib.Header.MetadataKV) != len(l.entries) || len(lib.TensorInfos) != l.tensors || lib.TensorDataStartOffset != l.data {
		return fmt.Errorf("%w: two readings of the header disagree", ErrFormat)
	}
	f.entries, f.keys = make(map[string]entry, len(l.entries)), make([]string, 0, len(l.entries))
	for i, e := range l.entries {
		kv := lib.Header.MetadataKV[i]
		if kv.Key != e.key || uint32(kv.ValueType) != uint32(e.typ) {
			return fmt.Errorf("%w: two readings of key %q disagree", ErrFormat, e.key)
		}
		if _, dup := f.entries[e.key]; dup {
			return fmt.Errorf("%w: two entries for key %q", ErrFormat, e.key)
		}
		if e.typ != tString && e.typ != tArray {
			e.value = kv.Value
		}
		f.entries[e.key] = e
		f.keys = append(f.keys, e.key)
	}
	return f.addTensors(lib.TensorInfos, l.data)
}

// parse runs gguf-parser-go, which reports some malformed input by panicking.
func parse(path string) (g *parser.GGUFFile, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("gguf-parser-go: %v", r)
		}
	}()
	return parser.ParseGGUFFile(path, parser.SkipLargeMetadata())
}

// addTensors checks the tensor directory: names, shapes, and that the data of
// every tensor lies in the file and overlaps no other.
func (f *File) addTensors(infos parser.GGUFTensorInfos, data int64) error {
	type span struct {
		name     string
		off, end int64
	}
	f.index = make(map[string]int, len(infos))
	spans := make([]span, 0, len(infos))
	for _, ti := range infos {
		t := Info{Name: ti.Name, Type: Type(ti.Type)}
		bad := func(format string, args ...any) error {
			return fmt.Errorf("%w: tensor %q: %w", ErrFormat, t.Name, fmt.Errorf(format, args...))
		}
		if _, dup := f.index[t.Name]; dup {
			return bad("listed twice")
		}
		count := int64(1)
		for _, d := range slices.Backward(ti.Dimensions) {
			if d < 1 || d > uint64(maxElements/count) {
				return bad("dimensions %v are impossible", ti.Dimensions)
			}
			t.Shape = append(t.Shape, int(d))
			count *= int64(d)
		}
		if ti.Offset > uint64(f.size-data) {
			return bad("data at offset %d, beyond the end of the file (%d bytes: its copy or download was cut short?)", ti.Offset, f.size)
		}
		t.off = data + int64(ti.Offset)
		length := int64(0) // unknown types: nothing to check, nothing to read
		if b, ok := blocks[t.Type]; ok {
			if int64(t.Cols())%b.weights != 0 {
				return bad("rows of %d are no multiple of %d, the block of %v", t.Cols(), b.weights, t.Type)
			}
			length = count / b.weights * b.bytes
		}
		if length > f.size-t.off {
			return bad("%d bytes of data at offset %d, beyond the end of the file (%d bytes: its copy or download was cut short?)", length, t.off, f.size)
		}
		spans = append(spans, span{t.Name, t.off, t.off + length})
		f.index[t.Name] = len(f.tensors)
		f.tensors = append(f.tensors, t)
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Or(cmp.Compare(a.off, b.off), cmp.Compare(a.end, b.end)) })
	for i := 1; i < len(spans); i++ {
		if a, b := spans[i-1], spans[i]; b.off < a.end {
			return fmt.Errorf("%w: tensors %q and %q overlap", ErrFormat, a.name, b.name)
		}
	}
	return nil
}

// maxElements bounds a tensor so that its size in bytes cannot overflow.
const maxElements = math.MaxInt >> 6

// Tensors lists all tensors in the order of the file. The slice belongs to the
// File and must not be changed.
func (f *File) Tensors() []Info { return f.tensors }

// ReadRows reads rows row0 to row0+rows-1 of a tensor, dequantised to float32,
// into dst, whose length must be rows times [Info.Cols]. A vector is one row.
// Errors wrap [ErrNotFound], [ErrUnsupported], [ErrRange] or that of the read.
func (f *File) ReadRows(name string, row0, rows int, dst []float32) error {
	i, ok := f.index[name]
	if !ok {
		return fmt.Errorf("gguf: %s: tensor %q: %w", f.name, name, ErrNotFound)
	}
	t := &f.tensors[i]
	fail := func(err error) error { return fmt.Errorf("gguf: %s: tensor %q: %w", f.name, name, err) }
	cols := t.Cols()
	b, known := blocks[t.Type]
	switch n := t.Rows(); {
	case !known || b.decode == nil:
		return fail(fmt.Errorf("%w: element type %v (supported: %s)", ErrUnsupported, t.Type, supportedTypes()))
	case row0 < 0 || rows < 0 || row0 > n || rows > n-row0:
		return fail(fmt.Errorf("%w: %d rows from %d of %d", ErrRange, rows, row0, n))
	case len(dst) != rows*cols:
		return fail(fmt.Errorf("%w: dst has %d elements, want %d x %d", ErrRange, len(dst), rows, cols))
	}
	buf := f.bufs.Get().(*[]byte)
	defer f.bufs.Put(buf)
	off := t.off + int64(row0)*int64(cols)/b.weights*b.bytes
	for len(dst) > 0 {
		n := min(int64(len(dst))/b.weights, bufSize/b.bytes)
		src := (*buf)[:n*b.bytes]
		if got, err := f.r.ReadAt(src, off); got < len(src) {
			return fail(fmt.Errorf("read %d bytes at offset %d: %w", len(src), off, err))
		}
		b.decode(dst[:n*b.weights], src)
		dst, off = dst[n*b.weights:], off+int64(len(src))
	}
	return nil
}

// Close closes the file. No other method may be running or be called later.
func (f *File) Close() error { return f.close() }
