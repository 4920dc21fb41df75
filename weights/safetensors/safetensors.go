// Package safetensors reads tensors from safetensors checkpoints: one file,
// or a directory whose model.safetensors.index.json spreads them over shards.
//
// It is a reader of rows, not a loader: [Open] reads and checks the headers,
// and [File.ReadRows] reads a range of rows with pread and converts it to
// float32. Nothing is mapped and nothing is cached, so memory use is the
// headers plus one small buffer per concurrent call.
//
// A header is never trusted: its length, every offset, shape and type are
// checked against the size of the file before anything is allocated for them.
//
// The caller owns a [File] and closes it. All methods but Close are safe for
// concurrent use.
//
// Format: https://github.com/huggingface/safetensors#format.
package safetensors

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/lamina-llm/lamina/internal/half"
)

// Errors, wrapped with the file and tensor they concern.
var (
	// ErrFormat: the file is not valid safetensors, or is cut short.
	ErrFormat = errors.New("invalid safetensors")
	// ErrDType: the tensor's element type cannot be converted to float32.
	ErrDType = errors.New("unsupported dtype")
	// ErrNotFound: no tensor has that name.
	ErrNotFound = errors.New("no such tensor")
	// ErrRange: the rows asked for, or the length of dst, do not fit the tensor.
	ErrRange = errors.New("rows out of range")
)

// DType is an element type as the header spells it.
type DType string

// The element types that ReadRows converts.
const (
	F32  DType = "F32"
	F16  DType = "F16"
	BF16 DType = "BF16"
)

// size returns the bytes per element, 0 for a type this package does not know.
func (d DType) size() int64 {
	switch d {
	case "BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0":
		return 1
	case "I16", "U16", F16, BF16:
		return 2
	case "I32", "U32", F32:
		return 4
	case "I64", "U64", "F64", "C64":
		return 8
	}
	return 0
}

// Info describes one tensor.
type Info struct {
	Name  string
	DType DType
	Shape []int  // outermost dimension first; read only
	File  string // base name of the file that holds it

	shard int
	off   int64 // of the first byte in its file
}

// Rows returns the number of rows: the product of all dimensions but the last,
// 1 for a vector.
func (i Info) Rows() int {
	n := 1
	for _, d := range i.Shape[:max(len(i.Shape)-1, 0)] {
		n *= d
	}
	return n
}

// Cols returns the length of a row: the last dimension, 1 for a scalar.
func (i Info) Cols() int {
	if len(i.Shape) == 0 {
		return 1
	}
	return i.Shape[len(i.Shape)-1]
}

// File is an open checkpoint of one or more safetensors files.
type File struct {
	tensors []Info
	index   map[string]int
	shards  []shard
	bufs    sync.Pool // *[]byte of bufSize
}

type shard struct {
	name string
	io.ReaderAt
	io.Closer
}

const bufSize = 64 << 10

// Open opens a .safetensors file, a model.safetensors.index.json, or a
// directory that holds either. It reads and checks every header; errors wrap
// [ErrFormat] or are those of the file system, and name missing shards.
func Open(path string) (*File, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("safetensors: %w", err)
	}
	if st.IsDir() {
		dir := path
		path = filepath.Join(dir, "model.safetensors.index.json")
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			path = filepath.Join(dir, "model.safetensors")
		}
	}
	names := []string{filepath.Base(path)}
	var weightMap map[string]string
	if strings.HasSuffix(path, ".json") {
		if weightMap, names, err = readIndex(path); err != nil {
			return nil, fmt.Errorf("safetensors: %s: %w", filepath.Base(path), err)
		}
	}
	f := newFile()
	if err := f.openAll(filepath.Dir(path), names, weightMap); err != nil {
		return nil, errors.Join(fmt.Errorf("safetensors: %w", err), f.Close())
	}
	return f, nil
}

func newFile() *File {
	f := &File{index: map[string]int{}}
	f.bufs.New = func() any { b := make([]byte, bufSize); return &b }
	return f
}

func (f *File) openAll(dir string, names []string, weightMap map[string]string) error {
	var missing []string
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(dir, name)); errors.Is(err, os.ErrNotExist) {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%s: missing %s: %w", dir, strings.Join(missing, ", "), os.ErrNotExist)
	}
	for _, name := range names {
		file, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		f.shards = append(f.shards, shard{name, file, file})
		st, err := file.Stat()
		if err != nil {
			return err
		}
		if err := f.add(len(f.shards)-1, st.Size()); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for name, file := range weightMap {
		if i, ok := f.index[name]; !ok || f.tensors[i].File != file {
			return fmt.Errorf("%w: the index puts tensor %q into %s, which does not hold it", ErrFormat, name, file)
		}
	}
	return nil
}

// add reads the header of a shard whose file has size bytes.
func (f *File) add(n int, size int64) error {
	s := f.shards[n]
	tensors, err := readHeader(s, size)
	if err != nil {
		return err
	}
	for _, t := range tensors {
		if i, dup := f.index[t.Name]; dup {
			return fmt.Errorf("%w: tensor %q is also in %s", ErrFormat, t.Name, f.tensors[i].File)
		}
		t.File, t.shard = s.name, n
		f.index[t.Name] = len(f.tensors)
		f.tensors = append(f.tensors, t)
	}
	return nil
}

const (
	maxIndex  = 32 << 20 // bytes of an index file
	maxShards = 1 << 12
)

// readIndex returns the weight map of an index file and the names of its
// shards, sorted.
func readIndex(path string) (map[string]string, []string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxIndex+1))
	if err != nil {
		return nil, nil, err
	}
	if len(data) > maxIndex {
		return nil, nil, fmt.Errorf("%w: longer than %d bytes", ErrFormat, maxIndex)
	}
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	var names []string
	for tensor, name := range index.WeightMap {
		if name != filepath.Base(name) || !filepath.IsLocal(name) {
			return nil, nil, fmt.Errorf("%w: tensor %q is in %q, which is not a plain file name", ErrFormat, tensor, name)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) == 0 || len(names) > maxShards {
		return nil, nil, fmt.Errorf("%w: weight_map names %d files, want 1 to %d", ErrFormat, len(names), maxShards)
	}
	return index.WeightMap, names, nil
}

// Tensors lists all tensors, file by file in the order of their data. The
// slice belongs to the File and must not be changed.
func (f *File) Tensors() []Info { return f.tensors }

// ReadRows reads rows row0 to row0+rows-1 of a tensor, converted to float32,
// into dst, whose length must be rows times [Info.Cols]. A vector is one row.
// Errors wrap [ErrNotFound], [ErrDType], [ErrRange] or that of the read.
func (f *File) ReadRows(name string, row0, rows int, dst []float32) error {
	i, ok := f.index[name]
	if !ok {
		return fmt.Errorf("safetensors: tensor %q: %w", name, ErrNotFound)
	}
	t := &f.tensors[i]
	fail := func(err error) error {
		return fmt.Errorf("safetensors: %s: tensor %q: %w", t.File, name, err)
	}
	cols := t.Cols()
	switch n := t.Rows(); {
	case t.DType != F32 && t.DType != F16 && t.DType != BF16:
		return fail(fmt.Errorf("%w %s (supported: F32, F16, BF16)", ErrDType, t.DType))
	case row0 < 0 || rows < 0 || row0 > n || rows > n-row0:
		return fail(fmt.Errorf("%w: %d rows from %d of %d", ErrRange, rows, row0, n))
	case len(dst) != rows*cols:
		return fail(fmt.Errorf("%w: dst has %d elements, want %d x %d", ErrRange, len(dst), rows, cols))
	}
	buf := f.bufs.Get().(*[]byte)
	defer f.bufs.Put(buf)
	size := int(t.DType.size())
	off := t.off + int64(row0)*int64(cols)*int64(size)
	for len(dst) > 0 {
		n := min(len(dst), bufSize/size)
		b := (*buf)[:n*size]
		if got, err := f.shards[t.shard].ReadAt(b, off); got < len(b) {
			return fail(fmt.Errorf("read %d bytes at offset %d: %w", len(b), off, err))
		}
		convert(dst[:n], b, t.DType)
		dst, off = dst[n:], off+int64(len(b))
	}
	return nil
}

// Close closes the files. No other method may be running or be called later.
func (f *File) Close() error {
	var errs []error
	for _, s := range f.shards {
		errs = append(errs, s.Close())
	}
	f.shards = nil
	return errors.Join(errs...)
}

func convert(dst []float32, b []byte, d DType) {
	switch d {
	case F32:
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
		}
	case BF16:
		for i := range dst {
			dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(b[2*i:])) << 16)
		}
	case F16:
		for i := range dst {
			dst[i] = half.Float32(binary.LittleEndian.Uint16(b[2*i:]))
		}
	}
}
