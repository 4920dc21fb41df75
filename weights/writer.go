package weights

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/lamina-llm/lamina/internal/atomicfile"
	"github.com/lamina-llm/lamina/internal/crc32c"
)

// Writer writes one .lamina file. Bytes go to a temporary file beside the
// final one as they come, so memory is bounded by one span of the caller plus
// the directory; Commit gives the file its name. A process that dies before
// that leaves at most NAME.*.partial behind, which the next Writer of NAME removes,
// never a file under the final name.
//
// The usual shape is
//
//	w, err := weights.Create(path)
//	...
//	defer w.Abort() // does nothing after Commit
//	...
//	return w.Commit()
//
// After the first error every method but Abort returns that error. A Writer
// is not safe for concurrent use.
type Writer struct {
	path  string // the final name
	file  file
	buf   *bufio.Writer
	pos   int64
	dir   directory
	names map[string]bool // entries and tensors, with a prefix for the kind
	open  bool            // a unit is open
	err   error           // sticky
}

// file is what Writer needs of its temporary file; *os.File has it, and tests
// put a failing one in its place.
type file interface {
	io.Writer
	io.WriterAt
	Sync() error
	Close() error
	Name() string
}

var errFinished = errors.New("writer already committed or aborted")

// Create starts a file that will be called path, replacing what is there when
// Commit succeeds. The folder must exist.
func Create(path string) (*Writer, error) {
	fail := func(err error) (*Writer, error) {
		err = bare(err)
		return nil, &Error{Op: "create", Path: path, Off: -1, Err: err, Hint: hint(err)}
	}
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() {
		return fail(errors.New("not a regular file; name a file to write"))
	}
	f, err := atomicfile.Create(path, 0o644)
	if err != nil {
		return fail(err)
	}
	w := newWriter(path, f)
	if w.err != nil {
		err := w.err
		w.Abort()
		return nil, err
	}
	return w, nil
}

func newWriter(path string, f file) *Writer {
	w := &Writer{path: path, file: f, buf: bufio.NewWriterSize(f, 64<<10), names: map[string]bool{}}
	w.write(make([]byte, UnitAlign), "") // the header's page, zero until Commit: never a valid file
	return w
}

// Section writes a named blob of 0 to MaxSpan bytes. It ends the open unit.
// Section names are unique in a file.
func (w *Writer) Section(name string, data []byte) error {
	if !w.entry("section ", name) {
		return w.err
	}
	s, ok := w.span(data, "section "+name)
	if !ok {
		return w.err
	}
	w.dir.order = append(w.dir.order, entry{kindSection, len(w.dir.sections)})
	w.dir.sections = append(w.dir.sections, Section{name, s})
	return nil
}

// BeginUnit ends the open unit and starts another. Unit names are unique in a
// file; units are written in the order in which a forward pass visits them.
func (w *Writer) BeginUnit(name string) error {
	if !w.entry("unit ", name) {
		return w.err
	}
	w.pad(UnitAlign)
	w.dir.order = append(w.dir.order, entry{kindUnit, len(w.dir.units)})
	w.dir.units = append(w.dir.units, Unit{Name: name, First: len(w.dir.tensors), Off: w.pos})
	w.open = true
	return w.err
}

// BeginTensor starts a tensor in the open unit. Its spans follow.
func (w *Writer) BeginTensor(t TensorInfo) error {
	if w.err == nil && !w.open {
		w.fail(t.Name, errors.New("BeginTensor without BeginUnit"))
	}
	if bad := t.check(); w.err == nil && bad != "" {
		w.fail(t.Name, errors.New(bad))
	}
	if !w.ended() || !w.unique("tensor ", t.Name) {
		return w.err
	}
	w.dir.tensors = append(w.dir.tensors, Tensor{TensorInfo: t, Unit: len(w.dir.units) - 1})
	w.dir.units[len(w.dir.units)-1].Count++
	return nil
}

// Span writes the next span of the open tensor: 0 to MaxSpan bytes, which the
// caller may reuse afterwards.
func (w *Writer) Span(data []byte) error {
	if w.err == nil && (!w.open || w.dir.units[len(w.dir.units)-1].Count == 0) {
		w.fail("", errors.New("Span without BeginTensor"))
	}
	if w.err != nil {
		return w.err
	}
	t := &w.dir.tensors[len(w.dir.tensors)-1]
	s, ok := w.span(data, t.Name)
	if !ok {
		return w.err
	}
	t.Spans = append(t.Spans, s)
	u := &w.dir.units[t.Unit]
	u.Len = s.End() - u.Off
	return nil
}

// Size returns the bytes written so far, directory not included.
func (w *Writer) Size() int64 { return w.pos }

// Commit writes directory and header, forces the file to disk and gives it its
// name. On error the temporary file is removed.
func (w *Writer) Commit() error {
	if !w.ended() || !w.unitEnded() {
		return w.giveUp()
	}
	w.pad(SpanAlign)
	dir := w.dir.encode()
	if len(dir) > MaxDirectory {
		w.fail("", fmt.Errorf("directory of %d bytes, at most %d fit: write fewer, longer spans", len(dir), MaxDirectory))
		return w.giveUp()
	}
	h := header{dirOff: w.pos, dirLen: int64(len(dir)), dirCRC: crc32c.Checksum(dir)}
	w.write(dir, "directory")
	h.fileLen = w.pos
	if w.err == nil {
		if err := w.finish(h); err != nil {
			w.failOp("commit", "", bare(err))
		}
	}
	if w.err != nil {
		return w.giveUp()
	}
	w.file, w.err = nil, errFinished
	if err := atomicfile.SyncDir(filepath.Dir(w.path)); err != nil {
		return &Error{Op: "commit", Path: w.path, Off: -1, Err: err, Hint: "the file is complete, but a power cut could still undo its name"}
	}
	return nil
}

// finish puts the header in place and gives the file its name, each step only
// when all before it are on disk.
func (w *Writer) finish(h header) error {
	if err := w.buf.Flush(); err != nil {
		return err
	}
	if _, err := w.file.WriteAt(h.encode(), 0); err != nil {
		return err
	}
	if err := w.file.Sync(); err != nil {
		return err
	}
	return atomicfile.Rename(w.file, w.path)
}

// Abort removes the temporary file. It does nothing after Commit or Abort.
func (w *Writer) Abort() {
	if w.file == nil {
		return
	}
	w.file.Close() // a second Close, after a failed rename, does no harm
	os.Remove(w.file.Name())
	w.file = nil
	if w.err == nil {
		w.err = errFinished
	}
}

// giveUp aborts and returns the error that made it necessary.
func (w *Writer) giveUp() error {
	err := w.err
	w.Abort()
	return err
}

// entry checks the name of a new section or unit and ends the open unit.
func (w *Writer) entry(prefix, name string) bool {
	if w.err == nil && !validName(name) {
		w.fail(name, errors.New("name is not 1 to 255 printable ASCII bytes"))
	}
	if !w.ended() || !w.unitEnded() || !w.unique(prefix, name) {
		return false
	}
	w.open = false
	return true
}

// ended reports whether the last tensor, if any, is complete.
func (w *Writer) ended() bool {
	if n := len(w.dir.tensors); w.err == nil && n > 0 && len(w.dir.tensors[n-1].Spans) == 0 {
		w.fail(w.dir.tensors[n-1].Name, errors.New("tensor without a span"))
	}
	return w.err == nil
}

// unitEnded reports whether the last unit, if any, has a tensor.
func (w *Writer) unitEnded() bool {
	if n := len(w.dir.units); w.err == nil && n > 0 && w.dir.units[n-1].Count == 0 {
		w.fail(w.dir.units[n-1].Name, errors.New("unit without a tensor"))
	}
	return w.err == nil
}

func (w *Writer) unique(prefix, name string) bool {
	if w.err == nil && w.names[prefix+name] {
		w.fail(prefix+name, errors.New("written twice"))
	}
	w.names[prefix+name] = true
	return w.err == nil
}

// span pads to SpanAlign and writes data.
func (w *Writer) span(data []byte, owner string) (Span, bool) {
	if len(data) > MaxSpan {
		w.fail(owner, fmt.Errorf("span of %d bytes, at most %d fit", len(data), MaxSpan))
	}
	w.pad(SpanAlign)
	s := Span{Off: w.pos, Len: len(data), CRC: crc32c.Checksum(data)}
	w.write(data, owner)
	return s, w.err == nil
}

// pad writes zeros up to a multiple of a, at most UnitAlign.
func (w *Writer) pad(a int64) {
	var zeros [UnitAlign]byte
	w.write(zeros[:align(w.pos, a)-w.pos], "")
}

func (w *Writer) write(p []byte, owner string) {
	if w.err != nil {
		return
	}
	if _, err := w.buf.Write(p); err != nil {
		w.fail(owner, bare(err))
		return
	}
	w.pos += int64(len(p))
}

func (w *Writer) fail(owner string, err error) { w.failOp("write", owner, err) }

func (w *Writer) failOp(op, owner string, err error) {
	w.err = &Error{Op: op, Path: w.path, Tensor: owner, Off: w.pos, Err: err, Hint: hint(err)}
}
