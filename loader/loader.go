// Package loader turns a .lamina file into a verified model: it checks that
// every unit and tensor that the caller needs is there and reads units, in parts,
// which it checks against their checksums.
//
// It knows files and names. It decodes nothing, keeps no bytes, and starts no
// goroutine: the caller owns every buffer and decides who waits for the disk.
// A [Model] is immutable after Open apart from its counters and safe for
// concurrent use.
package loader

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/lamina-llm/lamina/weights"
)

// ErrIncomplete marks a file that is sound but lacks a unit or tensor that the
// model needs.
var ErrIncomplete = errors.New("incomplete model")

// Need is a unit that a model cannot do without, and the tensors in it. The
// unit may hold others.
type Need struct {
	Unit    string
	Tensors []string
	// Part, if it is not empty, names a part of the unit that is fetched by itself:
	// the blocks of weights.UnitAlign bytes that hold Tensors. Parts of a unit may
	// have such a block in common.
	Part string
}

// Options say how a model is opened. The zero value takes all units of the
// file in file order and leaves the page cache alone.
type Options struct {
	// Layout derives the needed units, in visiting order, from the file's
	// "config" section. Unit i of the Model is then need i; other units of
	// the file are ignored. Nil asks for nothing.
	Layout func(config []byte) ([]Need, error)
	// DropCache reads units past the page cache where the system can, and
	// elsewhere gives their pages up after every read, so that streaming neither
	// counts against a control group nor pushes out the rest of the machine's
	// files.
	DropCache bool
}

// Unit is what is fetched at once, such as a matrix.
type Unit struct {
	Name    string
	Off     int64            // of its first byte in the file
	Bytes   int64            // length
	Tensors []weights.Tensor // shared; not to be modified
}

// Stats are counters since Open.
type Stats struct {
	Bytes  int64         // read by Read and ReadSpan, failed reads not included
	Reads  int64         // Read and ReadSpan calls that succeeded
	Errors int64         // reads and checks that failed, cancelled ones not included
	Time   time.Duration // spent reading and checking, summed over callers
}

// Model is an open model file.
type Model struct {
	file  *weights.File
	opt   Options
	units []Unit
	index []int // of the file's units that they are, or are parts of

	bytes, reads, fails, nanos atomic.Int64
}

// Open opens the model at path. Errors wrap [ErrIncomplete], a sentinel of
// package weights, a system error, or what Options.Layout returned.
func Open(path string, o Options) (*Model, error) {
	f, err := weights.Open(path)
	if err != nil {
		return nil, err
	}
	return open(f, o)
}

// OpenReaderAt opens a model of size bytes inside r, such as one embedded in
// the program; name stands for its path in errors. r must be safe for
// concurrent use.
func OpenReaderAt(r io.ReaderAt, size int64, name string, o Options) (*Model, error) {
	f, err := weights.OpenReaderAt(r, size, name)
	if err != nil {
		return nil, err
	}
	return open(f, o)
}

func open(f *weights.File, o Options) (*Model, error) {
	m := &Model{file: f, opt: o}
	if o.DropCache {
		f.BypassCache()
	}
	if err := m.layOut(); err != nil {
		f.Close()
		return nil, err
	}
	return m, nil
}

// layOut fills units and index.
func (m *Model) layOut() error {
	byName := make(map[string]int, len(m.file.Units()))
	for i, u := range m.file.Units() {
		byName[u.Name] = i
	}
	if m.opt.Layout == nil {
		for i := range m.file.Units() {
			m.add(m.whole(i), i)
		}
		return nil
	}
	config, err := m.file.Section(weights.SectionConfig)
	if err != nil {
		return err
	}
	needs, err := m.opt.Layout(config)
	if err != nil {
		return fmt.Errorf("loader: open %s: %w", m.file.Name(), err)
	}
	missing := func(what string) error {
		return fmt.Errorf("loader: open %s: %w: no %s: pack it again", m.file.Name(), ErrIncomplete, what)
	}
	for _, n := range needs {
		i, ok := byName[n.Unit]
		if !ok {
			return missing("unit " + n.Unit)
		}
		var tensors []weights.Tensor
		for _, name := range n.Tensors {
			t := m.file.Tensor(name)
			if t == nil || t.Unit != i {
				return missing("tensor " + name + " in unit " + n.Unit)
			}
			tensors = append(tensors, *t)
		}
		u := m.whole(i)
		if n.Part != "" {
			u = m.part(n.Part, i, tensors)
		}
		m.add(u, i)
	}
	return nil
}

// whole returns unit i of the file.
func (m *Model) whole(i int) Unit {
	u := m.file.Units()[i]
	return Unit{u.Name, u.Off, u.Len, m.file.Tensors()[u.First : u.First+u.Count]}
}

// part returns the blocks of unit i of the file that hold tensors.
func (m *Model) part(name string, i int, tensors []weights.Tensor) Unit {
	const block = weights.UnitAlign
	u := m.file.Units()[i]
	from, to := u.Len, int64(0)
	for _, t := range tensors {
		for _, s := range t.Spans {
			from, to = min(from, s.Off-u.Off), max(to, s.End()-u.Off)
		}
	}
	from, to = from/block*block, min((to+block-1)/block*block, u.Len)
	return Unit{name, u.Off + from, max(0, to-from), tensors}
}

func (m *Model) add(u Unit, i int) {
	m.units = append(m.units, u)
	m.index = append(m.index, i)
}

// base is where unit begins in the file's unit that it is, or is a part of.
func (m *Model) base(unit int) int64 {
	return m.units[unit].Off - m.file.Units()[m.index[unit]].Off
}

// Name returns the path of the file, or the name given to OpenReaderAt.
func (m *Model) Name() string { return m.file.Name() }

// Size returns the length of the file in bytes.
func (m *Model) Size() int64 { return m.file.Size() }

// Units returns the units in visiting order. The slice is shared.
func (m *Model) Units() []Unit { return m.units }

// Tensor returns the tensor of that name, or nil. It is shared.
func (m *Model) Tensor(name string) *weights.Tensor { return m.file.Tensor(name) }

// Section reads a named section, such as weights.SectionTokenizer. If there is
// none, the error wraps fs.ErrNotExist.
func (m *Model) Section(name string) ([]byte, error) { return m.file.Section(name) }

// Read fills dst with the bytes of unit from off on, unchecked; what lies between
// length and capacity of dst may be overwritten. It blocks on the disk; ctx is
// looked at before and after, not during the read. If the file was modified or
// replaced the error of a failed read wraps weights.ErrChanged. With
// Options.DropCache it goes past the page cache if off and dst begin on
// multiples of weights.UnitAlign.
func (m *Model) Read(ctx context.Context, unit int, dst []byte, off int64) error {
	if unit < 0 || unit >= len(m.units) {
		return fmt.Errorf("loader: %s: unit %d of %d", m.Name(), unit, len(m.units))
	}
	if n := m.units[unit].Bytes; off < 0 || off > n || int64(len(dst)) > n-off {
		return fmt.Errorf("loader: %s: %d bytes from %d on of unit %s of %d", m.Name(), len(dst), off, m.units[unit].Name, n)
	}
	i := m.index[unit]
	err := m.read(ctx, int64(len(dst)), func() error { return m.file.ReadUnitPart(i, dst, m.base(unit)+off) })
	if m.opt.DropCache && !m.file.CacheBypassed() {
		m.file.DropCache(m.units[unit].Off+off, int64(len(dst)))
	}
	return err
}

// Check checks what the first to bytes of unit in coded hold beyond the first
// from bytes, which were checked before: every span that ends there.
func (m *Model) Check(unit int, coded []byte, from, to int64) error {
	return m.CheckPart(unit, 0, coded, from, to)
}

// CheckPart is Check for the part of a unit that begins at its byte base: spans
// that begin before are not looked at.
func (m *Model) CheckPart(unit int, base int64, part []byte, from, to int64) error {
	start := time.Now()
	err := m.file.CheckPart(m.index[unit], m.base(unit)+base, part, from, to)
	m.nanos.Add(int64(time.Since(start)))
	return m.explain(err)
}

// CheckSpan is Check for data, the bytes of one span of a tensor.
func (m *Model) CheckSpan(tensor string, s weights.Span, data []byte) error {
	start := time.Now()
	err := m.file.CheckSpan(tensor, s, data)
	m.nanos.Add(int64(time.Since(start)))
	return m.explain(err)
}

// ReadSpan reads one span of a tensor into dst, of at least s.Len bytes, and
// checks it: for parts that are wanted without their unit. It goes through the
// page cache.
func (m *Model) ReadSpan(ctx context.Context, dst []byte, s weights.Span) error {
	err := m.read(ctx, int64(s.Len), func() error { return m.file.ReadSpan(dst, s) })
	if m.opt.DropCache {
		m.file.DropCache(s.Off, int64(s.Len))
	}
	return err
}

// read runs and counts one read.
func (m *Model) read(ctx context.Context, n int64, f func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	start := time.Now()
	err := f()
	m.nanos.Add(int64(time.Since(start)))
	if err != nil {
		return m.explain(err)
	}
	m.bytes.Add(n)
	m.reads.Add(1)
	return ctx.Err()
}

// explain counts a failure and looks for its reason.
func (m *Model) explain(err error) error {
	if err == nil {
		return nil
	}
	m.fails.Add(1)
	if changed := m.file.Changed(); changed != nil {
		return fmt.Errorf("loader: %w; the read failed with: %w", changed, err)
	}
	return fmt.Errorf("loader: %w", err)
}

// TensorSpans appends to dst the spans of t as subslices of buf, which holds
// unit, that of t, and returns the extended slice. It allocates only if dst is too
// short and panics if buf is shorter than the unit.
func (m *Model) TensorSpans(dst [][]byte, unit int, t *weights.Tensor, buf []byte) [][]byte {
	first := m.units[unit].Off
	for _, s := range t.Spans {
		dst = append(dst, buf[s.Off-first:s.End()-first:s.End()-first])
	}
	return dst
}

// Verify checks every byte of the file in 1 MiB of memory; see weights.File.
func (m *Model) Verify(ctx context.Context, progress func(done, total int64)) error {
	return m.file.Verify(ctx, progress)
}

// Stats returns the counters.
func (m *Model) Stats() Stats {
	return Stats{m.bytes.Load(), m.reads.Load(), m.fails.Load(), time.Duration(m.nanos.Load())}
}

// Close closes the file. No read may be under way.
func (m *Model) Close() error { return m.file.Close() }
