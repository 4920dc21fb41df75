package weights

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/lamina-llm/lamina/internal/crc32c"
)

// File is an open .lamina file. All methods are safe for concurrent use.
type File struct {
	name string
	r    io.ReaderAt
	os   *os.File    // nil if opened by OpenReaderAt
	past *uncached   // reads of units go past the page cache; nil until BypassCache
	stat os.FileInfo // at Open; nil if opened by OpenReaderAt
	size int64
	head header
	dir  *directory
}

// Open opens the file at path and checks header and directory, but no span:
// spans are checked when they are read. Errors wrap a sentinel of this package
// or a system error and are of type *[Error].
func Open(path string) (*File, error) {
	fail := func(err error) (*File, error) {
		err = bare(err)
		return nil, &Error{Op: "open", Path: path, Off: -1, Err: err, Hint: hint(err)}
	}
	f, err := os.Open(path)
	if err != nil {
		return fail(err)
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		f.Close()
		return fail(err)
	}
	w, err := OpenReaderAt(f, st.Size(), path)
	if err != nil {
		f.Close()
		return nil, err
	}
	w.os, w.stat = f, st
	return w, nil
}

// OpenReaderAt opens a file of size bytes inside r, such as a model embedded
// in the program. name stands for the path in errors. r must be safe for
// concurrent use; Close does not close it.
func OpenReaderAt(r io.ReaderAt, size int64, name string) (*File, error) {
	f := &File{name: name, r: r, size: size}
	fail := func(off int64, err error, hint string) (*File, error) {
		return nil, &Error{Op: "open", Path: name, Off: off, Err: err, Hint: hint}
	}
	head := make([]byte, min(max(size, 0), headerSize))
	if err := readFull(r, head, 0); err != nil {
		return fail(0, err, hint(err))
	}
	var err error
	if f.head, err = decodeHeader(head, size); errors.Is(err, ErrMagic) {
		return fail(-1, err, foreign(head))
	} else if err != nil {
		return fail(-1, err, hint(err))
	}
	dir := make([]byte, f.head.dirLen) // at most MaxDirectory and the file's size
	if err := readFull(r, dir, f.head.dirOff); err != nil {
		return fail(f.head.dirOff, err, hint(err))
	}
	if got := crc32c.Checksum(dir); got != f.head.dirCRC {
		return fail(f.head.dirOff, mismatch(f.head.dirCRC, got), hint(ErrChecksum))
	}
	if f.dir, err = parseDirectory(dir, f.head.dirOff); err != nil {
		return fail(-1, err, hint(err))
	}
	return f, nil
}

// Name returns the path or the name given to OpenReaderAt.
func (f *File) Name() string { return f.name }

// Size returns the length of the file in bytes.
func (f *File) Size() int64 { return f.size }

// Units returns the units in file order, which is visiting order.
func (f *File) Units() []Unit { return f.dir.units }

// Tensors returns all tensors in file order.
func (f *File) Tensors() []Tensor { return f.dir.tensors }

// Sections returns the sections in file order.
func (f *File) Sections() []Section { return f.dir.sections }

// Tensor returns the tensor of that name, or nil.
func (f *File) Tensor(name string) *Tensor {
	if i, ok := f.dir.tensor(name); ok {
		return &f.dir.tensors[i]
	}
	return nil
}

// Section reads and checks the section of that name. If there is none, the
// error wraps [fs.ErrNotExist].
func (f *File) Section(name string) ([]byte, error) {
	for _, s := range f.dir.sections {
		if s.Name == name {
			p := make([]byte, s.Span.Len) // within the file: its layout is checked
			return p, f.readSpan(p, s.Span, "section "+name)
		}
	}
	err := fmt.Errorf("no such section: %w", fs.ErrNotExist)
	return nil, &Error{Op: "read", Path: f.name, Tensor: "section " + name, Off: -1, Err: err,
		Hint: "the file lacks a part of the model: pack it again"}
}

// ReadSpan reads s into dst, which must hold s.Len bytes or more, and checks
// it. After an error dst[:s.Len] is undefined.
func (f *File) ReadSpan(dst []byte, s Span) error { return f.readSpan(dst, s, "") }

func (f *File) readSpan(dst []byte, s Span, owner string) error {
	if s.Off < 0 || s.Len < 0 || s.Off > f.size || int64(s.Len) > f.size-s.Off || len(dst) < s.Len {
		return f.failure("read", owner, s.Off, fmt.Errorf("span of %d bytes into %d does not fit", s.Len, len(dst)))
	}
	if err := readFull(f.r, dst[:s.Len], s.Off); err != nil {
		return f.failure("read", owner, s.Off, err)
	}
	if got := crc32c.Checksum(dst[:s.Len]); got != s.CRC {
		return f.failure("read", owner, s.Off, mismatch(s.CRC, got))
	}
	return nil
}

// ReadUnit reads unit i in one read into dst, which must hold its Len bytes or
// more, and checks every span and the padding between them. After an error dst
// is undefined. Use [File.UnitSpans] to find a tensor in dst.
func (f *File) ReadUnit(i int, dst []byte) error {
	if i < 0 || i >= len(f.dir.units) {
		return f.failure("read", "", -1, fmt.Errorf("unit %d of %d", i, len(f.dir.units)))
	}
	u := f.dir.units[i]
	if int64(len(dst)) < u.Len {
		return f.failure("read", u.Name, u.Off, fmt.Errorf("unit of %d bytes into %d does not fit", u.Len, len(dst)))
	}
	dst = dst[:u.Len:u.Len]
	if err := f.ReadUnitPart(i, dst, 0); err != nil {
		return err
	}
	return f.CheckUnit(i, dst, 0, u.Len)
}

// ReadUnitPart fills dst with the bytes of unit i from off on, unchecked. What
// lies between length and capacity of dst may be overwritten. After
// [File.BypassCache], parts that begin on a multiple of [UnitAlign], in the unit
// and in memory, and whose last block has room in dst, are read past the page
// cache.
func (f *File) ReadUnitPart(i int, dst []byte, off int64) error {
	if i < 0 || i >= len(f.dir.units) {
		return f.failure("read", "", -1, fmt.Errorf("unit %d of %d", i, len(f.dir.units)))
	}
	u := f.dir.units[i]
	if off < 0 || off > u.Len || int64(len(dst)) > u.Len-off {
		return f.failure("read", u.Name, u.Off, fmt.Errorf("%d bytes from %d on of a unit of %d", len(dst), off, u.Len))
	}
	r := f.r
	if f.past != nil {
		r = f.past
	}
	if err := readFull(r, dst, u.Off+off); err != nil {
		return f.failure("read", u.Name, u.Off+off, err)
	}
	return nil
}

// CheckUnit checks the spans of unit i that end after byte from and at byte to
// at the latest, and the padding before each, in what was read of it so far:
// unit[:to]. Calls for adjoining ranges together check the whole unit.
func (f *File) CheckUnit(i int, unit []byte, from, to int64) error {
	return f.CheckPart(i, 0, unit, from, to)
}

// CheckPart is [File.CheckUnit] for the bytes of unit i from base on: what lies
// before is not looked at, nor are spans that begin there.
func (f *File) CheckPart(i int, base int64, part []byte, from, to int64) error {
	u := f.dir.units[i]
	first := u.Off + base // of the part, in the file
	pos := u.Off
	for k := range u.Count {
		t := &f.dir.tensors[u.First+k]
		for _, s := range t.Spans {
			begin := max(pos, first)
			pos = s.End()
			switch {
			case pos > first+to:
				return nil
			case s.Off < first || pos <= first+from && from > 0:
				continue
			}
			if !zero(part[begin-first : s.Off-first]) {
				return f.failure("read", t.Name, begin, errPadding)
			}
			if got := crc32c.Checksum(part[s.Off-first : s.End()-first]); got != s.CRC {
				return f.failure("read", t.Name, s.Off, mismatch(s.CRC, got))
			}
		}
	}
	return nil
}

// UnitSpans appends to dst the spans of t as subslices of unit, which holds
// what ReadUnit(t.Unit) read, and returns the extended slice. Each starts on a
// SpanAlign boundary relative to unit and has no spare capacity. It allocates
// only if dst is too short and panics if unit is shorter than the unit.
func (f *File) UnitSpans(dst [][]byte, t *Tensor, unit []byte) [][]byte {
	base := f.dir.units[t.Unit].Off
	for _, s := range t.Spans {
		dst = append(dst, unit[s.Off-base:s.End()-base:s.End()-base])
	}
	return dst
}

// CheckSpan compares data, which was read from span s of a tensor, with its
// checksum.
func (f *File) CheckSpan(tensor string, s Span, data []byte) error {
	if got := crc32c.Checksum(data); got != s.CRC {
		return f.failure("read", tensor, s.Off, mismatch(s.CRC, got))
	}
	return nil
}

// Changed reports whether the file at the path is no longer the one that was
// opened, or was modified since: an error that wraps [ErrChanged], or nil. A
// file opened by OpenReaderAt never changes.
func (f *File) Changed() error {
	if f.os == nil {
		return nil
	}
	fail := func(what string) error {
		return f.failure("read", "", -1, fmt.Errorf("%w: %s", ErrChanged, what))
	}
	now, err := f.os.Stat()
	if err != nil {
		return f.failure("read", "", -1, bare(err))
	}
	if now.Size() != f.size {
		return fail(fmt.Sprintf("it had %d bytes and has %d now", f.size, now.Size()))
	}
	if !now.ModTime().Equal(f.stat.ModTime()) {
		return fail("it was modified at " + now.ModTime().UTC().Format("2006-01-02 15:04:05 MST"))
	}
	if named, err := os.Stat(f.name); err != nil || !os.SameFile(named, f.stat) {
		return fail("its path names another file or none")
	}
	return nil
}

// BypassCache has units read past the page cache from now on, where system and
// file system can, and everything else without reading ahead: what is wanted of
// a large file is known, and memory is scarce. No read may be under way. A file
// opened by OpenReaderAt has no page cache to bypass.
func (f *File) BypassCache() {
	if f.os == nil || f.past != nil {
		return
	}
	readRandomly(f.os)
	f.past = &uncached{plain: f.os, direct: openDirect(f.os)}
}

// CacheBypassed reports whether units are read past the page cache.
func (f *File) CacheBypassed() bool { return f.past != nil && f.past.works() }

// DropCache tells the system that the file's bytes from off to off+n will not
// be read again soon, so that their page cache can go to others. It is advice:
// it does nothing where the system has no such call or there is no file.
func (f *File) DropCache(off, n int64) {
	if f.os != nil && n > 0 {
		dropCache(f.os, off, n)
	}
}

// Close closes the file. Reads under way fail or finish; later ones fail.
func (f *File) Close() error {
	if f.os == nil {
		return nil
	}
	err := f.os.Close()
	if f.past != nil {
		err = errors.Join(err, f.past.close())
	}
	return err
}

func (f *File) failure(op, owner string, off int64, err error) error {
	return &Error{Op: op, Path: f.name, Tensor: owner, Off: off, Err: err, Hint: hint(err)}
}

var errPadding = fmt.Errorf("%w: padding is not zero", ErrCorrupt)

func mismatch(want, got uint32) error {
	return fmt.Errorf("%w: stored %08x, computed %08x", ErrChecksum, want, got)
}

// readFull fills p from off; a file that ends before is ErrTruncated.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	switch {
	case n == len(p):
		return nil
	case err == nil || err == io.EOF:
		return fmt.Errorf("%w: it ends at offset %d, %d bytes early", ErrTruncated, off+int64(n), len(p)-n)
	}
	return bare(err)
}

// bare strips the paths that os errors repeat.
func bare(err error) error {
	var pe *fs.PathError
	var le *os.LinkError
	if errors.As(err, &pe) {
		return pe.Err
	}
	if errors.As(err, &le) {
		return le.Err
	}
	return err
}
